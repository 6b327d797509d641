"""The whole song (or the zoomed part) as a waveform, with the loop and the playhead; the mouse seeks and selects."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.player.levels import Levels

_FLOOR_DB = 48.0  # below the loudest moment: a logarithmic height shows quiet music too
_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


class Waveform(Widget):
    """Peaks in half blocks over ``view`` (frames); ``region`` is tinted."""

    can_focus = False

    class Pointed(Message):
        """The user clicked at ``frame``, or dragged from there to ``until``."""

        def __init__(self, frame: int, until: int | None) -> None:
            super().__init__()
            self.frame, self.until = frame, until

    def __init__(self, **options: str) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._levels: Levels | None = None
        self._view = (0, 1)
        self._region: tuple[int, int] | None = None
        self._heights: npt.NDArray[np.int64] | None = None
        self._playhead = -1
        self._grabbed: int | None = None

    def show(self, levels: Levels | None, view: tuple[int, int], region: tuple[int, int] | None) -> None:
        """Show other levels, another part or another region."""
        if levels is self._levels and (view, region) == (self._view, self._region):
            return
        if levels is not self._levels or view != self._view:
            self._heights = None
        self._levels, self._view, self._region = levels, view, region
        self.refresh()

    def show_playhead(self, frame: int) -> None:
        """Move the playhead."""
        place = self._column(frame)
        place = place if 0 <= place < self.size.width else -1
        if place == self._playhead:
            return
        for column in (self._playhead, place):
            if column >= 0:
                self.refresh(Region(column, 0, 1, self.size.height))
        self._playhead = place

    def _column(self, frame: int) -> int:
        start, stop = self._view
        return int((frame - start) / max(1, stop - start) * self.size.width)

    def _frame(self, column: int) -> int:
        start, stop = self._view
        return start + round((stop - start) * max(0, min(column, self.size.width)) / max(1, self.size.width))

    def on_resize(self) -> None:
        """Columns are others."""
        self._heights = None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Perhaps the start of a drag."""
        self._grabbed = event.x
        self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """A click seeks, a drag selects."""
        self.release_mouse()
        if self._grabbed is None:
            return
        start, self._grabbed = self._grabbed, None
        until = self._frame(event.x) if abs(event.x - start) >= 2 else None
        self.post_message(self.Pointed(self._frame(start), until))

    # --- painting ----------------------------------------------------------------------------------------

    def _measure(self) -> npt.NDArray[np.int64]:
        """Pixels above (and below) the middle, by column."""
        rows = self.size.height
        if self._levels is None:
            return np.zeros(self.size.width, np.int64)
        peak, _ = self._levels.overview(*self._view, max(1, self.size.width))
        loudest = max(1e-4, float(self._levels.peak.max()) if len(self._levels.peak) else 1e-4)
        decibels = 20 * np.log10(np.maximum(peak / loudest, 1e-6))
        return np.round(np.clip(1 + decibels / _FLOOR_DB, 0, 1) * rows).astype(np.int64)

    def render_line(self, y: int) -> Strip:
        """One line of half blocks around the middle."""
        width, rows = self.size.width, self.size.height
        if self._heights is None or len(self._heights) != width:
            self._heights = self._measure()
        upper = self._heights > abs(2 * y + 0.5 - rows)
        lower = self._heights > abs(2 * y + 1.5 - rows)
        inside = np.zeros(width, bool)
        if self._region is not None:
            first, last = self._column(self._region[0]), self._column(self._region[1])
            inside[max(0, first) : max(0, last + 1)] = True
        head = np.zeros(width, bool)
        if self._playhead >= 0:
            head[self._playhead] = True
        codes = upper + 2 * lower + 4 * inside + 8 * head
        segments = []
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), width]):
            block = _BLOCKS[bool(upper[begin]), bool(lower[begin])]
            segments.append(Segment(block * (end - begin), self._style(bool(inside[begin]), bool(head[begin]))))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _style(self, inside: bool, head: bool) -> Style:
        if self.app.current_theme.ansi:
            return Style(reverse=head, bold=inside)
        variables = self.app.theme_variables
        ink = Color.parse(variables["accent" if inside else "primary"])
        paper = Color.parse(variables["panel" if inside else "background"])
        if head:
            paper = Color.parse(variables["foreground"])
        return Style(color=ink.rich_color, bgcolor=paper.rich_color)
