"""The façade that the dashboard and the headless run share: scan, plan, start, pause, skip, stop."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from engine.analysis.headers import look_at
from engine.analysis.song import SongAnalysis
from engine.analysis.tried import SelfTest
from engine.analysis.tried import last as last_test
from engine.analysis.verdict import verdict_of
from engine.audio.headers import HeaderFacts
from engine.errors import RestoreError, UsageError
from engine.library import damage_report
from engine.library.recognition import clear_set_aside
from engine.library.records import Outcome, Song, SongRecord
from engine.library.scan import default_output, find_songs
from engine.library.store import Store
from engine.library.whereabouts import Whereabouts
from engine.machine.garbage import seldom_searched
from engine.machine.priority import work_in_background
from engine.models.runtime import device as devices
from engine.planning import plan, recipes
from engine.planning.task import State, Task
from engine.run.control import Control
from engine.run.estimate import Estimate
from engine.run.events import BatchDone, Event, Paused, Resumed
from engine.run.room import Needed, Room, length_of
from engine.run.runner import Runner
from engine.run.song_log import SongLog
from engine.run.song_run import left_as_a_whole, unexpected
from engine.text import printable

_MOST_JOBS = 4


@dataclass(frozen=True)
class SongPlan:
    """How every task stands for a song, and what was found in it where it has been analysed.

    ``outcomes`` tell which tasks failed or were skipped the last time, ``outcome`` whether the song as a whole did.
    ``left`` is the sentence about why the song is left alone, which is the outcome of its tasks then.
    ``at`` is the song with the place at which its results lie, where its file was moved since they were made.
    """

    song: Song
    states: dict[str, State]
    analysis: SongAnalysis | None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    outcome: Outcome | None = None
    at: Song | None = None
    left: str = ""


class Session:
    """One run: the songs below ``paths``, a recipe and an output folder.

    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``allow_slow`` are variants that may take however long.

    Raises:
        UsageError: something given does not exist or does not fit; the message says what to do.
    """

    def __init__(
        self, paths: Sequence[Path], out: Path | None = None, recipe: str = recipes.DEFAULT,
        variants: Iterable[str] = (), device: str = "auto", allow_slow: Iterable[str] = (),
    ) -> None:  # fmt: skip
        variants = tuple(variants)
        self._wanted_device = device
        self._given = (tuple(paths), out, recipe, variants)
        self._allow_slow = frozenset(allow_slow)
        self.recipe = recipes.load(recipe)
        self.tasks: list[Task] = plan.build(self.recipe, variants, lambda: self.device, self._allow_slow)
        self.store = Store(out if out is not None else default_output(paths))
        found = find_songs(paths, self.store.out)
        if not found:
            raise UsageError(f"There are no songs in {', '.join(printable(str(p)) for p in paths)}.")
        with seldom_searched():
            self.songs: list[Song] = [self.store.claim(item) for item in found]
        self._whereabouts = Whereabouts(self.store)
        #: (song, variant) pairs that are not wanted; variants that are asked for by name are.
        self.off: set[tuple[str, str]] = {
            (song.id, variant) for song in self.songs if not variants for variant in self.store.switched_off(song.key)
        }  # fmt: skip
        self.control = Control(self.off)
        self.estimate = Estimate(self.control.idle)
        self.outcome: BatchDone | None = None  # of the latest run, once it has ended
        self._subscribers: list[Callable[[Event], None]] = []
        self._deaf = ""  # what a subscriber raised first
        self._runner: Runner | None = None
        self._thread: threading.Thread | None = None

    @cached_property
    def device(self) -> str:
        """Where networks run: ``cpu``, ``cuda`` or ``mps``. Finding out can take seconds. Raises UsageError."""
        return devices.choose(self._wanted_device)

    def arguments(self) -> list[str]:
        """What to give ``mp3restore`` to have the same songs worked on in the same way."""
        paths, out, recipe, variants = self._given
        options = {
            "--out": str(out or ""), "--recipe": "" if recipe == recipes.DEFAULT else recipe,
            "--variants": ",".join(variants), "--device": "" if self._wanted_device == "auto" else self._wanted_device,
        }  # fmt: skip
        named = [text for option, value in options.items() if value for text in (option, value)]
        return [*named, *(f".{os.sep}{path}" if str(path).startswith("-") else str(path) for path in paths)]

    def left_out(self) -> list[str]:
        """Sentences about what the recipe names and this machine cannot do: whole variants, or steps of some stems."""
        variants: dict[str, list[str]] = {}
        for task in self.tasks:
            if task.is_final and task.impossible:
                variants.setdefault(task.impossible, []).append(task.id)
        whole = [f"{', '.join(names)} left out: {why}" for why, names in variants.items()]
        steps = [f"{task.id}: {text}" for task in self.tasks for text in task.left_out if not task.impossible]
        return [*whole, *steps]

    def subscribe(self, receive: Callable[[Event], None]) -> None:
        """Have ``receive`` called with every event, from the engine's threads."""
        self._subscribers.append(receive)

    def unsubscribe(self, receive: Callable[[Event], None]) -> None:
        """Have ``receive`` left alone from now on."""
        with suppress(ValueError):
            self._subscribers.remove(receive)

    def _emit(self, event: Event) -> None:
        """Tell all; one that raises costs neither the run nor the others their events."""
        for receive in list(self._subscribers):
            try:
                receive(event)
            except Exception as error:
                self._deaf = self._deaf or f"{type(error).__name__}: {error}"

    def states(self, *, force: bool = False) -> list[SongPlan]:
        """What is done, stale and to do, read from the markers; nothing is computed or changed."""
        with seldom_searched():
            plans = [self.song_plan(song, force=force) for song in self.songs]
        self.store.index.keep()
        return plans

    def song_plan(self, song: Song, *, force: bool = False) -> SongPlan:
        """The same for one song. Files that moved or were retagged may be read for it."""
        at, record = self._find(song)
        source_hash = record.identity if record is not None else None
        states = {task.id: self.store.state(at, task, source_hash) for task in self.tasks}
        if force:
            states = {k: State.STALE if s in (State.DONE, State.PRUNED) else s for k, s in states.items()}
        undone = [task for task in self.tasks if states[task.id] in (State.TODO, State.STALE)]
        found = ((task.id, self.store.outcome(at, task, source_hash)) for task in undone)
        outcomes = {task: outcome for task, outcome in found if outcome is not None}
        analysis = record.analysis if record is not None else None
        why = {task.id: self.why_left(analysis, task) for task in self.tasks} if analysis is not None and undone else {}
        outcomes |= {task.id: Outcome("skipped", why[task.id], "") for task in undone if why.get(task.id)}
        left = left_as_a_whole(self.tasks, undone, lambda task: why.get(task.id, ""))
        return SongPlan(song, states, analysis, outcomes, self.store.song_outcome(song), at, left)

    def _find(self, song: Song, *, closely: bool = True) -> tuple[Song, SongRecord | None]:
        """Where the song's results lie and what is known of it; what is switched off there is off here."""
        at, record = self._whereabouts.find(song, closely=closely)
        if at.key != song.key and not self._given[3]:
            self.off |= {(song.id, variant) for variant in self.store.switched_off(at.key)}
        return at, record

    @cached_property
    def room(self) -> Room:
        """What the songs will take on the disk, as far as that was looked into."""
        return Room(self.store, self.tasks)

    def needs(self, *, jobs: int = 0, force: bool = False) -> Needed:
        """What a run will take on the disk, with ``jobs`` and ``force`` as in :meth:`start`.

        A song takes a fraction of a millisecond: whether results are what they should be by now is not looked into,
        as those that are made again take the room that they have.
        """
        self.room.clear()
        whole = {song.id for song in self.songs if self.room.is_complete(song)}
        if len(whole) == len(self.songs):
            return self.room.needed(self.jobs(jobs))
        unknown: dict[Path, tuple[Song, list[str]]] = {}
        for song in self.songs:
            if song.id in whole and self.room.has_learnt:
                continue
            at, record = self._find(song, closely=False)
            analysis = record.analysis if record is not None else None
            missing = self.missing(at, analysis, force=force)
            if missing and analysis is None:
                unknown[song.path] = song, missing
            else:
                self.plan_room(song, None, analysis, missing)
        self.store.index.keep()
        facts: dict[Path, HeaderFacts] = {}
        if unknown:
            look_at(list(unknown), facts.update)
        for path, (song, missing) in unknown.items():
            self.plan_room(song, facts.get(path), None, missing)
        return self.room.needed(self.jobs(jobs))

    def missing(
        self, at: Song, analysis: SongAnalysis | None, *, done: Container[str] = (), force: bool = False
    ) -> list[str]:
        """The variants that a song has no files of and is worth to get, switched off or not (:meth:`Room.look`)."""
        found = self.room.look(at, analysis, done=done, force=force)
        if analysis is None or not found:
            return found
        return [task.id for task in self.tasks if task.id in found and not self.why_left(analysis, task)]

    def plan_room(
        self, song: Song, facts: HeaderFacts | None, analysis: SongAnalysis | None, missing: Iterable[str]
    ) -> None:
        """Have :attr:`room` know what a song is to get, as far as it is known itself."""
        wanted = [variant for variant in missing if (song.id, variant) not in self.off]
        sure = analysis is not None or not self._may_leave
        self.room.plan(song.id, length_of(song, facts, analysis), wanted, sure=sure)

    def where(self, song: Song) -> Song:
        """The song with the place at which its results lie now. Files may be read for it."""
        return self._whereabouts.find(song)[0]

    def why_left(self, analysis: SongAnalysis, task: Task) -> str:
        """Empty, or one sentence about why ``task`` is not worth its while for a song.

        The recipe ``auto`` leaves songs alone that are good as they are, but for their plain decode, and variants out
        that harmed such songs in the listener's own self-test. Whoever names a recipe or a variant gets it.
        """
        if not self._may_leave or not task.inputs or task.id in self._allow_slow:
            return ""
        verdict = verdict_of(analysis, self.tried)
        if verdict.leave:
            return f"Left alone. {verdict.reason}"
        found = self.tried.like(analysis) if self.tried is not None else None
        return f"Left out. {found.sentence}" if found is not None and task.id in found.harmed else ""

    @property
    def _may_leave(self) -> bool:
        """Whether there may be songs that are left alone."""
        _, _, recipe, variants = self._given
        return recipe == recipes.AUTO and not variants

    @cached_property
    def tried(self) -> SelfTest | None:
        """What the listener's own self-test found, where there is one."""
        return last_test()

    def keep_off(self, songs: Iterable[Song]) -> None:
        """Remember which variants of ``songs`` are switched off; a disk that does not take it is no reason to stop."""
        for song in songs:
            with suppress(OSError):
                self.store.switch_off(self.where(song).key, (v for s, v in list(self.off) if s == song.id))

    def look_at(
        self, receive: Callable[[dict[str, HeaderFacts]], None], songs: Sequence[Song] | None = None,
    ) -> threading.Event:  # fmt: skip
        """Read the headers of ``songs`` (None: all) in the background: thousands a second.

        ``receive`` is called on a thread of its own with the facts by the songs' ids, in batches, several a second.
        Set the event that is given to end it early.
        """
        names = {song.path: song.id for song in (self.songs if songs is None else songs)}
        cancelled = threading.Event()

        def work() -> None:
            work_in_background()
            look_at(
                list(names), lambda found: receive({names[path]: facts for path, facts in found.items()}),
                cancelled.is_set,
            )  # fmt: skip

        threading.Thread(target=work, name="headers", daemon=True).start()
        return cancelled

    @property
    def thread(self) -> threading.Thread:
        """The thread of the latest run. Raises RuntimeError where there was none."""
        if self._thread is None:
            raise RuntimeError("nothing was started")
        return self._thread

    @property
    def running(self) -> bool:
        """Whether work is under way (or paused)."""
        return self._thread is not None and self._thread.is_alive() and self.outcome is None

    def start(
        self, *, jobs: int = 0, force: bool = False, songs: Sequence[Song] | None = None,
    ) -> threading.Thread:  # fmt: skip
        """Begin work in the background on ``songs`` (None: all); the output folder is held until it ends.

        However it ends, and whatever goes wrong, :class:`BatchDone` is the last event and comes once.
        ``jobs`` songs are worked on at a time (0: as the machine has cores, at most four).

        Raises:
            UsageError: another process works in the output folder, or it cannot be written to.
        """
        chosen = self.songs if songs is None else list(songs)
        control = Control(self.off)
        estimate = Estimate(control.idle)
        runner = Runner(
            store=self.store, songs=chosen, tasks=self.tasks, emit=self._emit, control=control,
            jobs=max(1, min(self.jobs(jobs), len(chosen))), force=force, estimate=estimate, left=self.why_left,
        )  # fmt: skip
        lock = self.store.lock()  # from here on nothing else runs: what is under way keeps its own control
        self.control, self.estimate, self._runner = control, estimate, runner
        self.outcome, self._deaf = None, ""
        self._thread = threading.Thread(
            target=self._work, args=(runner, lock, songs is None), name="engine", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            self._thread = None
            lock.release()
            raise
        return self._thread

    def jobs(self, wanted: int = 0) -> int:
        """How many songs are worked on at a time: as many as ``wanted``, or (0) as fit the machine."""
        return wanted or default_jobs(any(task.stage.neural and not task.impossible for task in self.tasks))

    def _work(self, runner: Runner, lock: FileLock, of_all: bool) -> None:
        """What the engine's thread does, with all songs or some: whatever happens, it ends in one BatchDone."""
        errors = []
        try:
            self._find_device(runner)
            runner.run()
            if of_all and not self.control.stopped:
                clear_set_aside(self.store, self.songs)
            with suppress(OSError):  # a report is no reason to call a run broken off
                damage_report.bring_up_to_date(self.store, self.tried)
        except BaseException as error:
            errors.append(self._explain(error))
        self.store.index.keep()
        try:
            lock.release()
        except BaseException as error:
            errors.append(self._explain(error))
        if self._deaf:
            errors.append(f"What shows the run failed ({self._deaf}); the work itself went on.")
        self.outcome = runner.outcome(" ".join(errors))
        self._emit(self.outcome)

    def _find_device(self, runner: Runner) -> None:
        if any(task.stage.neural and not task.impossible for task in self.tasks):
            runner.device = self.device

    def _explain(self, error: BaseException) -> str:
        """One sentence; what nobody expected goes into the log of the run."""
        if isinstance(error, RestoreError):
            return str(error)
        log = SongLog(self.store.places.run_log)
        log.line("".join(traceback.format_exception(error)))
        log.close()
        return unexpected(error, log.path)

    def add(self, songs: Iterable[Song]) -> bool:
        """Have songs worked on (again) by the run that is under way. False where it takes no more."""
        return self.running and self._runner is not None and self._runner.add(songs)

    def pause(self) -> None:
        """Hold at the next chunk boundary."""
        self.control.pause()
        self._emit(Paused())

    def resume(self) -> None:
        """Go on."""
        self.control.resume()
        self._emit(Resumed())

    def stop(self) -> None:
        """End at the next chunk boundary."""
        self.control.stop()


def default_jobs(neural: bool) -> int:
    """Songs to work on at a time, four at most: one per core, or per two where networks take more than one each."""
    return max(1, min(_MOST_JOBS, (os.cpu_count() or 2) // (2 if neural else 1)))
