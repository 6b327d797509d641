"""The library: the whole run on one screen."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input, RichLog, Static

from engine.machine.monitor import Sample
from engine.text import duration, short_path
from tui.model import DashboardModel
from tui.screens.pages import DetailPage
from tui.widgets.machine_panel import MachinePanel
from tui.widgets.panel import Panel
from tui.widgets.run_panel import RunPanel
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist

if TYPE_CHECKING:
    from tui.app import RestoreApp

_PANEL_INTERVAL = 0.25  # seconds between paints of the panels; the table follows every frame
_WELCOME = (
    "\n\nmp3restore\n\n"
    "rebuilds plausible approximations of what MP3 threw away,\nand lets your ear decide\n\n\n"
    "[ o ]  open a folder of music\n\n[ n ]  make a demo song and try it\n\n[ ? ]  help"
)


class LibraryScreen(Screen[None]):
    """Table, checklist, machine, run and log; home of all actions on songs."""

    app: RestoreApp
    AUTO_FOCUS = "#table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "app.start", "Start"),
        Binding("p", "app.pause", "Pause"),
        Binding("t", "app.stop", "Stop"),
        Binding("x", "app.skip_song", "Skip song", show=False),
        Binding("r", "app.retry", "Retry failed", show=False),
        Binding("f", "app.force", "Recompute", show=False),
        Binding("slash", "search", "Find"),
        Binding("g", "toggle_log", "Log", show=False),
        Binding("escape", "clear", "Clear the search", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

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
        self.show_library(self.app.library)

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
        library = self.app.library
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
        library = self.app.library
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
        self.query_one(StageChecklist).show(self.app.library, event.view)

    @on(SongTable.Opened)
    def _open_song(self, event: SongTable.Opened) -> None:
        if self.app.library is not None:
            self.app.push_screen(DetailPage(self.app.library, event.view))

    @on(StageChecklist.Toggled)
    def _toggle(self, event: StageChecklist.Toggled) -> None:
        library, table = self.app.library, self.query_one(SongTable)
        if library is None or table.current is None:
            return
        if any(task.too_slow and task.id == event.variant for task in library.session.tasks):
            self.app.be_patient(event.variant)
            return
        views = library.songs if event.for_all else table.marked or [table.current]
        on = library.toggle(views, event.variant)
        whom = "all songs" if event.for_all else f"{len(views)} marked songs" if table.marked else "this song"
        self.notify(f"{event.variant} switched {'on' if on else 'off'} for {whom}", timeout=2, markup=False)
        table.refresh()
        self.query_one(StageChecklist).show(library, table.current)

    @on(StageChecklist.Skipped)
    def _skip_variant(self, event: StageChecklist.Skipped) -> None:
        library, table = self.app.library, self.query_one(SongTable)
        if library is not None and table.current is not None and library.session.running:
            library.session.control.skip_variant(table.current.song.id, event.variant)
            self.notify(f"{event.variant} is left out for this song at the next chunk", timeout=3, markup=False)

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
            self.app.open_path(text.removeprefix("file://"))
