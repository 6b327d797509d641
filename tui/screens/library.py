"""The library: the whole run on one screen."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input, RichLog, Static

from engine.errors import RestoreError
from engine.machine.monitor import Sample
from engine.text import duration, short_path
from tui.host import Host
from tui.model import DashboardModel, SongView
from tui.screens.dialogs import Choice
from tui.screens.pages import DetailPage
from tui.widgets.machine_panel import MachinePanel
from tui.widgets.panel import Panel
from tui.widgets.run_panel import RunPanel
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist

_PANEL_INTERVAL = 0.25  # seconds between paints of the panels; the table follows every frame
_WELCOME = (
    "\n\nmp3restore\n\n"
    "rebuilds plausible approximations of what MP3 threw away,\nand lets your ear decide\n\n\n"
    "[ o ]  open a folder of music\n\n[ n ]  make a demo song and try it\n\n[ ? ]  help"
)


class LibraryScreen(Screen[None]):
    """Table, checklist, machine, run and log; home of all actions on songs."""

    AUTO_FOCUS = "#table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start"),
        Binding("p", "pause", "Pause"),
        Binding("t", "stop", "Stop"),
        Binding("x", "skip_song", "Skip song", show=False),
        Binding("r", "retry", "Retry failed", show=False),
        Binding("f", "force", "Recompute", show=False),
        Binding("slash", "search", "Find"),
        Binding("g", "toggle_log", "Log", show=False),
        Binding("escape", "clear", "Clear the search", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host

    def compose(self) -> ComposeResult:
        """Status, table and panels, log, keys."""
        yield Panel(id="status")
        yield Static(Text(_WELCOME, justify="center"), id="welcome")
        with Horizontal(id="main"):
            with Vertical(id="songs"):
                yield Input(placeholder="Find: words of the name, is:failed, is:open …", id="search", compact=True)
                yield SongTable(id="table")
            with Vertical(id="side"):
                yield StageChecklist(id="stages", compact=True)
                yield RunPanel(id="run")
                yield MachinePanel(id="machine")
        yield RichLog(id="log", wrap=True, markup=False, highlight=False, max_lines=500)
        yield Footer()

    def on_mount(self) -> None:
        """Start empty."""
        self._stale: set[str] = set()
        self._shown = 0.0
        self.query_one("#search", Input).display = False
        self.query_one("#log", RichLog).border_title = "Log"
        self.query_one("#log", RichLog).can_focus = False
        self.query_one("#songs").border_title = "Songs"
        self.show_library(self._host.library)

    def show_library(self, library: DashboardModel | None) -> None:
        """Show another library, or the welcome where there is none."""
        self.set_class(library is None, "-empty")
        table = self.query_one(SongTable)
        table.show_library(library)
        self.query_one(RichLog).clear()
        if library is not None:
            table.focus()
        self.show_state()

    def show_state(self) -> None:
        """Paint what belongs to the run as a whole."""
        library = self._host.library
        self.query_one(RunPanel).show(library)
        self.query_one("#status", Panel).show_text(self._status(library))

    def _status(self, library: DashboardModel | None) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" mp3restore ", "bold reverse")
        if library is None:
            return text
        session = library.session
        counts = library.counts()
        out = short_path(session.store.out)
        text.append(f"  {session.recipe.title}  ", "bold")
        text.append(f"{counts['done']}/{len(library.songs)} done")
        if counts["failed"]:
            text.append(f"  {counts['failed']} failed", "bold")
        if session.running:
            state = "paused" if session.control.paused else "stopping" if session.control.stopped else "running"
            left = duration(session.estimate.time_left())
            text.append(f"  {state} {session.estimate.fraction():.0%}, {left} left", "bold")
        text.append(f"  → {out}", "dim")
        return text

    @property
    def waiting(self) -> bool:
        """Whether panels have something newer to show than they do."""
        return bool(self._stale)

    def show_changes(self, ids: set[str]) -> None:
        """Paint the songs that changed."""
        library = self._host.library
        if library is None:
            return
        table = self.query_one(SongTable)
        table.update_songs(ids)
        self._stale |= ids
        if time.monotonic() - self._shown < _PANEL_INTERVAL and not library.new_lines:
            return
        self._shown = time.monotonic()
        current = table.current
        if current is not None and current.song.id in self._stale:
            self.query_one(StageChecklist).show(library, current)
        self._stale.clear()
        log = self.query_one(RichLog)
        styles = {"info": "dim", "note": "", "error": "bold"}
        marks = {"info": " ", "note": "◐", "error": "✗"}
        for line in library.new_lines:
            log.write(Text(f"{marks[line.level]} {line.text}", styles[line.level]), expand=True)
            if line.level == "error":
                self.notify(line.text, severity="error", timeout=8, markup=False)
        library.new_lines.clear()
        self.show_state()

    def show_sample(self, sample: Sample) -> None:
        """Show how the machine is doing."""
        self.query_one(MachinePanel).show(sample)

    @on(SongTable.Highlighted)
    def _other_song(self, event: SongTable.Highlighted) -> None:
        self.query_one(StageChecklist).show(self._host.library, event.view)

    @on(SongTable.Opened)
    def _open_song(self, event: SongTable.Opened) -> None:
        if self._host.library is not None:
            self.app.push_screen(DetailPage(self._host.library, event.view))

    @on(StageChecklist.Toggled)
    def _toggle(self, event: StageChecklist.Toggled) -> None:
        library, table = self._host.library, self.query_one(SongTable)
        if library is None or table.current is None:
            return
        if any(task.too_slow and task.id == event.variant for task in library.session.tasks):
            self._host.be_patient(event.variant)
            return
        views = library.songs if event.for_all else table.marked or [table.current]
        on = library.toggle(views, event.variant)
        whom = "all songs" if event.for_all else f"{len(views)} marked songs" if table.marked else "this song"
        self.notify(f"{event.variant} switched {'on' if on else 'off'} for {whom}", timeout=2, markup=False)
        table.refresh()
        self.query_one(StageChecklist).show(library, table.current)

    @on(StageChecklist.Skipped)
    def _skip_variant(self, event: StageChecklist.Skipped) -> None:
        library, table = self._host.library, self.query_one(SongTable)
        if library is not None and table.current is not None and library.session.running:
            library.session.control.skip_variant(table.current.song.id, event.variant)
            self.notify(f"{event.variant} is left out for this song at the next chunk", timeout=3, markup=False)

    # --- running -----------------------------------------------------------------------------------------

    def _begin(self, views: Iterable[SongView], *, force: bool = False) -> None:
        model, session = self._host.library, self._host.session
        if model is None or session is None:
            self.notify("Open a folder first (o).")
            return
        if session.running:
            self.notify("A run is under way already.")
            return
        views = list(views)
        if not views:
            self.notify("There is nothing to do.")
            return
        songs = model.queue(views, force=force)
        try:
            session.start(jobs=self._host.jobs, force=force, songs=songs)
        except RestoreError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)
            self._host.reopen()
            return
        self.query_one(SongTable).refresh()
        self.show_state()

    def action_start(self) -> None:
        """Start with the marked songs, or with all."""
        if self._host.session is not None and self._host.session.running and self._host.session.control.paused:
            self.action_pause()
            return
        table = self.query_one(SongTable)
        self._begin(table.marked or (self._host.library.songs if self._host.library is not None else []))

    def action_pause(self) -> None:
        """Pause at the next chunk boundary, or go on."""
        if self._host.session is None or not self._host.session.running:
            return
        if self._host.session.control.paused:
            self._host.session.resume()
        else:
            self._host.session.pause()
            self.notify("Pausing when the chunk in work is finished.", timeout=3)
        self.show_state()

    def action_stop(self) -> None:
        """Stop after the chunk in work."""
        if self._host.session is not None and self._host.session.running:
            self._host.session.stop()
            self.notify("Stopping when the chunk in work is finished.", timeout=3)
            self.show_state()

    def action_skip_song(self) -> None:
        """Leave the rest of the selected song out."""
        current = self.query_one(SongTable).current
        if self._host.session is not None and self._host.session.running and current is not None:
            self._host.session.control.skip_song(current.song.id)
            self.notify(f"{current.name} is left out at the next chunk", timeout=3, markup=False)

    def action_retry(self) -> None:
        """Start with the songs that failed."""
        self._begin([v for v in self._host.library.songs if v.failed] if self._host.library is not None else [])

    def action_force(self) -> None:
        """Make the selected or marked songs anew, after asking."""
        table = self.query_one(SongTable)
        views = table.marked or ([table.current] if table.current is not None else [])
        if not views or self._host.session is None:
            return
        whom = views[0].name if len(views) == 1 else f"{len(views)} songs"

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._begin(views, force=True)

        question = f"Make all variants of {whom} anew? What is there is replaced when the new one is finished."
        self.app.push_screen(Choice(question, {"yes": "Make anew", "no": "Leave as it is"}), answered)

    # --- finding, the log, dropped paths -----------------------------------------------------------------

    def action_search(self) -> None:
        """Type words to find songs by."""
        search = self.query_one("#search", Input)
        search.display = True
        search.focus()

    @on(Input.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        self.query_one(SongTable).filter(event.value)

    @on(Input.Submitted, "#search")
    def _found(self) -> None:
        self.query_one(SongTable).focus()

    def action_clear(self) -> None:
        """Show all songs again."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.display = False
        self.query_one(SongTable).focus()

    def action_toggle_log(self) -> None:
        """Show or hide the log."""
        self.toggle_class("-log")

    def on_paste(self, event: object) -> None:
        """A path that is dropped onto the terminal arrives as a paste: open it."""
        text = str(getattr(event, "text", "")).strip().strip("'\"")
        if re.match(r"(/|~|[A-Za-z]:\\|file://)", text):
            self._host.open_path(text.removeprefix("file://"))
