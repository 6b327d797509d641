"""The background engine: works off the songs, survives each song's failure."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.analysis.song import SongAnalysis
from engine.library.records import Song
from engine.library.store import Store
from engine.machine.priority import work_in_background
from engine.planning import costs
from engine.planning.task import Task
from engine.run.control import Control
from engine.run.estimate import Estimate
from engine.run.events import BatchDone, BatchStarted, Event, SongDone
from engine.run.song_run import SongRun, guess_duration, unexpected


@dataclass
class Runner:
    """Works off ``songs`` x ``tasks``, ``jobs`` songs at a time.

    ``emit`` is called from the working threads. ``force`` does again what is done. ``left`` gives one sentence about
    why a task is not worth its while for a song, or nothing.
    """

    store: Store
    songs: Sequence[Song]
    tasks: Sequence[Task]
    emit: Callable[[Event], None]
    control: Control
    left: Callable[[SongAnalysis, Task], str] = lambda analysis, task: ""
    jobs: int = 1
    force: bool = False
    device: str = "cpu"
    estimate: Estimate = field(default_factory=Estimate)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque(enumerate(self.songs))
        self._count = len(self.songs)
        self._busy: set[str] = set()
        self._closed = False
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()

    def cost(self, task: Task) -> float:
        """Seconds of work per second of audio, as far as can be known before."""
        return costs.factor(task.stage, task.params, self.device)

    def device_of(self, task: Task) -> str:
        """Where the task is worked on."""
        return self.device if task.stage.neural else "cpu"

    def outcome(self, error: str = "") -> BatchDone:
        """How the run ended, or stands; ``error`` is a sentence about what went wrong beside the songs."""
        done, failed, same = (self._counts[name] for name in ("done", "failed", "up to date"))
        seconds = time.monotonic() - self._started
        return BatchDone(
            done, failed, same, self.control.stopped, seconds, self._counts["skipped"], error, self._counts["left"]
        )  # fmt: skip

    def add(self, songs: Iterable[Song]) -> bool:
        """Have songs worked on (again) before the run ends. False where it has no more hands to do so."""
        with self._lock:
            if self._closed or self.control.stopped:
                return False
            queued = {song.id for _, song in self._waiting}
            for song in songs:
                if song.id not in queued:
                    self.control.forget(song.id)
                    self._waiting.append((self._count, song))
                    self._count += 1
            return True

    def run(self) -> None:
        """Work until all is done or stopped. Whatever goes wrong with a song costs that song."""
        self.emit(BatchStarted(len(self.songs), len(self.songs) * len(self.tasks), str(self.store.out)))
        cost = sum(self.cost(task) for task in self.tasks if not task.impossible)
        for song in self.songs:
            self.estimate.plan(song.id, guess_duration(song) * cost)
        threads = [threading.Thread(target=self._work, name=f"engine-{n}", daemon=True) for n in range(1, self.jobs)]
        for thread in threads:
            thread.start()
        try:
            self._work()
        finally:
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        work_in_background()
        while (item := self._take()) is not None:
            index, song = item
            try:
                outcome = self._one(song, index)
            finally:
                with self._lock:
                    self._busy.discard(song.id)
            with self._lock:
                self._counts[outcome] += 1

    def _one(self, song: Song, index: int) -> str:
        run = SongRun(self, song, index)
        try:
            outcome = run.run()
            if run.left and outcome == "done":
                with self._lock:
                    self._counts["left"] += 1
            return outcome
        except Exception as error:  # what SongRun itself could not tell of
            reason = unexpected(error, self.store.log_path(song))
            self.emit(SongDone(song.id, (), (reason,), (), 0.0, "failed"))
            return "failed"

    def _take(self) -> tuple[int, Song] | None:
        """The next song that no other thread works on; the last to leave closes the run."""
        with self._lock:
            if not self.control.stopped:
                for item in self._waiting:
                    if item[1].id not in self._busy:
                        self._waiting.remove(item)
                        self._busy.add(item[1].id)
                        return item
            self._closed = self._closed or not self._busy
            return None
