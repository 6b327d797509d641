"""Setting the AI models up: what is to be fetched, its progress, cancelling and trying again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import Binding, BindingType

from engine.commands import setup
from engine.commands.setup import Plan
from engine.errors import RestoreError
from engine.machine import host
from engine.machine.gpu_probe import Torch
from engine.machine.installer import IndexUnreachableError, Progress
from engine.text import printable, size
from tui.screens.dialogs import Choice
from tui.screens.pages import ModelsPage, Page
from tui.settings import Settings


class SetupScreen(Page):
    """Looks at the machine, says what it would fetch, and does it when asked; Escape cancels, or leaves."""

    TITLE = "Set up the AI models"
    WAITING = "\nLooking at this machine …"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,r", "go", "Set up"),
        Binding("g", "models", "Models"),
        Binding("escape,q", "leave", "Cancel or back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._plan: Plan | None = None
        self._cancelled = threading.Event()
        self._working = False
        self._done = False

    def on_unmount(self) -> None:
        """What is under way ends; the environment stays as it is."""
        self._cancelled.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is offered."""
        if action == "go":
            return self._plan is not None and not self._working and not self._done
        return self._done if action == "models" else True

    def body(self) -> RenderableType:
        """The plan; called on a thread of its own, as PyTorch is tried."""
        try:
            self._plan = setup.plan(host.look())
        except RestoreError as error:
            return Text(str(error), "warning")
        return self._page(Text("Enter sets it up." if self._plan.requirements else "Enter tries it once more."))

    def _show(self, body: RenderableType) -> None:
        super()._show(body)
        self.refresh_bindings()

    def _page(self, below: RenderableType) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="faint", no_wrap=True)
        table.add_column(overflow="fold")
        for topic, text in setup.described(self._plan) if self._plan is not None else []:
            table.add_row(topic, Text(text))
        return Group(Text(), table, Text(), below)

    # --- what can be done --------------------------------------------------------------------------------

    def action_go(self) -> None:
        """Begin, or begin again."""
        if self._plan is not None:
            self._begin(self._plan)

    def _begin(self, plan: Plan) -> None:
        self._working, self._plan = True, plan
        self._cancelled = threading.Event()
        self._show(self._page(Text("…")))
        self._install(plan, self._cancelled)

    def action_leave(self) -> None:
        """Cancel what is under way; leave where nothing is."""
        if not self._working:
            self.dismiss()
            return
        self._cancelled.set()
        self.notify("Stopping. What is being put in place is finished first.", timeout=4)

    def action_models(self) -> None:
        """To the models: what is here, and how large what can be fetched is."""
        came_from_there = any(isinstance(screen, ModelsPage) for screen in self.app.screen_stack)
        self.dismiss()
        if not came_from_there:
            self.app.push_screen(ModelsPage())

    # --- on a thread of its own --------------------------------------------------------------------------

    @work(thread=True, exclusive=True, group="setup")
    def _install(self, plan: Plan, cancelled: threading.Event) -> None:
        try:
            found = setup.carry_out(plan, self._moved, cancelled)
            self._say(self._finished, plan, found)
        except IndexUnreachableError as error:
            self._say(self._ask_fallback, plan, str(error))
        except RestoreError as error:
            self._say(self._failed, str(error))

    def _say(self, what: Callable[..., None], *arguments: object) -> None:
        if self.is_running:
            self.app.call_from_thread(what, *arguments)

    def _moved(self, progress: Progress) -> None:
        total = progress.expected or None
        text = setup.PHASES[progress.phase]
        if total is not None and progress.phase == "fetching":
            text += f": {size(progress.received)} of {size(total)}"
        bar = ProgressBar(total, progress.received if total else 0, width=60)
        self._say(self._show, self._page(Group(Text(text), bar, Text("\nEscape cancels.", "faint"))))

    # --- how it ended ------------------------------------------------------------------------------------

    def _finished(self, plan: Plan, found: Torch | None) -> None:
        try:
            text = setup.outcome(plan, found)
        except RestoreError as error:
            self._failed(str(error))
            return
        self._working, self._done = False, True
        offered = [f"{card.name}, {size(card.size)}: {card.task}" for card in setup.models_to_offer()]
        models = "\n".join(["", "Models that can be downloaded now (g):", *offered]) if offered else ""
        self._show(self._page(Group(Text(printable(text), "success"), Text(models))))

    def _failed(self, problem: str) -> None:
        self._working = False
        self._show(self._page(Group(Text(printable(problem), "warning"), Text("Enter tries again.", "faint"))))

    def _ask_fallback(self, plan: Plan, problem: str) -> None:
        other = plan.fallback()
        if other is None:
            self._failed(f"{problem} Check the connection.")
            return
        self._failed(problem)
        question = f"{problem} The common package index has PyTorch too: about {size(other.download)}."
        answers = {"yes": "Take that one", "no": "Not now"}

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._begin(other)

        self.app.push_screen(Choice(question, answers), answered)


def offer(app: App[Any], settings: Settings) -> None:
    """Once ever: where models cannot use the GPU that is here, ask whether to set them up. For a thread of its own."""
    if not settings.setup_offered and host.gpu_is_idle() and app.is_running:
        app.call_from_thread(partial(_ask, app, settings))


def _ask(app: App[Any], settings: Settings) -> None:
    if len(app.screen_stack) > 1:
        return  # the user is at something; the next start is early enough
    settings.setup_offered = True
    settings.save()

    def answered(answer: str | None) -> None:
        if answer == "yes":
            app.push_screen(SetupScreen())

    question = (
        "There is an NVIDIA GPU here that the AI models could use. They need PyTorch (about 3 GB to download) and "
        "their weights. Without them the offline restorer works all the same."
    )
    answers = {"yes": "See what setting up takes", "no": "Not now (later: M, then i)"}
    app.push_screen(Choice(question, answers), answered)
