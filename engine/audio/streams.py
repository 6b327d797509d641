"""Streams of samples, whatever they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from engine.audio.readers import Audio


def in_step(*streams: Iterable[Audio]) -> Iterator[tuple[Audio, ...]]:
    """Streams of the same length, however each is cut, as blocks of the same size."""
    sources = [iter(stream) for stream in streams]
    held = [np.zeros((0, 1), np.float32)] * len(sources)
    while True:
        for n, source in enumerate(sources):
            while not len(held[n]):
                block = next(source, None)
                if block is None:
                    return
                held[n] = block
        count = min(map(len, held))
        yield tuple(block[:count] for block in held)
        held = [block[count:] for block in held]
