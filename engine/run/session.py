"""The façade that the dashboard and the headless run share: scan, plan, start, pause, skip, stop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.analysis.song import SongAnalysis
from engine.errors import UsageError
from engine.library.records import Song
from engine.library.scan import default_output, find_songs
from engine.library.store import Store
from engine.models.runtime import device as devices
from engine.planning import plan, recipes
from engine.planning.plan import State, Task
from engine.run.control import Control
from engine.run.estimate import Estimate
from engine.run.events import BatchDone, Event, Paused, Resumed
from engine.run.runner import Runner
from engine.text import printable

_MOST_JOBS = 4


@dataclass(frozen=True)
class SongPlan:
    """How every task stands for a song, and what was found in it where it has been analysed."""

    song: Song
    states: dict[str, State]
    analysis: SongAnalysis | None


class Session:
    """One run: the songs below ``paths``, a recipe and an output folder.

    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``patient`` are variants that may take however long.

    Raises:
        UsageError: something given does not exist or does not fit; the message says what to do.
    """

    def __init__(
        self, paths: Sequence[Path], out: Path | None = None, recipe: str = recipes.DEFAULT,
        variants: Iterable[str] = (), device: str = "auto", patient: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self._wanted_device = device
        self.recipe = recipes.load(recipe)
        self.tasks: list[Task] = plan.build(self.recipe, variants, lambda: self.device, patient)
        self.store = Store(out if out is not None else default_output(paths))
        found = find_songs(paths, self.store.out)
        if not found:
            raise UsageError(f"There are no songs in {', '.join(printable(str(p)) for p in paths)}.")
        self.songs: list[Song] = [self.store.claim(item) for item in found]
        self.off: set[tuple[str, str]] = set()
        self.control = Control(self.off)
        self.estimate = Estimate()
        self.outcome: BatchDone | None = None  # of the latest run, once it has ended
        self._subscribers: list[Callable[[Event], None]] = []
        self._thread: threading.Thread | None = None

    @cached_property
    def device(self) -> str:
        """Where networks run: ``cpu``, ``cuda`` or ``mps``. Finding out can take seconds. Raises UsageError."""
        return devices.choose(self._wanted_device)

    def subscribe(self, receive: Callable[[Event], None]) -> None:
        """Have ``receive`` called with every event, from the engine's threads."""
        self._subscribers.append(receive)

    def _emit(self, event: Event) -> None:
        if isinstance(event, BatchDone):
            self.outcome = event
        for receive in self._subscribers:
            receive(event)

    def states(self, *, force: bool = False) -> list[SongPlan]:
        """What is done, stale and to do, read from the markers; nothing is computed or changed."""
        return [self.song_plan(song, force=force) for song in self.songs]

    def song_plan(self, song: Song, *, force: bool = False) -> SongPlan:
        """The same for one song."""
        record = self.store.record(song)
        source_hash = record.sha256 if record is not None else None
        states = {task.id: self.store.state(song, task, source_hash) for task in self.tasks}
        if force:
            states = {k: State.STALE if s is State.DONE else s for k, s in states.items()}
        return SongPlan(song, states, record.analysis if record is not None else None)

    @property
    def thread(self) -> threading.Thread:
        """The thread of the latest run. Raises RuntimeError where there was none."""
        if self._thread is None:
            raise RuntimeError("nothing was started")
        return self._thread

    @property
    def running(self) -> bool:
        """Whether work is under way (or paused)."""
        return self._thread is not None and self._thread.is_alive()

    def start(
        self, *, jobs: int = 0, force: bool = False, songs: Sequence[Song] | None = None,
    ) -> threading.Thread:  # fmt: skip
        """Begin work in the background on ``songs`` (None: all); the output folder is held until it ends.

        ``jobs`` songs are worked on at a time (0: as the machine has cores, at most four).

        Raises:
            UsageError: another process works in the output folder, or it cannot be written to.
        """
        chosen = self.songs if songs is None else list(songs)
        self.control = Control(self.off)
        self.estimate = Estimate()
        self.outcome = None
        runner = Runner(
            store=self.store, songs=chosen, tasks=self.tasks, emit=self._emit, control=self.control,
            jobs=max(1, min(jobs or default_jobs(), len(chosen))), force=force, estimate=self.estimate,
        )  # fmt: skip
        lock = self.store.lock()

        def work() -> None:
            try:
                if any(task.stage.neural and not task.impossible for task in self.tasks):
                    runner.device = self.device
                runner.run()
            finally:
                lock.release()

        self._thread = threading.Thread(target=work, name="engine", daemon=True)
        self._thread.start()
        return self._thread

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


def default_jobs() -> int:
    """Songs to work on at a time: one per two cores, one to four."""
    return max(1, min(_MOST_JOBS, (os.cpu_count() or 2) // 2))
