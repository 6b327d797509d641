"""What each stem goes through: the table of a recipe, and the dialog in which one stem's chain is changed."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.planning.recipes import Each, Step
from engine.signals import MIX, STEMS
from engine.stages import STAGES
from tui.screens.dialogs import Choice, Dialog

_NAME = max(map(len, STEMS))
_PASSES = "passes as it is"

Chain = tuple[Step, ...]


def stages_for_stems() -> list[str]:
    """Names of the stages that take one signal and give one, as loud as it was."""
    return [
        stage.name
        for stage in STAGES.values()
        if not (stage.implied or stage.sets_loudness)
        and stage.inputs(stage.Parameters()) == (MIX,)
        and stage.outputs(stage.Parameters(), (MIX,)) == (MIX,)
    ]


def _row(stem: str, steps: Chain, made: bool) -> Option:
    words = Text(" > ".join(step.stage for step in steps)) if steps else Text(_PASSES, "faint")
    if not made:
        return Option(Text.assemble(f"{stem:<{_NAME}}  ", words, " (not made)", style="faint"), id=stem)
    return Option(Text.assemble((f"{stem:<{_NAME}}  ", "bold"), words), id=stem)


class RoutingTable(OptionList):
    """The stems of one ``each`` and what they go through: the parameters of the one under the cursor are shown below,
    and Enter changes what is done to it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Change")]

    def __init__(self, place: int, each: Each, separation: Step | None, stem: str = "") -> None:
        """The one at a place of a variant's chain, behind a separation where that is known.

        The cursor is on the ``stem``, else on the first.
        """
        made: tuple[str, ...] = STEMS
        title = ""
        if separation is not None:
            stage = STAGES[separation.stage]
            made, title = stage.outputs(separation.params, (MIX,)), stage.title_of(separation.params)
        super().__init__(*(_row(name, each.of(name), name in made) for name in STEMS), classes="routing")
        self.place, self.each = place, each
        self.border_title, self.border_subtitle = "What each stem goes through", title
        self.highlighted = STEMS.index(stem) if stem else 0

    @property
    def stem(self) -> str:
        """That under the cursor."""
        return STEMS[self.highlighted or 0]


class Steps(OptionList):
    """The stages of one chain, in order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add"),
        Binding("d,delete", "leave_out", "Leave out"),
        Binding("shift+up,K", "move(-1)", "Earlier"),
        Binding("shift+down,J", "move(1)", "Later"),
    ]

    def __init__(self, steps: Chain) -> None:
        super().__init__()
        self.steps = list(steps)

    def on_mount(self) -> None:
        """Show them."""
        self._list(0)

    def _list(self, at: int) -> None:
        self.clear_options()
        for number, step in enumerate(self.steps, 1):
            stage = STAGES[step.stage]
            reason = stage.unavailable_reason(step.params)
            line = Text.assemble(f"{number}  ", (step.stage, "bold"), f": {stage.title}")
            self.add_option(line.append(f"\n   {reason}") if reason else line)
        if not self.steps:
            self.add_option(Option(Text(f"{_PASSES}; press a to add a stage", "faint"), disabled=True))
        else:
            self.highlighted = min(at, len(self.steps) - 1)

    def action_add(self) -> None:
        """Choose a stage that comes after the one under the cursor."""
        known = {name: f"{name}: {STAGES[name].title}" for name in stages_for_stems()}

        def chosen(name: str | None) -> None:
            if name is not None:
                at = 0 if self.highlighted is None else self.highlighted + 1
                self.steps.insert(at, Step(name, STAGES[name].Parameters()))
                self._list(at)

        self.app.push_screen(Choice("Which stage?", known), chosen)

    def action_leave_out(self) -> None:
        """Without the one under the cursor."""
        if self.highlighted is not None:
            at = self.highlighted
            del self.steps[at]
            self._list(at)

    def action_move(self, by: int) -> None:
        """Change places with the one before or behind."""
        at = self.highlighted
        if at is not None and 0 <= at + by < len(self.steps):
            self.steps[at], self.steps[at + by] = self.steps[at + by], self.steps[at]
            self._list(at + by)


class ChainDialog(Dialog[Chain | None]):
    """Change what one stem goes through; gives the new chain (empty: it passes as it is), or None."""

    wide = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Take it", priority=True),
        Binding("escape", "dismiss(None)", "Cancel"),
    ]

    def __init__(self, stem: str, steps: Chain) -> None:
        super().__init__()
        self._stem, self._steps = stem, steps

    def content(self) -> ComposeResult:
        """The stem above, its stages below."""
        yield Static(Text(f"{self._stem.capitalize()}: what is done, in order"), classes="question")
        yield Steps(self._steps)

    def action_take(self) -> None:
        """The chain as it is now."""
        self.dismiss(tuple(self.query_one(Steps).steps))
