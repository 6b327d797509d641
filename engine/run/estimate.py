"""How much of a run is done and how long the rest will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Estimate:
    """Counts work in seconds of audio times the cost of a stage, and learns the speed while running.

    Thread-safe. The stages' costs are first guesses; only their proportions matter. ``idle`` gives the seconds in
    which nothing was worked on by the user's wish: they say nothing of the speed.
    """

    def __init__(self, idle: Callable[[], float] = lambda: 0.0) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._total: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._reused = 0.0
        self._started = time.monotonic()

    def plan(self, song: str, work: float) -> None:
        """Set (or correct) the work that a song needs."""
        with self._lock:
            self._total[song] = work

    def advance(self, song: str, work: float, *, reused: bool = False) -> None:
        """Work that is done; what was reused from an earlier run says nothing of the speed."""
        with self._lock:
            self._done[song] = self._done.get(song, 0.0) + work
            self._reused += work if reused else 0.0

    def finish(self, song: str) -> None:
        """Nothing is left of the song, however it ended."""
        with self._lock:
            self._reused += max(0.0, self._total.get(song, 0.0) - self._done.get(song, 0.0))
            self._done[song] = self._total.get(song, 0.0)

    def fraction(self) -> float:
        """Done share of all work, 0 to 1."""
        with self._lock:
            total = sum(self._total.values())
            return min(1.0, sum(self._done.values()) / total) if total > 0 else 1.0

    def time_left(self) -> float:
        """Seconds; -1 while nothing is known."""
        with self._lock:
            done, total = sum(self._done.values()), sum(self._total.values())
            worked, elapsed = done - self._reused, time.monotonic() - self._started - self._idle()
            if worked <= 0 or elapsed < 1:
                return -1.0
            return max(0.0, (total - done) * elapsed / worked)
