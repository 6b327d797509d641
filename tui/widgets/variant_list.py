"""The variants of a song, with all that is to be said of each where there is room for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.audio.loudness import SILENCE_DB
from engine.dsp.mix import described
from engine.library.verdicts import Verdict
from engine.player.player import Player
from engine.player.tracks import Candidate
from engine.text import fit, printable
from tui.model import RUINED
from tui.widgets.meters import level


class VariantList(OptionList):
    """The cursor is always on the variant that is heard."""

    def on_mount(self) -> None:
        """Name the panel."""
        self.border_title = "Variants"

    def show(self, player: Player, candidates: Sequence[Candidate], verdict: Verdict) -> None:
        """Show how the candidates stand in ``player``; the favourite has a star, an empty one where it is proposed."""
        lines = self._lines_that_fit(player, candidates, verdict)
        with self.prevent(OptionList.OptionHighlighted):
            if self.option_count == len(lines):
                for place, line in enumerate(lines):
                    self.replace_option_prompt_at_index(place, line)
            else:
                self.clear_options()
                self.add_options(
                    Option(line, id=f"v{n}", disabled=bool(c.missing))
                    for n, (line, c) in enumerate(zip(lines, candidates, strict=True))
                )
            self.highlighted = next((n for n, c in enumerate(candidates) if c.key == player.current), None)

    def _lines_that_fit(self, player: Player, candidates: Sequence[Candidate], verdict: Verdict) -> list[Text]:
        """Every variant with all that is to be said of it; where room is short only the one in play, or none."""
        lines: list[Text] = []
        star = "☆" if verdict.is_proposed else "★"
        for all_of in (lambda c: True, lambda c: c.key == player.current, lambda c: False):
            lines = [
                self._describe(player, n, c, star if c.key == verdict.favourite else "", short=not all_of(c))
                for n, c in enumerate(candidates, 1)
            ]
            if sum(line.plain.count("\n") + 1 for line in lines) <= self.size.height:
                break
        return lines

    def _describe(self, player: Player, number: int, candidate: Candidate, star: str, *, short: bool) -> Text:
        """What a variant is: its title, its level, how it was made, what has to be said; ``short``: on one line."""
        width = max(20, self.size.width - 2)
        loudness = _loudness(player, candidate)
        right = f" {loudness}" if short else ""
        star = (f" {RUINED}" if candidate.warning else "") + (f" {star}" if star else "")
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{'▸' if candidate.key == player.current else ' '}{number if number < 10 else ' '} ", "bold")
        room = width - 4 - len(star) - len(right)
        title = fit(candidate.title, min(room, cell_len(candidate.title)))
        text.append(title, "bold" if not candidate.missing else "faint")
        room -= cell_len(title)
        folder = f"  {printable(candidate.folder)}" if candidate.folder else ""
        if cell_len(folder) <= room:
            text.append(folder, "faint")
            room -= cell_len(folder)
        text.append(star, "bold")
        if short:
            text.append(" " * room + right, "faint")
            return text
        problem = candidate.missing or player.error_of(candidate.key)
        if problem:
            text.append(_indented(problem, width), "faint")
            return text
        gains = player.gains()
        heard = f", heard at {round(gains[candidate.key], 1) + 0.0:+.1f} dB" if candidate.key in gains else ""
        text.append(f"\n   {loudness}{heard}", "faint")
        if candidate.warning:
            text.append(_indented(candidate.warning, width), "error")
        mixed = described({stem.name: stem.strip for stem in player.stems_of(candidate.key)})
        for said in (candidate.chain, candidate.note, f"heard mixed: {mixed}" if mixed else ""):
            if said and said != candidate.title:
                text.append(_indented(said, width), "faint")
        return text


def _loudness(player: Player, candidate: Candidate) -> str:
    """The level of the region in words, or what stands in its way."""
    if candidate.missing:
        return candidate.missing
    if player.error_of(candidate.key):
        return "cannot be played"
    levels = player.levels_of(candidate.key)
    if levels is None:
        return f"loading {player.progress_of(candidate.key):.0%}"
    loudness = levels.loudness(*(player.region or (0, None)))
    return f"{level(loudness).strip()} LUFS" if loudness > SILENCE_DB / 2 else "silent"


def _indented(text: str, width: int) -> str:
    """``text`` on lines of its own, three cells to the right."""
    return "".join(f"\n   {line}" for line in textwrap.wrap(text, max(10, width - 4)))
