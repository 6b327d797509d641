"""The background engine: works off the songs, survives each song's failure, tells when all is done."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.library.records import Song
from engine.library.store import Store
from engine.machine.priority import work_in_background
from engine.planning import costs
from engine.planning.plan import Task
from engine.run.control import Control
from engine.run.estimate import Estimate
from engine.run.events import (
    BatchDone,
    BatchStarted,
    Event,
)
from engine.run.song_run import SongRun, guess_duration


@dataclass
class Runner:
    """Works off ``songs`` x ``tasks``, ``jobs`` songs at a time; :class:`BatchDone` is the last event.

    ``emit`` is called from the working threads. ``force`` does again what is done.
    """

    store: Store
    songs: Sequence[Song]
    tasks: Sequence[Task]
    emit: Callable[[Event], None]
    control: Control
    jobs: int = 1
    force: bool = False
    device: str = "cpu"
    estimate: Estimate = field(default_factory=Estimate)

    def cost(self, task: Task) -> float:
        """Seconds of work per second of audio, as far as can be known before."""
        return costs.factor(task.stage, task.params, self.device)

    def device_of(self, task: Task) -> str:
        """Where the task is worked on."""
        return self.device if task.stage.neural else "cpu"

    def run(self) -> None:
        """Work until all is done or stopped."""
        started = time.monotonic()
        self.emit(BatchStarted(len(self.songs), len(self.songs) * len(self.tasks), str(self.store.out)))
        cost = sum(self.cost(task) for task in self.tasks if not task.impossible)
        for song in self.songs:
            self.estimate.plan(song.id, guess_duration(song) * cost)
        waiting: queue.SimpleQueue[tuple[int, Song]] = queue.SimpleQueue()
        for item in enumerate(self.songs):
            waiting.put(item)
        counts = {"done": 0, "failed": 0, "up to date": 0}
        lock = threading.Lock()

        def work() -> None:
            work_in_background()
            while not self.control.stopped:
                try:
                    index, song = waiting.get_nowait()
                except queue.Empty:
                    return
                outcome = SongRun(self, song, index).run()
                with lock:
                    counts[outcome] = counts.get(outcome, 0) + 1

        threads = [threading.Thread(target=work, name=f"engine-{n}", daemon=True) for n in range(1, self.jobs)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        self.emit(BatchDone(counts["done"], counts["failed"], counts["up to date"], self.control.stopped, seconds))
