"""Before a blind test: which question, about which variants, in how many trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.player.blind import DEFAULT_TRIALS, TRIALS, Kind
from engine.player.tracks import Candidate
from engine.text import printable
from tui.screens.dialogs import Dialog

_FEW_PER_PAIR = 6  # below this not even a clean sweep can be significant


@dataclass(frozen=True)
class Plan:
    """What is to be tested."""

    kind: Kind
    candidates: tuple[Candidate, ...]
    trials: int


class BlindSetup(Dialog[Plan | None]):
    """Which question, about which variants, in how many trials."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("left", "trials(-1)", "Fewer trials", priority=True),
        Binding("right", "trials(1)", "More trials", priority=True),
        Binding("space", "switch", "Choose", priority=True),
        Binding("enter", "begin", "Begin", priority=True),
    ]

    def __init__(self, offered: Sequence[Candidate], chosen: Sequence[str], trials: int | None = None) -> None:
        super().__init__()
        self._offered = list(offered)
        self._chosen = [key for key in chosen if any(c.key == key for c in offered)]
        self._trials = max(TRIALS[0], min(TRIALS[1], trials or DEFAULT_TRIALS))
        self._kind = Kind.ABX

    def content(self) -> ComposeResult:
        """The question, the candidates, the number of trials, and the start."""
        yield Static(Text("Blind test"), classes="title")
        yield OptionList(id="setup")
        yield Static("", id="advice", classes="hint")

    def on_mount(self) -> None:
        """Paint; the cursor begins at the start."""
        self._paint(at=len(self._offered) + 2)

    def _paint(self, at: int | None = None) -> None:
        options = self.query_one("#setup", OptionList)
        place = options.highlighted if at is None else at
        question = {
            Kind.ABX: "Is there a difference?  (ABX)", Kind.PREFERENCE: "Which is better?  (preference)",
        }[self._kind]  # fmt: skip
        lines = [(Text.assemble(("Question   ", "faint"), question), "question")]
        for candidate in self._offered:
            mark = "●" if candidate.key in self._chosen else "○"
            line = Text(f"  {mark} {candidate.title}", overflow="ellipsis", no_wrap=True)
            line.append(f"  {printable(candidate.folder)}", "faint")
            lines.append((line, candidate.key))
        lines.append((Text.assemble(("Trials     ", "faint"), f"◂ {self._trials} ▸"), "trials"))
        lines.append((Text("Begin", "bold"), "begin"))
        options.clear_options()
        options.add_options(Option(text, id=f"o{n}") for n, (text, _) in enumerate(lines))
        options.highlighted = place
        options.focus()
        self.query_one("#advice", Static).update(Text(self._advice()))

    def _advice(self) -> str:
        """What stands in the way, or what is wise."""
        count = len(self._chosen)
        if self._kind is Kind.ABX and count != 2:
            return "Choose exactly two variants."
        if count < 2:
            return "Choose at least two variants."
        pairs = count * (count - 1) // 2
        if self._trials // pairs < _FEW_PER_PAIR:
            return (
                f"{pairs} pairs share {self._trials} trials: too few for a clear answer. "
                "More trials or fewer variants tell more."
            )
        return "Space chooses, ◂ ▸ sets the trials, Enter begins. First loop 5 to 20 seconds in which they differ."

    def action_trials(self, step: int) -> None:
        """Another number of trials."""
        self._trials = max(TRIALS[0], min(TRIALS[1], self._trials + step))
        self._paint()

    def action_switch(self) -> None:
        """What is under the cursor, the other way round."""
        place = self.query_one("#setup", OptionList).highlighted or 0
        if place == 0:
            self._kind = Kind.PREFERENCE if self._kind is Kind.ABX else Kind.ABX
        elif place <= len(self._offered):
            key = self._offered[place - 1].key
            if key in self._chosen:
                self._chosen.remove(key)
            else:
                self._chosen.append(key)
                if self._kind is Kind.ABX and len(self._chosen) > 2:
                    self._chosen.pop(0)
        self._paint()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click chooses; on the last line, it begins."""
        if event.option_index == len(self._offered) + 2:
            self.action_begin()
        else:
            self.action_switch()

    def action_begin(self) -> None:
        """Begin, wherever the cursor is; where something is missing, say what."""
        count = len(self._chosen)
        if count < 2 or (self._kind is Kind.ABX and count != 2):
            self.notify(self._advice(), severity="warning", timeout=3)
            return
        candidates = tuple(c for c in self._offered if c.key in self._chosen)
        self.dismiss(Plan(self._kind, candidates, self._trials))
