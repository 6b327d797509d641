"""What the ear hears, in numbers and bars: loudness, peak, correlation, width; and the transport's line."""

from __future__ import annotations

from rich.text import Text

from engine.audio.loudness import SILENCE_DB
from engine.player.levels import Levels
from engine.player.player import Player
from engine.text import duration, fit, printable
from tui.widgets.cells import bar
from tui.widgets.panel import Panel

_QUIET, _LOUD = -48.0, 0.0


def level(decibels: float, unit: str = "") -> str:
    """``-14.2 LUFS``; a dash for silence."""
    return f"{decibels:6.1f}{unit}" if decibels > SILENCE_DB / 2 else f"{'–':>6}{unit}"


def clock(seconds: float, digits: int = 1) -> str:
    """``0:12.3``, or with more ``digits``."""
    whole = round(seconds, digits)  # 59.96 is 1:00.0
    return f"{int(whole) // 60}:{whole % 60:0{3 + digits}.{digits}f}"


class Meters(Panel):
    """Momentary and short-term loudness, peak, correlation and width at the playhead, as they are heard."""

    def show(self, levels: Levels | None, frame: int, gain: float) -> None:
        """Read the meters at ``frame``; ``gain`` in dB is what the player changes the level by."""
        text = Text(no_wrap=True, overflow="ellipsis")
        if levels is not None:
            width = max(4, self.size.width - 22)
            rows = (
                ("M", levels.momentary(frame)),
                ("S", levels.short_term(frame)),
                ("peak", levels.recent_peak(frame)),
            )
            for name, value in rows:
                heard = value + gain
                share = (heard - _QUIET) / (_LOUD - _QUIET)
                text.append(f"{name:<5}", "faint")
                text.append(bar(share, width), "primary")
                text.append(f" {level(heard)} {'dBFS' if name == 'peak' else 'LUFS'}\n")
            correlation, wide = levels.stereo(frame)
            place = round((correlation + 1) / 2 * (width - 1))
            text.append("corr ", "faint")
            text.append("─" * place, "faint")
            text.append("█", "primary")
            text.append("─" * (width - 1 - place), "faint")
            text.append(f" {correlation:+6.2f} {wide:4.0%} wide")
        self.show_text(text)


class TransportLine(Panel):
    """Where the playhead is, what is looped, how loud, and through which device."""

    def show(self, player: Player, current: str, number: int) -> None:
        """Paint what is true now."""
        rate = player.rate
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" ▶ " if player.playing else " ❚❚ ", "bold")
        text.append(f"{clock(player.position / rate)} / {duration(player.frames / rate)}", "bold")
        if current:
            text.append(f"  {f'{number} ' if number else ''}{fit(current, min(24, len(current)))}", "primary")
        if player.region is not None:
            start, stop = player.region
            sign = "↻" if player.looping else "·"
            text.append(f"  {sign} {clock(start / rate, 2)}–{clock(stop / rate, 2)}")
        text.append(f"  vol {player.volume:+.0f} dB")
        text.append("  levels matched" if player.match else "  levels as they are", "" if player.match else "italic")
        if player.loading:
            text.append("  loading…", "italic")
        elif player.device_name:
            text.append(f"  {printable(player.device_name)} {rate / 1000:g} kHz", "faint")
        elif player.problem:
            text.append(f"  no sound: {printable(player.problem)}", "italic")
        if player.underruns:
            text.append(f"  {player.underruns} dropouts", "faint")
        self.show_text(text)
