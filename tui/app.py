"""The app: screens, themes, keys, and the bridge from the engine's events to what is painted."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from rich.theme import ThemeStackError
from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import OptionList
from textual.worker import Worker, get_current_worker

from engine.commands import prune
from engine.commands.export import export
from engine.errors import RestoreError
from engine.library.pruning import delete, to_trash
from engine.library.records import Song
from engine.library.scan import default_output
from engine.machine.garbage import seldom_searched
from engine.machine.monitor import Machine, Poller, Sample
from engine.planning import recipes
from engine.player.choosing import Chooser
from engine.player.listening_sets import of_song
from engine.player.tracks import ListeningSet
from engine.run.session import Session
from engine.text import counted, fit, printable, size
from tui import theming
from tui.commands import OwnThemesFirst, Palette, help_groups, palette
from tui.crash import write_crash
from tui.model import DashboardModel, Reading, SongView
from tui.screens import setup
from tui.screens.choose import ChooseScreen
from tui.screens.dialogs import Choice, TextDialog
from tui.screens.library import LibraryScreen
from tui.screens.listen import ListenScreen
from tui.screens.open_dialog import OpenDialog
from tui.screens.pages import DoctorPage, HelpPage, ModelsPage
from tui.screens.recipe import RecipeScreen
from tui.screens.report import ReportPage
from tui.screens.verify import VerifyPage
from tui.settings import Settings, load_settings
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist

_FRAMES_PER_SECOND = 15
_LOAD_AT_ONCE = 200
AS_THEY_ARE = "as they are"
EXPORTS = {  # as what favourites can be exported
    AS_THEY_ARE: "As they are: FLAC of 24 bits, or your MP3",
    "flac16": "FLAC of 16 bits, dithered",
    "alac": "ALAC (.m4a), for Apple's players",
    "opus": "Opus at 160 kbit/s, small",
    "mp3": "MP3 (V0), for whatever plays nothing else",
}


@dataclass(frozen=True)
class Listening:
    """What the program was started to listen to; ``blind`` are the candidates of a test to begin with."""

    sets: list[ListeningSet]
    blind: tuple[str, ...] | None = None
    trials: int | None = None


class RestoreApp(App[None]):
    """The dashboard. A run that is under way when it ends goes on in the engine's thread."""

    TITLE = "mp3restore"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "open", "Open"),
        Binding("e", "recipe", "Recipe"),
        Binding("M", "models", "Models"),
        Binding("D", "doctor", "Doctor"),
        Binding("n", "demo", "Make a demo song", show=False),
        Binding("l", "listen", "Listen"),
        Binding("T", "mixer", "Mix the stems"),
        Binding("C", "choose", "Choose for the rest"),
        Binding("X", "export", "Export favourites"),
        Binding("P", "prune", "Prune"),
        Binding("R", "report", "Report"),
        Binding("V", "verify", "Verify"),
        Binding("question_mark,f1", "help", "Help"),
        Binding("q", "quit_app", "Quit"),
        Binding("ctrl+c,ctrl+q", "quit_app", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False),
    ]

    def __init__(
        self, paths: list[Path], out: Path | None = None, recipe: str = "", jobs: int = 0, *,
        device: str = "auto", listening: Listening | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._device = device
        self._allow_slow: set[str] = set()  # variants that may take however long
        self._listening = listening
        self.settings: Settings = load_settings()
        self.library: DashboardModel | None = None
        self.session: Session | None = None
        self.opening = False
        self._paths, self._out, self.jobs = paths, out, jobs
        self._recipe = recipe or self.settings.recipe
        self._poller: Poller | None = None
        self._looking = threading.Event()  # set: nobody wants the facts any more
        self._problems: list[str] = []
        self._how_far = ""  # the message about it that is shown
        themes, self._problems = theming.load_themes()
        for theme in themes:
            self.register_theme(theme)
        self.theme = self.settings.theme if self.settings.theme in self.available_themes else theming.DEFAULT

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Other screens are reached from the library alone, and songs are heard where there are some."""
        of_songs = ("listen", "mixer", "choose", "export", "prune", "report", "verify")
        if action in ("open", "recipe", "models", "doctor", "demo", *of_songs):
            can_be = self.library is not None or action not in of_songs
            return isinstance(self.screen, LibraryScreen) and can_be
        return True

    # --- colours -----------------------------------------------------------------------------------------

    def validate_theme(self, name: str) -> str:
        """A theme that would end the program is not taken; what is shown stays, and a message says why."""
        theme = self.get_theme(name)
        css = resources.files("tui").joinpath(self.CSS_PATH).read_text("utf-8")
        problem = theming.why_unusable(theme, css) if theme is not None else "it is not there"
        if not problem:
            return name
        message = f"The theme {printable(name)} cannot be used: {printable(problem)}."
        if not self.is_running:
            self._problems.append(message)
            return theming.DEFAULT
        self.notify(message, severity="error", timeout=10, markup=False)
        return self.theme

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What a theme need not say."""
        return theming.VARIABLES

    def get_css_variables(self) -> dict[str, str]:
        """Texts follow the theme as the rules do."""
        variables = super().get_css_variables()
        with suppress(ThemeStackError):
            self.console.pop_theme()
        self.console.push_theme(theming.text_styles(self.current_theme, variables))
        return variables

    def search_themes(self) -> None:
        """The list of themes, our own first."""
        self.push_screen(Palette(providers=[OwnThemesFirst], placeholder="Choose a theme…"))

    def action_command_palette(self) -> None:
        """Everything that can be done, by its name."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(Palette(id="--command-palette"))

    def notify(
        self, message: str, *, title: str = "", severity: SeverityLevel = "information", timeout: float | None = None,
        markup: bool = True,
    ) -> None:  # fmt: skip
        """Say something in a corner; what says the same already is replaced."""
        self.call_later(self._take_back, message)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    def _take_back(self, message: str) -> None:
        for notification in [n for n in self._notifications if n.message == message]:
            self._unnotify(notification)

    # --- life --------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """Home."""
        return LibraryScreen(self)

    def on_mount(self) -> None:
        """Open what was given, watch the machine, and keep time."""
        for problem in self._problems:
            self.notify(problem, severity="warning", timeout=10, markup=False)
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self.set_interval(1 / _FRAMES_PER_SECOND, self._frame)
        self._poller = Poller(Machine(Path.cwd()), self._sampled)
        self._poller.start()
        if hasattr(signal, "SIGHUP"):
            with suppress(ValueError):  # only the main thread may set handlers; tests run elsewhere
                signal.signal(signal.SIGHUP, lambda *_: self._hung_up())
        if self._listening is not None:
            self._listen_only(self._listening)
            return
        if self._paths:
            self.open_paths(self._paths)
        self.run_worker(partial(setup.offer, self, self.settings), thread=True, group="offer")

    def on_unmount(self) -> None:
        """Stop watching; what the engine goes on to tell is for others."""
        if self.library is not None:
            self.library.close()
        self._looking.set()
        if self._poller is not None:
            self._poller.stop()

    def _theme_changed(self, theme: Any) -> None:
        self._recolour_lists()
        self.settings.theme = theme.name
        self.settings.save()

    def _recolour_lists(self) -> None:
        """Lists keep their lines as they were painted, in the colours of the theme before."""
        for screen in self.screen_stack:
            for listing in screen.query(OptionList):
                for place, option in enumerate(listing.options):
                    listing.replace_option_prompt_at_index(place, option.prompt)
        if self.home.is_mounted:
            self.home.recolour_log()

    def _hung_up(self) -> None:
        """The terminal is gone: nothing may be read from it or written to it any more."""
        self.hung_up = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                with suppress(OSError, ValueError):
                    os.dup2(nowhere, stream.fileno())
        if self.session is not None and self.session.running and not self.settings.keep_going_on_hangup:
            self.session.stop()
        self.exit()

    def _sampled(self, sample: Sample) -> None:
        """Called on the monitor's thread."""
        if self.is_running:
            with suppress(RuntimeError):
                self.call_from_thread(self._show_sample, sample)

    def _show_sample(self, sample: Sample) -> None:
        if isinstance(self.screen_stack[0], LibraryScreen) and self.screen_stack[0].is_mounted:
            self.screen_stack[0].show_sample(sample)

    @property
    def home(self) -> LibraryScreen:
        """The library screen."""
        screen = self.screen_stack[0]
        assert isinstance(screen, LibraryScreen)
        return screen

    def _frame(self) -> None:
        """Paint what the engine told since the last frame, all at once."""
        if self.library is None or not self.is_running or not self.home.is_mounted:
            return
        changed = self.library.drain()
        if changed or self.library.new_lines or self.home.waiting:
            self.home.show_changes(changed)

    # --- opening -----------------------------------------------------------------------------------------

    def open_path(self, text: str) -> None:
        """Open a folder or a song."""
        self.open_paths([Path(text).expanduser()])

    def _is_refused(self) -> bool:
        """Whether a run is under way, in which what is asked for cannot be done; it is told."""
        if self.session is None or not self.session.running:
            return False
        self.notify("A run is in progress: stop it first (t).", severity="warning")
        return True

    def open_paths(self, paths: list[Path]) -> None:
        """Open what is below ``paths``; refused while a run is under way."""
        if self._is_refused():
            return
        self._paths = paths
        self._begin_opening()

    def _begin_opening(self) -> None:
        self.opening = True
        self._open(self._paths)

    def reopen(self) -> None:
        """Open again what is open."""
        self.open_paths(self._paths)

    def allow_slow(self, variant: str) -> None:
        """Have a variant made that was left out for the time it takes."""
        if self._is_refused():
            return
        self._allow_slow.add(variant)
        self.notify(f"{variant} is made from now on, however long it takes", timeout=4, markup=False)
        self._begin_opening()

    @work(thread=True, exclusive=True, group="open")
    def _open(self, paths: list[Path]) -> None:
        worker = get_current_worker()
        try:
            with seldom_searched():
                self._open_and_read(paths, worker)
        except RestoreError as error:
            self.call_from_thread(self._not_opened, worker, str(error))
        except Exception as error:
            report = write_crash(error)
            more = f"; details are in {report}" if report is not None else ""
            text = f"Something unexpected went wrong ({type(error).__name__}: {error}){more}."
            self.call_from_thread(self._not_opened, worker, text)

    def _open_and_read(self, paths: list[Path], worker: Worker[Any]) -> None:
        session = Session(paths, self._out, self._recipe, device=self._device, allow_slow=self._allow_slow)
        library = DashboardModel(session)
        self.call_from_thread(self._opened, worker, session, library)
        if self.library is library:
            self._looking.set()  # at the songs of the one before
        unknown: list[Song] = []
        for start in range(0, len(session.songs), _LOAD_AT_ONCE):
            if self.library is not library:
                return
            readings = [library.read(song) for song in session.songs[start : start + _LOAD_AT_ONCE]]
            unknown += [reading.plan.song for reading in readings if reading.plan.analysis is None]
            self.call_from_thread(self._loaded, library, readings)
        session.store.index.keep()
        if self.library is library and unknown:
            self._looking = session.look_at(library.learn, unknown)
        self.call_from_thread(self._all_loaded, library)

    def _not_opened(self, worker: Worker[Any], reason: str) -> None:
        if not worker.is_cancelled:
            self.opening = False
            self.notify(printable(reason), severity="error", timeout=10, markup=False)

    def _opened(self, worker: Worker[Any], session: Session, library: DashboardModel) -> None:
        """Take the new library, unless a newer one is being opened or work has begun meanwhile."""
        if worker.is_cancelled:
            library.close()
            return
        self.opening = False
        if self._is_refused():
            library.close()
            return
        if self.library is not None:
            self.library.close()
            gc.unfreeze()  # what is replaced may go
        self.session, self.library = session, library
        for path in self._paths:
            self.settings.opened(str(Path(path).absolute()))
        self.settings.recipe = self._recipe
        self.settings.save()
        if self.home.is_mounted:  # else it shows it when it is
            self.home.show_library(library)

    def _all_loaded(self, library: DashboardModel) -> None:
        if self.library is library:
            gc.collect()
            gc.freeze()  # its thousands of songs stay as long as it does: looking through them again stutters

    def _loaded(self, library: DashboardModel, readings: list[Reading]) -> None:
        if self.library is not library:
            return
        for reading in readings:
            if not library.session.running or reading.plan.song.id not in library.current:
                library.load(reading)
        table = self.home.query_one(SongTable)
        table.update_songs({reading.plan.song.id for reading in readings})
        if table.current is not None:
            self.home.query_one(StageChecklist).show(library, table.current)
        self.home.show_state()

    def action_open(self) -> None:
        """Choose what to open."""

        def chosen(paths: list[str] | None) -> None:
            if paths:
                self.open_paths([Path(path) for path in paths])

        self.push_screen(OpenDialog(self.settings.recent), chosen)

    def action_demo(self) -> None:
        """Make a demo song in the home folder's music and open it."""
        self._make_demo()

    @work(thread=True, exclusive=True, group="demo")
    def _make_demo(self) -> None:
        from engine.commands.demo import write_demo

        folder = Path.home() / "mp3restore demo"
        try:
            write_demo(folder)
        except OSError as error:
            text = f"The demo song could not be written to {folder}: {error.strerror}."
            self.call_from_thread(lambda: self.notify(text, severity="error", markup=False))
            return
        self.call_from_thread(self.open_path, str(folder))

    # --- listening ---------------------------------------------------------------------------------------

    def _listen_only(self, listening: Listening) -> None:
        """The program was started to listen: leaving the screen leaves the program."""
        songs = [lambda listening_set=listening_set: listening_set for listening_set in listening.sets]
        screen = ListenScreen(songs, 0, self.settings, blind=listening.blind, trials=listening.trials)
        self.push_screen(screen, lambda _: self.exit())

    def action_listen(self) -> None:
        """Hear the variants of the selected song."""
        self._listen()

    def action_mixer(self) -> None:
        """Mix the stems of the selected song, where there are some."""
        current = self.home.query_one(SongTable).current
        if self.session is not None and current is not None:
            why = of_song(self.session.store, current.song, self.session.tasks).no_stems
            if why:
                self.notify(f"{current.name}: {why}", timeout=8, markup=False)
                return
        self._listen(mixer=True)

    def _listen(self, *, mixer: bool = False) -> None:
        table = self.home.query_one(SongTable)
        session = self.session
        if session is None or table.current is None:
            self.notify("Open a folder first (o).")
            return
        store, tasks = session.store, session.tasks
        rows = list(table.rows)
        songs = [lambda song=view.song: of_song(store, session.where(song), tasks) for view in rows]
        screen = ListenScreen(
            songs, rows.index(table.current), self.settings, working=lambda: session.running, mixer=mixer,
            kept=lambda place: self._mix_kept(rows[place]),
        )  # fmt: skip
        self.push_screen(screen, lambda _: self._heard())

    def _mix_kept(self, view: SongView) -> str:
        """A mix of a song was kept: what was made with another one is to be made again."""
        if self.library is None:
            return ""
        told = self.library.remix(view)
        self.home.show_changes({view.song.id})
        return told

    def _heard(self) -> None:
        """Favourites may have changed."""
        if self.library is not None:
            self.library.look_at_favourites()
            self.home.query_one(SongTable).refresh()

    def action_choose(self) -> None:
        """A few comparisons, and what they say of all other songs."""
        session = self.session
        if session is None or self._is_refused():
            return
        store, tasks = session.store, session.tasks
        songs = [session.where(song) for song in session.songs]
        screen = ChooseScreen(
            lambda checkpoint: Chooser(store, songs, checkpoint),
            lambda question: of_song(store, question.song, tasks), self.settings,
        )  # fmt: skip
        self.push_screen(screen, lambda _: self._heard())

    def action_export(self) -> None:
        """Ask where to, and copy the favourites there."""
        if self.session is None or self.library is None:
            self.notify("Open a folder first (o).")
            return
        count = sum(bool(view.favourite) for view in self.library.songs)
        if not count:
            self.notify("No song has a favourite yet: listen (l) and press f.")
            return
        suggestion = str(self.session.store.out.parent / "Favourites")
        favourites = counted(count, "favourite")

        def answered(kind: str | None) -> None:
            def named(path: str | None) -> None:
                if path and kind:
                    self._export(path, kind, count)

            if kind is not None:
                self.push_screen(TextDialog(f"Export {favourites} into which folder?", suggestion), named)

        question = f"Export {favourites}, as what? Where they are encoded, they get ReplayGain tags."
        self.push_screen(Choice(question, EXPORTS), answered)

    @work(thread=True, exclusive=True, group="export")
    def _export(self, path: str, kind: str, count: int) -> None:
        session, worker, done = self.session, get_current_worker(), 0
        if session is None:
            return
        kind = "" if kind == AS_THEY_ARE else kind

        def tell(name: str) -> None:
            nonlocal done
            done += 1
            if worker.is_cancelled:
                raise RestoreError("The export was left; what is there stays.")
            if kind:  # each takes its time
                self.call_from_thread(self._tell_how_far, f"{done} of {count} exported: {fit(name, 40, keep_end=True)}")

        try:
            songs = [session.where(song) for song in session.songs]
            result = export(session.store, songs, Path(path).expanduser(), kind=kind, gains=bool(kind), progress=tell)
        except RestoreError as error:
            problem = str(error)
            if not worker.is_cancelled:
                self.call_from_thread(lambda: self.notify(problem, severity="error", markup=False))
            return
        self.call_from_thread(self._tell_how_far, "")
        text = result.in_words(path)
        self.call_from_thread(lambda: self.notify(text, markup=False, timeout=6))
        for line in result.problems[:5]:
            self.call_from_thread(lambda line=line: self.notify(line, severity="error", markup=False, timeout=10))

    def _tell_how_far(self, text: str) -> None:
        """One message that moves on; empty: it is over."""
        self._take_back(self._how_far)
        self._how_far = text
        if text:
            self.notify(text, markup=False, timeout=60)

    def action_prune(self) -> None:
        """Show what can go, and ask."""
        if self.session is not None and not self._is_refused():
            self._preview_pruning(self.session)

    @work(thread=True, exclusive=True, group="prune")
    def _preview_pruning(self, session: Session) -> None:
        songs = [session.where(song) for song in session.songs]
        proposed = any(v.is_proposed for v in (self.library.songs if self.library is not None else []))
        rules = {"": prune.Rule(), "+": prune.Rule(proposed=True)} if proposed else {"": prune.Rule()}
        shown = {key: prune.preview(session.store, songs, rule) for key, rule in rules.items()}
        self.call_from_thread(self._ask_to_prune, session, songs, rules, shown)

    def _ask_to_prune(
        self, session: Session, songs: list[Song], rules: dict[str, prune.Rule], shown: dict[str, prune.Preview]
    ) -> None:
        question = "\n".join(shown[""].in_words())
        if not any(found.doomed for found in shown.values()):
            self.notify(question, timeout=8, markup=False)
            return
        answers = {}
        for key, found in shown.items():
            if found.doomed:
                whom = f", with those of proposed favourites (☆): {size(found.sizes.total())}" if key else ""
                answers[f"trash{key}"] = f"Move them to the trash{whom}"
                answers[f"delete{key}"] = f"Delete them for good{whom}"
        answers["no"] = "Leave all as it is"

        def answered(answer: str | None) -> None:
            if answer not in (None, "no"):
                self._give_up(session, songs, rules["+" if answer.endswith("+") else ""], answer.startswith("delete"))

        self.push_screen(Choice(question, answers), answered)

    @work(thread=True, exclusive=True, group="prune")
    def _give_up(self, session: Session, songs: list[Song], rule: prune.Rule, for_good: bool) -> None:
        try:
            result = prune.carry_out(session.store, songs, rule, delete if for_good else to_trash)
        except RestoreError as error:
            problem = str(error)
            self.call_from_thread(lambda: self.notify(problem, severity="error", markup=False))
            return
        text = result.in_words(trashed=not for_good)
        self.call_from_thread(lambda: self.notify(text, markup=False, timeout=10))
        for line in result.problems[:5]:
            self.call_from_thread(lambda line=line: self.notify(line, severity="error", markup=False, timeout=10))
        self._read_again(session)

    def _read_again(self, session: Session) -> None:
        """Show how all songs stand now. Not for the thread of the screens."""
        if (library := self.library) is not None and library.session is session:
            for start in range(0, len(session.songs), _LOAD_AT_ONCE):
                readings = [library.read(song) for song in session.songs[start : start + _LOAD_AT_ONCE]]
                self.call_from_thread(self._loaded, library, readings)

    def action_report(self) -> None:
        """What each variant did, to all songs and to the selected one."""
        current = self.home.query_one(SongTable).current
        if self.session is not None:
            self.push_screen(ReportPage(self.session, current.song if current is not None else None))

    def action_verify(self) -> None:
        """Read all results, whether they are what was written."""
        if (session := self.session) is not None and not self._is_refused():
            self.push_screen(VerifyPage(session, lambda: self._look_again(session)))

    @work(thread=True, exclusive=True, group="prune")
    def _look_again(self, session: Session) -> None:
        self._read_again(session)

    # --- other screens -----------------------------------------------------------------------------------

    def action_recipe(self) -> None:
        """Look at the recipe and change it."""
        if self._is_refused():
            return
        try:
            recipe = self.session.recipe if self.session is not None else recipes.load(self._recipe)
        except RestoreError as error:
            self.notify(str(error), severity="error", markup=False)
            self._recipe = recipes.DEFAULT
            recipe = recipes.load(self._recipe)
        self.push_screen(RecipeScreen(recipe), self._use_recipe)

    def _use_recipe(self, name: str | None) -> None:
        if name is None:
            return
        self._recipe = name
        self.settings.recipe = name
        self.settings.save()
        self.notify(f"Using the recipe {name}", timeout=3, markup=False)
        if self._paths:
            self.open_paths(self._paths)

    def action_models(self) -> None:
        """The models."""
        self.push_screen(ModelsPage())

    def action_setup(self) -> None:
        """PyTorch in the build that fits this machine."""
        self.push_screen(setup.SetupScreen())

    def action_doctor(self) -> None:
        """What this machine has."""
        self.push_screen(DoctorPage(self._out or (default_output(self._paths) if self._paths else Path.cwd())))

    def action_help(self) -> None:
        """The keys, beginning with those of the screen that is shown."""
        if not isinstance(self.screen, HelpPage):
            self.push_screen(HelpPage(help_groups(self.screen, self.BINDINGS)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """All actions in the command palette, from their bindings."""
        yield from palette(self, self.home)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        for name in recipes.available():
            yield SystemCommand(f"Recipe: {name}", "Use this recipe", partial(self._use_recipe, name))

    def action_quit_app(self) -> None:
        """Leave; while work is under way, ask what becomes of it."""
        if self.session is None or not self.session.running:
            self.exit()
            return

        def answered(answer: str | None) -> None:
            if answer == "headless":
                self.exit()
            elif answer == "stop" and self.session is not None:
                self.leaving = True
                self.session.stop()
                self.exit()

        question = "A run is in progress. What now?"
        answers = {
            "headless": "Keep going here without the dashboard",
            "stop": "Stop after this chunk",
            "stay": "Stay here",
        }
        self.push_screen(Choice(question, answers), answered)

    def _handle_exception(self, error: Exception) -> None:
        """Keep the report of a crash in a file before the terminal is given back."""
        self.crash_report = write_crash(error)
        super()._handle_exception(error)

    crash_report: Path | None = None
    hung_up = False
    leaving = False
