"""Pause, skip and stop, asked for by one thread and obeyed by another at the next chunk boundary."""

from __future__ import annotations

import threading


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

    def stop(self) -> None:
        """End the run at the next chunk boundary."""
        self._stopped = True
        self._running.set()

    def skip_song(self, song: str) -> None:
        """Leave the rest of a song out."""
        with self._lock:
            self._songs.add(song)

    def skip_variant(self, song: str, variant: str) -> None:
        """Leave a variant of a song out, and what builds on it."""
        with self._lock:
            self._variants.add((song, variant))

    def is_off(self, song: str, variant: str) -> bool:
        """Whether the variant is switched off for the song."""
        return (song, variant) in self._off

    def checkpoint(self, song: str, variant: str) -> None:
        """Wait while paused; then raise StopRun, SkipSong or SkipVariant where that is wished."""
        self._running.wait()
        if self._stopped:
            raise StopRun
        with self._lock:
            if song in self._songs:
                raise SkipSong
            if (song, variant) in self._variants:
                raise SkipVariant
