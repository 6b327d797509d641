"""Pieces of a song spread over all of it: what is the same everywhere need not be looked for everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.audio.readers import Audio

LENGTH = 60 * 1152  # frames: 1.6 s at 44.1 kHz
STEP = 1152  # frames: whole blocks of an MP3 (576), of Vorbis and of AAC (128)
_COUNT = 16  # of a song whose length is known
_LEAST = 8192  # frames that are still worth looking at


class Excerpts:
    """Cuts a stream into pieces of :data:`LENGTH` frames that begin at multiples of :data:`STEP`.

    ``promised`` is the number of frames that are expected (0 or less: not known). Short songs are taken whole; where
    more comes than was promised, the pieces lie further and further apart, so that a song of any length gives few.
    Memory: one piece.
    """

    def __init__(self, promised: int) -> None:
        self._step = max(LENGTH, promised // _COUNT // STEP * STEP)
        self._next = 0  # frame at which the piece in work begins
        self._position = 0
        self._parts: list[Audio] = []
        self._held = 0
        self._count = 0

    def take(self, block: Audio) -> Iterator[Audio]:
        """The pieces that ``(frames, channels)`` complete, float32 ``(LENGTH, channels)``."""
        start, end = self._position, self._position + len(block)
        self._position = end
        while True:
            first, last = self._next + self._held, self._next + LENGTH
            if first < end:
                part = block[max(0, first - start) : last - start]
                self._parts.append(part.copy())
                self._held += len(part)
            if self._held < LENGTH:
                return
            yield np.concatenate(self._parts)
            self._forget()

    def _forget(self) -> None:
        self._parts, self._held = [], 0
        self._count += 1
        if self._count % (2 * _COUNT) == 0:
            self._step *= 2
        self._next += self._step

    def rest(self) -> Iterator[Audio]:
        """The last piece, where the song ends in it; there may be none."""
        if self._held >= _LEAST:
            yield np.concatenate(self._parts)
            self._forget()
