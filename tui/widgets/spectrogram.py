"""A spectrogram in half blocks: two pixels in each cell."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.analysis.spectrogram import Picture, band_edges, to_rows
from engine.text import duration

AXIS = 6  # cells left of the picture
_SPAN = 95.0  # dB that the colours span, down from the loudest
_MOST_DIFFERENCE = 24.0
_STEPS = 64
_SHADES = " ░▒▓█"
_TICKS = (5000, 10000, 15000, 20000)  # Hz
_LOG_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
_TIMES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds between marks
_TIME_CELLS = 12  # between marks, at least


class Spectrogram(Widget):
    """Shows a picture of dB over bins and columns, with the cutoff and the playhead."""

    can_focus = False
    DEFAULT_CSS: ClassVar[str] = ""

    class Clicked(Message):
        """The user points at a moment: ``share`` of the time shown, 0 to 1."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    def __init__(self, **options: str) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._picture: Picture | None = None
        self._rate = 48000
        self._part = (0, 1)
        self._kind: Literal["level", "difference"] = "level"
        self._log = False
        self._cutoff: float | None = None
        self._loudest = 0.0
        self._strips: dict[int, Strip] = {}
        self._rows: Picture | None = None
        self._playhead = -1

    @property
    def columns(self) -> int:
        """Pixels across."""
        return max(1, self.size.width - AXIS)

    def show_picture(
        self, picture: Picture | None, rate: int, part: tuple[int, int] = (0, 1), *,
        kind: Literal["level", "difference"] = "level", log: bool = False, cutoff: float | None = None,
        loudest: float = 0.0,
    ) -> None:  # fmt: skip
        """Show ``picture`` (dB, ``(bins, columns)``; None: nothing yet) of the frames ``part`` at ``rate`` Hz.

        ``loudest`` dB gets the brightest colour; ``cutoff`` is in Hz.
        """
        self._part = part
        self._picture, self._rate, self._kind, self._log, self._cutoff = picture, rate, kind, log, cutoff
        self._loudest = loudest
        self._forget()

    def show_playhead(self, share: float) -> None:
        """Put the playhead at a share of the time shown; outside of 0 to 1 it is not to be seen."""
        place = round(share * (self.columns - 1)) if 0 <= share <= 1 else -1
        if place == self._playhead:
            return
        for column in (self._playhead, place):
            if column >= 0:
                self.refresh(Region(AXIS + column, 0, 1, self._rows_of_cells))
        self._playhead = place

    def _forget(self) -> None:
        self._strips, self._rows = {}, None
        self.refresh()

    def on_resize(self) -> None:
        """Pixels are others."""
        self._forget()

    def notify_style_update(self) -> None:
        """The theme changed: so do the colours."""
        super().notify_style_update()
        self._strips = {}

    def on_click(self, event: events.Click) -> None:
        """Tell where."""
        if event.x >= AXIS:
            self.post_message(self.Clicked((event.x - AXIS) / self.columns))

    # --- painting ----------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line: an axis label, then two rows of pixels; at the bottom the time."""
        width = self.size.width
        if self._picture is None or width <= AXIS or not self._picture.size:
            return Strip.blank(width, self.rich_style)
        if y >= self._rows_of_cells:
            return self._time_axis()
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strips[y] = self._paint(y)
        if self._playhead < 0:
            return strip
        at = AXIS + self._playhead
        head = Strip([Segment("│", self.rich_style + Style(bold=True))])
        return Strip.join([strip.crop(0, at), head, strip.crop(at + 1, width)])

    def _paint(self, y: int) -> Strip:
        height = self._rows_of_cells
        if self._rows is None:
            assert self._picture is not None
            columns = np.linspace(0, self._picture.shape[1] - 1, self.columns).round().astype(int)
            self._rows = to_rows(self._picture[:, columns], self._rate, height * 2, self._rate / 2, log=self._log)
        upper, lower = self._rows[height * 2 - 1 - 2 * y], self._rows[height * 2 - 2 - 2 * y]
        label = Segment(self._label(y).rjust(AXIS - 1) + " ", self._axis_style())
        if self.app.current_theme.ansi:
            return Strip([label, *self._shaded((upper + lower) / 2)])
        palette = self._palette()
        top_steps, low_steps = self._scaled(upper), self._scaled(lower)
        marks = self._marks(y)
        segments = [label]
        changes = np.flatnonzero((np.diff(top_steps) != 0) | (np.diff(low_steps) != 0) | (np.diff(marks) != 0)) + 1
        for begin, end in pairwise([0, *changes.tolist(), len(top_steps)]):
            above, below = palette[top_steps[begin]], palette[low_steps[begin]]
            if marks[begin]:
                segments.append(Segment("─" * (end - begin), Style(color=self._rich("foreground"), bgcolor=below)))
            else:
                segments.append(Segment("▀" * (end - begin), Style(color=above, bgcolor=below)))
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _shaded(self, row: Picture) -> list[Segment]:
        """A row in shades of the terminal's own colours, which cannot be mixed: ink, or more and less in one each."""
        most = len(_SHADES) - 1
        if self._kind != "difference":
            shades = self._scaled(row) * most // (_STEPS - 1)
            return [Segment("".join(_SHADES[int(s)] for s in shades), self.rich_style)]
        amounts = np.clip(np.round(row / _MOST_DIFFERENCE * most), -most, most).astype(np.int64)
        changes = np.flatnonzero(np.diff(amounts) != 0) + 1
        return [
            Segment(
                _SHADES[abs(int(amounts[begin]))] * (end - begin),
                self.rich_style + Style(color=self._rich("more" if amounts[begin] > 0 else "less")),
            )
            for begin, end in pairwise([0, *changes.tolist(), len(amounts)])
        ]

    def _scaled(self, row: Picture) -> npt.NDArray[np.int64]:
        """Colour steps from dB."""
        if self._kind == "difference":
            share = (row + _MOST_DIFFERENCE) / (2 * _MOST_DIFFERENCE)
        else:
            share = (row - self._loudest) / _SPAN + 1
        return np.clip(np.round(share * (_STEPS - 1)), 0, _STEPS - 1).astype(np.int64)

    def _edges(self) -> npt.NDArray[np.float64]:
        return band_edges(self._rows_of_cells * 2, self._rate / 2, log=self._log)

    @property
    def _rows_of_cells(self) -> int:
        return max(1, self.size.height - 1)

    def _label(self, y: int) -> str:
        """The round frequency that lies in a line; where several do, the lowest."""
        edges = self._edges()
        low = (self._rows_of_cells - 1 - y) * 2
        for hz in _LOG_TICKS if self._log else _TICKS:
            if edges[low] <= hz < edges[low + 2]:
                return f"{hz / 1000:g}k" if hz >= 1000 else f"{hz}"
        return ""

    def _time_axis(self) -> Strip:
        """The time in steps of a round number of seconds."""
        start, stop = (frame / self._rate for frame in self._part)
        step = next((s for s in _TIMES if (stop - start) / s * _TIME_CELLS <= self.columns), _TIMES[-1])
        line = [" "] * self.size.width
        for number in range(math.ceil(start / step), math.floor(stop / step) + 1):
            at = AXIS + round((number * step - start) / max(1e-9, stop - start) * (self.columns - 1))
            label = f"╵{duration(number * step)}" if step >= 1 else f"╵{number * step:.1f} s"
            if at + len(label) <= len(line) and all(c == " " for c in line[max(0, at - 1) : at + len(label)]):
                line[at : at + len(label)] = label
        return Strip([Segment("".join(line), self._axis_style())]).adjust_cell_length(self.size.width, self.rich_style)

    def _axis_style(self) -> Style:
        """Labels are less than the picture, and legible in every theme."""
        return self.rich_style + self.app.console.get_style("faint")

    def _marks(self, y: int) -> npt.NDArray[np.int64]:
        """1 where the dashes of the cutoff go in this line."""
        marks = np.zeros(self.columns, np.int64)
        if self._cutoff is not None:
            edges = self._edges()
            low = (self._rows_of_cells - 1 - y) * 2
            if edges[low] <= self._cutoff < edges[low + 2]:
                marks[np.arange(self.columns) % 4 < 2] = 1
        return marks

    def _rich(self, name: str) -> RichColor:
        return Color.parse(self.app.theme_variables.get(name, "#888888")).rich_color

    def _palette(self) -> list[RichColor]:
        """Colours of the theme, from nothing to much (or from less over nothing to more)."""
        variables = self.app.theme_variables
        names: tuple[str, ...] = ("background", "primary", "foreground")
        if self._kind == "difference":
            names = ("less", "background", "more")
        stops = [Color.parse(variables[name]) for name in names]
        colors = []
        for step in range(_STEPS):
            place = step / (_STEPS - 1) * (len(stops) - 1)
            at = min(int(place), len(stops) - 2)
            colors.append(stops[at].blend(stops[at + 1], place - at).rich_color)
        return colors
