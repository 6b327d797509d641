"""A spectrogram in the terminal's real pixels (kitty's protocol or sixel), where :mod:`tui.pixels` found them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.color import Color
from textual.geometry import Region
from textual.strip import Strip

from engine.analysis.spectrogram import band_edges, to_rows
from tui import pixels
from tui.widgets.spectrogram import AXIS, Spectrogram

_MOST_COLUMNS = 1600
_DASH = 8  # pixels


class PixelSpectrogram(Spectrogram):
    """The picture is an image beside the axis; the playhead is a mark below it."""

    def compose(self) -> ComposeResult:
        """The image; what it shows is set later."""
        image = pixels.image_widget()()
        image.styles.margin = (0, 0, 1, AXIS)
        image.styles.width = "1fr"
        image.styles.height = "1fr"
        yield image

    def _cell(self) -> tuple[int, int]:
        """Pixels across and down a cell."""
        from textual_image._terminal import get_cell_size

        size = get_cell_size()
        return max(1, size.width), max(1, size.height)

    @property
    def columns(self) -> int:
        """Pixels across."""
        return max(1, min(_MOST_COLUMNS, (self.size.width - AXIS) * self._cell()[0]))

    def show_playhead(self, share: float) -> None:
        """Put the mark at a share of the time shown."""
        cells = self.size.width - AXIS
        place = round(share * (cells - 1)) if 0 <= share <= 1 and cells > 0 else -1
        if place != self._playhead:
            self._playhead = place
            self.refresh(Region(0, self.size.height - 1, self.size.width, 1))

    def _forget(self) -> None:
        self._strips = {}
        if self.is_mounted and self._picture is not None and self.size.width > AXIS:
            self._draw()
        self.refresh()

    def _draw(self) -> None:
        """Make the image anew."""
        from PIL import Image

        assert self._picture is not None
        height = self._rows_of_cells * self._cell()[1]
        top = self._rate / 2
        rows = to_rows(self._picture, self._rate, height, top, log=self._log)[::-1]
        palette = np.array([c.triplet for c in self._palette() if c.triplet is not None], np.uint8)
        picture = palette[self._scaled(rows)]
        if self._cutoff is not None:
            line = height - 1 - int(np.searchsorted(band_edges(height, top, log=self._log), self._cutoff, "right") - 1)
            dashes = np.arange(picture.shape[1]) % (2 * _DASH) < _DASH
            ink = Color.parse(self.app.theme_variables.get("foreground", "#ffffff"))
            picture[max(0, line), dashes] = (ink.r, ink.g, ink.b)
        image: Any = self.query_one(pixels.image_widget())
        image.image = Image.fromarray(picture, "RGB")

    def render_line(self, y: int) -> Strip:
        """The axis beside the image, the mark of the playhead below it."""
        width = self.size.width
        if y == self.size.height - 1:
            axis = self._time_axis()
            if self._playhead < 0:
                return axis
            at = AXIS + self._playhead
            mark = Strip([Segment("▲", self.rich_style + Style(bold=True))])
            return Strip.join([axis.crop(0, at), mark, axis.crop(at + 1, width)])
        label = self._label(y) if self._picture is not None else ""
        segment = Segment(label.rjust(AXIS - 1), self._axis_style())
        return Strip([segment]).adjust_cell_length(width, self.rich_style)
