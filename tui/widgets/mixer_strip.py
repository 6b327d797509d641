"""One strip of the mixer: fader and meter on one scale, place, mute and solo; all of it can be set by the mouse."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.text import Text
from textual import events
from textual.message import Message

from engine.audio.loudness import SILENCE_DB
from engine.dsp.mix import LEVELS, Strip
from engine.text import fit
from tui.widgets.cells import BLOCKS
from tui.widgets.panel import Panel

LEVEL_STEP = 0.5  # dB
_CURVE = 1.6  # of the scale: what is near 0 dB has the most room
_MARKS = (12, 6, 0, -6, -12, -24, -40)  # dB, written beside the fader
_ABOVE = 2  # lines above the fader: name and level
_BELOW = 3  # lines below it: place, buttons, what else is to be said
_LOUD, _TOO_LOUD = -6.0, -0.1  # dBFS from which the meter changes its colour


def share(decibels: float) -> float:
    """Where a level lies on the scale, 0 (or less) to 1."""
    low, high = LEVELS
    return max(0.0, (decibels - low) / (high - low)) ** _CURVE


def level_at(height: float) -> float:
    """The level at a height of the scale, 0 to 1, in whole steps."""
    low, high = LEVELS
    decibels = low + (high - low) * max(0.0, min(1.0, height)) ** (1 / _CURVE)
    return round(decibels / LEVEL_STEP) * LEVEL_STEP


@dataclass(frozen=True)
class Shown:
    """What a strip shows. ``peak`` in dBFS is what is heard of it, ``label`` one or two words below it."""

    strip: Strip
    heard: bool
    peak: float = SILENCE_DB
    label: str = ""
    mono: bool = False
    current: bool = False


class MixerStrip(Panel):
    """Paints a :class:`Shown`; says what the mouse asks for."""

    class Changed(Message):
        """The mouse asks for this strip at ``place`` (None: only to be the current one); its values may go too far."""

        def __init__(self, place: int, strip: Strip | None) -> None:
            super().__init__()
            self.place, self.strip = place, strip

    def __init__(self, place: int, name: str) -> None:
        super().__init__(id=f"strip-{place}", classes="mixer-strip")
        self._place, self._stem = place, name
        self._shown: Shown | None = None
        self._held = False

    def on_resize(self) -> None:
        """All lines anew."""
        if self._shown is not None:
            shown, self._shown = self._shown, None
            self.show(shown)

    def show(self, shown: Shown) -> None:
        """Show how the strip stands."""
        if shown == self._shown:
            return
        self._shown = shown
        self.set_class(shown.current, "-current")
        width, rows = max(6, self.size.width), self._rows
        text = Text(no_wrap=True, overflow="crop")
        style = "bold" if shown.heard else "faint"
        text.append(self._stem.center(width) if len(self._stem) <= width else fit(self._stem, width), style)
        if shown.current:
            text.stylize("primary")
        level = f"{shown.strip.db:+.1f} dB" if shown.strip.db else "0 dB"
        text.append(f"\n{level.center(width)}\n", style)
        for row in range(rows):
            self._fader_line(text, shown, row, width)
        self._place_line(text, shown, width)
        self._buttons_line(text, shown.strip, width)
        text.append(fit(shown.label.center(width), width), "faint")
        self.show_text(text)

    @property
    def _rows(self) -> int:
        """Lines of the fader."""
        return max(3, self.size.height - _ABOVE - _BELOW)

    def _row_of(self, decibels: float) -> int:
        return round((1 - min(1.0, share(decibels))) * (self._rows - 1))

    def _fader_line(self, text: Text, shown: Shown, row: int, width: int) -> None:
        marks = {self._row_of(mark): f"{mark:+d}" if mark else "0" for mark in reversed(_MARKS)}
        scale = 3 if width >= 9 else 0
        text.append(" " * ((width - scale - 6) // 2))
        if scale:
            text.append(f"{marks.get(row, ''):>3}", "faint")
        knob, zero = row == self._row_of(shown.strip.db), row == self._row_of(0)
        style = "bold" if shown.current else ""
        text.append("▐█▌" if knob else "─┼─" if zero else " │ ", style if knob else "faint")
        cell = self._rows * min(1.0, share(shown.peak)) - (self._rows - 1 - row)
        top = self._rows - row - 0.5  # the level of this cell's middle decides its colour
        level = level_at(top / self._rows)
        color = "error" if level >= _TOO_LOUD else "warning" if level >= _LOUD else "success"
        text.append(" ")
        text.append(BLOCKS[max(0, min(8, round(8 * cell)))] * 2, color if shown.heard else "faint")
        text.append("\n")

    def _place_line(self, text: Text, shown: Shown, width: int) -> None:
        """A line from left to right with the place on it."""
        if shown.mono:
            text.append("mono".center(width) + "\n", "faint")
            return
        room = (width - 3) // 2 * 2 + 1  # odd: there is a middle
        at = round((shown.strip.pan + 1) / 2 * (room - 1))
        line = "".join("●" if n == at else "┼" if n == (room - 1) // 2 else "─" for n in range(room))
        text.append(" " * ((width - room - 2) // 2) + "L", "faint")
        text.append(line, "bold" if shown.strip.pan else "faint")
        text.append("R\n", "faint")

    def _buttons_line(self, text: Text, strip: Strip, width: int) -> None:
        half = width // 2
        for sign, lit, style, room in (
            ("M", strip.muted, "error", half), ("S", strip.solo, "warning", width - half),
        ):  # fmt: skip
            side = (room - 3) // 2
            text.append(" " * side)
            text.append(f" {sign} ", "reverse bold" if lit else "faint")
            if lit:
                text.stylize(style, len(text) - 3)
            text.append(" " * (room - 3 - side))
        text.append("\n")

    # --- the mouse ---------------------------------------------------------------------------------------

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the fader or the place, or press a button."""
        place = event.get_content_offset(self)
        if self._shown is None:
            return
        if place is None:
            self.post_message(self.Changed(self._place, None))
            return
        strip = self._shown.strip
        if place.y == _ABOVE + self._rows + 1:
            left = place.x < self.size.width // 2
            self.post_message(
                self.Changed(
                    self._place, replace(strip, muted=not strip.muted) if left else replace(strip, solo=not strip.solo)
                )
            )
            return
        self._held = True
        self.capture_mouse()
        self._move_to(place.x, place.y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """What is held goes along."""
        place = event.get_content_offset_capture(self)
        if self._held:
            self._move_to(place.x, place.y)

    def on_mouse_up(self) -> None:
        """Let go."""
        self._held = False
        self.release_mouse()

    def on_mouse_scroll_up(self) -> None:
        """A step louder."""
        self._louder(LEVEL_STEP)

    def on_mouse_scroll_down(self) -> None:
        """A step softer."""
        self._louder(-LEVEL_STEP)

    def _louder(self, step: float) -> None:
        if self._shown is not None:
            strip = self._shown.strip
            self.post_message(self.Changed(self._place, replace(strip, db=strip.db + step)))

    def _move_to(self, x: int, y: int) -> None:
        if self._shown is None:
            return
        strip = self._shown.strip
        if y == _ABOVE + self._rows:
            room = max(2, self.size.width - 3)
            pan = round(2 * (x - 1) / room - 1, 1)
            self.post_message(self.Changed(self._place, replace(strip, pan=pan)))
        else:
            height = 1 - max(0, min(self._rows - 1, y - _ABOVE)) / (self._rows - 1)
            self.post_message(self.Changed(self._place, replace(strip, db=level_at(height))))
