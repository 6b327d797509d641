"""The whole song (or the zoomed part) as a waveform, with the loop and the playhead; the mouse seeks and selects."""

from __future__ import annotations

from itertools import pairwise

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

from engine.player.levels import Levels

_CURVE = 0.7  # heights are amplitudes to this power: quiet passages stay visible
_NOTHING, _PEAK, _RMS = 0, 1, 2


class Waveform(Widget):
    """Peaks and, brighter, RMS in half blocks over ``view`` (frames); ``region`` is tinted."""

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
        self._heights: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self._playhead = -1
        self._grabbed: int | None = None
        self._theme = ""
        self._known: dict[str, RichColor] = {}

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

    def _measure(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Pixels above (and below) the middle, by column: of the peaks and of the RMS."""
        width, rows = self.size.width, self.size.height
        if self._levels is None or not len(self._levels.peak):
            return np.zeros(width, np.int64), np.zeros(width, np.int64)
        peak, rms = self._levels.overview(*self._view, max(1, width))
        loudest = max(1e-4, float(self._levels.peak.max()))
        heights = [np.round((np.clip(v / loudest, 0, 1) ** _CURVE) * rows).astype(np.int64) for v in (peak, rms)]
        return heights[0], heights[1]

    def render_line(self, y: int) -> Strip:
        """One line of half blocks around the middle."""
        width, rows = self.size.width, self.size.height
        if self._heights is None or len(self._heights[0]) != width:
            self._heights = self._measure()
        peak, rms = self._heights
        pixels = []
        for pixel in (2 * y, 2 * y + 1):
            distance = abs(pixel + 0.5 - rows)
            pixels.append(np.where(rms > distance, _RMS, np.where(peak > distance, _PEAK, _NOTHING)))
        upper, lower = pixels
        inside = np.zeros(width, bool)
        if self._region is not None:
            first, last = self._column(self._region[0]), self._column(self._region[1])
            inside[max(0, first) : max(0, last + 1)] = True
        head = np.zeros(width, bool)
        if self._playhead >= 0:
            head[self._playhead] = True
        codes = upper + 3 * lower + 9 * inside + 18 * head
        segments = []
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), width]):
            cell = int(upper[begin]), int(lower[begin])
            segments.append(self._segment(cell, end - begin, bool(inside[begin]), bool(head[begin])))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _segment(self, cell: tuple[int, int], count: int, inside: bool, head: bool) -> Segment:
        upper, lower = cell
        if head:
            return Segment("│" * count, Style(color=self._colors()["head"], bold=True, bgcolor=self._paper(inside)))
        if self.app.current_theme.ansi:
            block = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): "·" if inside else " "}
            return Segment(block[upper > 0, lower > 0] * count, Style(bold=inside))
        colors = self._colors()
        paper = self._paper(inside)
        inks = (paper, colors["loop-peak" if inside else "peak"], colors["loop-rms" if inside else "rms"])
        return Segment("▀" * count, Style(color=inks[upper], bgcolor=inks[lower]))

    def _paper(self, inside: bool) -> RichColor | None:
        return None if self.app.current_theme.ansi else self._colors()["loop-paper" if inside else "paper"]

    def _colors(self) -> dict[str, RichColor]:
        """From the theme, once for each."""
        if self._theme != self.app.theme:
            names = self.app.theme_variables
            paper, panel = (Color.parse(names[n]) for n in ("background", "panel"))
            primary, accent, ink = (Color.parse(names[n]) for n in ("primary", "accent", "foreground"))
            self._known = {
                "paper": paper.rich_color, "loop-paper": panel.rich_color, "head": ink.rich_color,
                "peak": paper.blend(primary, 0.45).rich_color, "rms": primary.rich_color,
                "loop-peak": panel.blend(accent, 0.5).rich_color, "loop-rms": accent.rich_color,
            }  # fmt: skip
            self._theme = self.app.theme
        return self._known
