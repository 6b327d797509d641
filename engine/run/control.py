"""Pause, skip and stop, asked for by one thread and obeyed by another at the next chunk boundary."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable


class StopRun(Exception):
    """The user stops the run."""


class SkipSong(Exception):
    """The user leaves this song out."""


class SkipVariant(Exception):
    """The user leaves this variant of this song out."""


class Control:
    """The wishes of the user for one run. Thread-safe.

    ``off`` holds (song, variant) pairs that are switched off; it may be shared and changed while running.
    """

    def __init__(self, off: set[tuple[str, str]] | None = None) -> None:
        self._running = threading.Event()
        self._running.set()
        self._lock = threading.Lock()
        self._stopped = False
        self._songs: set[str] = set()
        self._variants: set[tuple[str, str]] = set()
        self._off = off if off is not None else set()
        self._held_since: float | None = None
        self._idle = 0.0

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def pause(self) -> None:
        """Hold work at the next chunk boundary."""
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        self._running.set()
        self._let_go()

    def stop(self) -> None:
        """End the run at the next chunk boundary."""
        self._stopped = True
        self.resume()

    def skip_song(self, song: str) -> None:
        """Leave the rest of a song out."""
        with self._lock:
            self._songs.add(song)

    def skip_variant(self, song: str, variant: str) -> None:
        """Leave a variant of a song out; what others need of it goes on."""
        with self._lock:
            self._variants.add((song, variant))

    def is_off(self, song: str, variant: str) -> bool:
        """Whether the variant is switched off for the song."""
        return (song, variant) in self._off

    def is_skipped(self, song: str, variant: str) -> bool:
        """Whether the variant was skipped for the song."""
        with self._lock:
            return (song, variant) in self._variants

    def wants(self, song: str, variant: str) -> bool:
        """Whether the variant is neither switched off nor skipped for the song."""
        return not (self.is_off(song, variant) or self.is_skipped(song, variant))

    def forget(self, song: str) -> None:
        """The song is wanted again, whatever of it was skipped."""
        with self._lock:
            self._songs.discard(song)
            self._variants = {(other, variant) for other, variant in self._variants if other != song}

    def idle(self) -> float:
        """Seconds in which work was held by a pause, from the first that waited to the moment it went on."""
        with self._lock:
            return self._idle + (time.monotonic() - self._held_since if self._held_since is not None else 0.0)

    def checkpoint(self, song: str, variants: Iterable[str] = ()) -> None:
        """Wait while paused; then raise StopRun, SkipSong or, where none of ``variants`` is wanted, SkipVariant."""
        if self.paused:
            self._hold()
        if self._stopped:
            raise StopRun
        with self._lock:
            if song in self._songs:
                raise SkipSong
        variants = tuple(variants)
        if variants and not any(self.wants(song, variant) for variant in variants):
            raise SkipVariant

    def _hold(self) -> None:
        with self._lock:
            if self._held_since is None:
                self._held_since = time.monotonic()
        self._running.wait()
        self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            if self._held_since is not None and self._running.is_set():
                self._idle += time.monotonic() - self._held_since
                self._held_since = None
