"""The stage checklist: every variant of the selected song, and the stages that lead to it."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.planning.task import Task
from engine.text import duration
from tui.model import GLYPHS, MEANINGS, RUINED, DashboardModel, SongView, TaskView
from tui.widgets.cells import bar

_STYLES = {"done": "success", "working": "primary", "queued": "primary", "failed": "error", "stale": "warning"}


class StageChecklist(OptionList):
    """Space switches the variant under the cursor off or on for the song (or the marked ones), ``a`` for all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", "On/off"),
        Binding("a", "switch_all", "On/off for all"),
        Binding("v", "skip", "Skip variant", show=False),
    ]

    class Toggled(Message):
        """The user wants a variant switched off or on."""

        def __init__(self, variant: str, for_all: bool) -> None:
            super().__init__()
            self.variant, self.for_all = variant, for_all

    class Skipped(Message):
        """The user wants the variant left out in this run."""

        def __init__(self, variant: str) -> None:
            super().__init__()
            self.variant = variant

    def on_mount(self) -> None:
        """Name the panel."""
        self.border_title = "Stages"
        self._painted: list[tuple[str | None, Text]] = []

    def show(self, library: DashboardModel | None, view: SongView | None) -> None:
        """Show the tasks of a song; the cursor stays where it was."""
        lines: list[tuple[str | None, Text]] = []
        if library is not None and view is not None:
            for task in library.final:
                lines.append((task.id, self._variant_line(task, view.tasks[task.id])))
                lines += [(None, line) for line in self._stage_lines(task, view)]
        if [key for key, _ in lines] == [key for key, _ in self._painted]:
            for place, ((_, new), (_, old)) in enumerate(zip(lines, self._painted, strict=True)):
                if new != old or new.spans != old.spans:
                    self.replace_option_prompt_at_index(place, new)
        else:
            at = self.highlighted
            self.clear_options()
            self.add_options(Option(line, id=key, disabled=key is None) for key, line in lines)
            if lines:
                self.highlighted = at if at is not None and at < len(lines) else 0
        self._painted = lines

    def _variant_line(self, task: Task, shown: TaskView) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{GLYPHS[shown.state]} ", _STYLES.get(shown.state, ""))
        line.append(task.id, "bold" if shown.state not in ("off", "impossible", "skipped") else "faint")
        if shown.state == "working":
            line.append(f"  {bar(shown.fraction, 8)} {shown.fraction:.0%}", _STYLES.get("working", ""))
        elif shown.seconds is not None and shown.state == "done":
            if shown.ruined:
                line.append(f"{RUINED} lost much of the song", "error")
            line.append(f"  {duration(shown.seconds)} {shown.device}", "faint")
        else:
            slow = task.too_slow and shown.state == "impossible"
            line.append(f"  {'takes too long' if slow else MEANINGS[shown.state]}", "faint")
        return line

    def _stage_lines(self, task: Task, view: SongView) -> list[Text]:
        """The steps to a variant from the one before it on, as a tree: what is done to a stem stands under its name."""
        lines = []
        for stem, steps in groupby(_own_steps(task), itemgetter(0)):
            own = [step for _, step in steps]
            if stem:
                lines.append(Text.assemble((f"  ├ {stem}", "faint"), no_wrap=True, overflow="ellipsis"))
                lines[-1].stylize("bold", 4)
            for step in own:
                branch = ("│ └ " if step is own[-1] else "│ ├ ") if stem else "└ " if step is task else "├ "
                lines.append(self._step_line(f"  {branch}", step, view))
        text = view.tasks[task.id].text
        if text:
            lines.append(Text.assemble((f"    {text}", "faint"), no_wrap=True, overflow="ellipsis"))
            lines[-1].stylize("italic")
        return lines

    def _step_line(self, branch: str, step: Task, view: SongView) -> Text:
        shown = view.tasks[step.id]
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(branch, "faint")
        line.append(f"{GLYPHS[shown.state]} ", _STYLES.get(shown.state, ""))
        line.append(step.title, "faint")
        if step.stage.takes_mix and step.variant in view.mixes:
            line.append(" · your mix", "accent")
        if shown.state == "working" and not step.is_final:
            line.append(f"  {shown.fraction:.0%}", "primary")
        return line

    def _variant(self) -> str | None:
        """The variant that the cursor is at."""
        return self.get_option_at_index(self.highlighted).id if self.highlighted is not None else None

    def action_switch(self) -> None:
        """Switch the variant for the selected or the marked songs."""
        if (variant := self._variant()) is not None:
            self.post_message(self.Toggled(variant, for_all=False))

    def action_switch_all(self) -> None:
        """Switch the variant for all songs."""
        if (variant := self._variant()) is not None:
            self.post_message(self.Toggled(variant, for_all=True))

    def action_skip(self) -> None:
        """Leave the variant out in this run."""
        if (variant := self._variant()) is not None:
            self.post_message(self.Skipped(variant))


def _own_steps(task: Task) -> list[tuple[str, Task]]:
    """The steps from the nearest variants on, each with its stem: what leads to those stands with them."""
    before = {step.id for near in {port.task.id: port.task for port in task.published_before()}.values()
              for step in near.lineage() if step is not near}  # fmt: skip
    return [(stem, step) for stem, step in task.outline() if step.id not in before]
