"""The library: the whole run on one screen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input, RichLog

from engine.errors import RestoreError
from engine.machine.monitor import Sample
from engine.run.control import Control
from engine.text import counted, duration, fit, short_path
from tui.dropped import dropped_paths, looks_dropped
from tui.host import Host
from tui.model import DashboardModel, LogLine, SongView, explain_filter
from tui.screens.dialogs import Choice
from tui.screens.pages import DetailPage
from tui.widgets.key_line import KeyLine
from tui.widgets.machine_panel import MachinePanel
from tui.widgets.panel import Panel
from tui.widgets.run_panel import RunPanel
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist
from tui.widgets.welcome import Welcome

_PANEL_INTERVAL = 0.25  # seconds between paints of the panels; the table follows every frame
_NO_RUN = "Nothing is being made. To leave a variant out beforehand, switch it off: Tab to the stages, then space."
_ROOM_FOR_WORDS = 100  # columns from which the header says what its parts are
_LEAST_PATH = 12  # cells below which nothing of a path is worth showing
_ROOM_FOR_LOG = (120, 30)  # columns and lines from which the log opens by itself when it has something to say


class SearchField(Input):
    """Words to find songs by."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "To the songs")]


class LibraryScreen(Screen[None]):
    """Table, checklist, machine, run and log; home of all actions on songs."""

    AUTO_FOCUS = "#table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start"),
        Binding("s", "resume", show=False),
        Binding("p", "pause", "Pause"),
        Binding("p", "resume", "Resume"),
        Binding("t", "stop", "Stop"),
        Binding("x", "skip_song", "Skip song"),
        Binding("r", "retry", "Retry failed"),
        Binding("f", "force", "Make anew", show=False),
        Binding("slash", "search", "Find"),
        Binding("g", "toggle_log", "Log"),
        Binding("escape", "clear", "Show all songs"),
        *(Binding(str(n), f"recent({n})", "", show=False) for n in range(1, 6)),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._stale: set[str] = set()
        self._shown = 0.0
        self._offered: object = None
        self._log_chosen = False

    def compose(self) -> ComposeResult:
        """Status, table and panels, log, keys."""
        yield Panel(id="status")
        yield Welcome(id="welcome")
        with Horizontal(id="main"):
            with Vertical(id="songs"):
                yield SearchField(
                    placeholder="Find: words of the name, is:failed, is:open …", id="search", compact=True
                )
                yield SongTable(id="table")
            with Vertical(id="side"):
                yield StageChecklist(id="stages", compact=True)
                yield RunPanel(id="run")
                yield MachinePanel(id="machine")
        yield RichLog(id="log", wrap=True, markup=False, highlight=False, max_lines=500)
        yield KeyLine(
            "quit_app", "help", "listen", "open", "start", "resume", "pause", "stop", "clear", "submit", "switch",
            "details", "demo", "mark", "search", "recipe", "skip_song", "export", "next_sort", "models", "doctor",
        )  # fmt: skip

    def on_mount(self) -> None:
        """Start empty."""
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
        self.set_class(False, "-log")
        self._log_chosen = False
        if library is not None:
            table.focus()
        else:
            self.query_one(Welcome).show(self._host.settings.recent)
            self.query_one("#choices").focus()
        self.show_state()

    def show_state(self) -> None:
        """Paint what belongs to the run as a whole."""
        library = self._host.library
        offered = library, *((c.paused, c.stopped) if (c := self._control) is not None else ())
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()
        self.query_one(RunPanel).show(library, self._host.jobs)
        self.query_one("#status", Panel).show_text(self._status(library))

    @property
    def _control(self) -> Control | None:
        """What steers the run that is under way; None where none is."""
        session = self._host.session
        return session.control if session is not None and session.running else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now: the line of keys shows no more than that."""
        control = self._control
        match action:
            case "recent":
                return self._host.library is None
            case "start":
                return self._host.library is not None and control is None
            case "pause":
                return control is not None and not control.paused and not control.stopped
            case "resume":
                return control is not None and control.paused and not control.stopped
            case "stop":
                return control is not None and not control.stopped
            case "skip_song":
                return control is not None
            case "clear":
                return any(field.display for field in self.query(SearchField))
            case "search":
                return self._host.library is not None and not isinstance(self.focused, SearchField)
            case "toggle_log" | "retry" | "force":
                return self._host.library is not None
        return True

    def _status(self, library: DashboardModel | None) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" mp3restore ", "bold reverse")
        if library is None:
            return text
        session = library.session
        counts = library.counts()
        out = short_path(session.store.out)
        recipe = "Recipe: " if self.size.width >= _ROOM_FOR_WORDS else ""
        text.append(f"  {recipe}", "faint").append(f"{session.recipe.title}  ", "bold")
        text.append(f"{counts['done']}/{len(library.songs)} done")
        for name in ("failed", "skipped"):
            if counts[name]:
                text.append(f"  {counts[name]} {name}", "bold")
        if session.running:
            state = "paused" if session.control.paused else "stopping" if session.control.stopped else "running"
            seconds = session.estimate.time_left()
            left = f", {duration(seconds)} left" if 0 <= seconds < math.inf else ""
            text.append(f"  {state} {session.estimate.fraction():.0%}{left}", "bold")
        room = self.size.width - text.cell_len - len("  → ")
        if room >= _LEAST_PATH:
            text.append(f"  → {fit(out, room, keep_end=True).rstrip()}", "faint")
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
        if library.learned:
            library.learned = False
            table.sort_again()
        current = table.current
        if current is not None and current.song.id in self._stale:
            self.query_one(StageChecklist).show(library, current)
        self._stale.clear()
        if library.new_lines and not self._log_chosen:
            columns, lines = _ROOM_FOR_LOG
            self.set_class(self.size.width >= columns and self.size.height >= lines, "-log")
        self._write(library.new_lines)
        for line in library.new_lines:
            if line.level == "error":
                self.notify(line.text, severity="error", timeout=8, markup=False)
        library.new_lines.clear()
        self.show_state()

    def _write(self, lines: Iterable[LogLine]) -> None:
        log = self.query_one(RichLog)
        styles = {"info": "faint", "note": "", "error": "bold"}
        marks = {"info": " ", "note": "◐", "error": "✗"}
        for line in lines:
            log.write(Text(f"{marks[line.level]} {line.text}", styles[line.level]), expand=True)

    def recolour_log(self) -> None:
        """The log keeps its lines as they were painted: paint them anew, in the colours of another theme."""
        library = self._host.library
        if library is not None:
            self.query_one(RichLog).clear()
            self._write(list(library.log)[: max(0, len(library.log) - len(library.new_lines))])

    def show_sample(self, sample: Sample) -> None:
        """Show how the machine is doing."""
        self.query_one(MachinePanel).show(sample)

    @on(SongTable.Highlighted)
    def _other_song(self, event: SongTable.Highlighted) -> None:
        self.query_one(StageChecklist).show(self._host.library, event.view)

    @on(SongTable.Marked)
    def _other_marks(self) -> None:
        self.show_state()

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
            self._host.allow_slow(event.variant)
            return
        views = library.songs if event.for_all else table.marked or [table.current]
        on = library.toggle(views, event.variant)
        whom = "all songs" if event.for_all else f"{len(views)} marked songs" if table.marked else "this song"
        self.notify(f"{event.variant} switched {'on' if on else 'off'} for {whom}", timeout=2, markup=False)
        songs = [view.song for view in views]
        self.run_worker(partial(library.session.keep_off, songs), thread=True, group="off")
        table.refresh()
        self.query_one(StageChecklist).show(library, table.current)
        self.show_state()

    @on(StageChecklist.Skipped)
    def _skip_this(self, event: StageChecklist.Skipped) -> None:
        table = self.query_one(SongTable)
        if table.current is not None:
            self._skip_variant(table.current, event.variant)

    @on(SongTable.SkipWanted)
    def _ask_which(self, event: SongTable.SkipWanted) -> None:
        """Without a cursor on a variant, the listener is asked."""
        library = self._host.library
        if library is None or self._control is None:
            self.notify(_NO_RUN, timeout=4)
            return
        pending = [t.id for t in library.final if event.view.tasks[t.id].state in ("working", "queued")]
        if not pending:
            self.notify(f"Nothing is left to be made of {event.view.name}.", timeout=4, markup=False)
            return

        def answered(variant: str | None) -> None:
            if variant is not None:
                self._skip_variant(event.view, variant)

        question = f"Skip which variant of {event.view.name}?"
        self.app.push_screen(Choice(question, {variant: variant for variant in pending}), answered)

    def _skip_variant(self, view: SongView, variant: str) -> None:
        library = self._host.library
        if library is None or self._control is None:
            self.notify(_NO_RUN, timeout=4)
            return
        self.notify(library.skip_variant(view, variant), timeout=3, markup=False)

    # --- running -----------------------------------------------------------------------------------------

    def _begin(self, views: Iterable[SongView], *, force: bool = False) -> None:
        model, session = self._host.library, self._host.session
        if model is None or session is None:
            self.notify("Open a folder first (o).")
            return
        if session.running:
            self.notify("A run is in progress already.")
            return
        if self._host.opening:
            self.notify("Another folder is just being opened: start it in a moment.", severity="warning")
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
        if len(views) < len(model.songs):
            self.notify(f"Working on {counted(len(views), 'song')} of {len(model.songs)}.", timeout=3)
        self.query_one(SongTable).refresh()
        self.show_state()

    def action_start(self) -> None:
        """Start with the marked songs, or with all; where these have no room on the disk, after asking."""
        table, library = self.query_one(SongTable), self._host.library
        views = table.marked or (library.songs if library is not None else [])
        if library is None or self._control is not None or (needed := library.needs(self._host.jobs)).fits:
            self._begin(views)
            return

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._begin(views)

        answers = {"no": "Leave it for now", "yes": "Start all the same (what finds no room can be tried again)"}
        self.app.push_screen(Choice(needed.in_words(), answers), answered)

    def action_pause(self) -> None:
        """Pause at the next chunk boundary."""
        if self._host.session is not None and self._control is not None:
            self._host.session.pause()
            self.notify("Pausing when the chunk in work is finished.", timeout=3)
            self.show_state()

    def action_resume(self) -> None:
        """Go on after a pause."""
        if self._host.session is not None and self._control is not None:
            self._host.session.resume()
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
        library = self._host.library
        if library is not None and library.session.running and current is not None:
            self.notify(library.skip_song(current), timeout=3, markup=False)
            self.show_changes({current.song.id})

    def action_retry(self) -> None:
        """Start with the songs that failed; during a run, have it try them once more."""
        library = self._host.library
        if library is not None and library.session.running:
            self.notify(library.retry(), timeout=4, markup=False)
            self.query_one(SongTable).refresh()
            return
        self._begin([v for v in library.songs if v.failed] if library is not None else [])

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
        self.query_one("#songs").border_subtitle = explain_filter(event.value)

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
        """Show or hide the log; from then on it stays as it was chosen."""
        self._log_chosen = True
        self.toggle_class("-log")

    def action_recent(self, number: int) -> None:
        """Open a folder that was open before."""
        self.query_one(Welcome).choose_recent(number)

    @on(Welcome.Chosen)
    async def _chosen(self, event: Welcome.Chosen) -> None:
        if event.path:
            self._host.open_paths([Path(event.path)])
        else:
            await self.app.run_action(f"app.{event.action}")

    def on_paste(self, event: object) -> None:
        """A path that is dropped onto the terminal arrives as a paste: open it."""
        text = str(getattr(event, "text", ""))
        if looks_dropped(text):
            self._host.open_paths([Path(path) for path in dropped_paths(text)])
