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


def blocks_of(blocks: Iterator[Audio], length: int) -> Iterator[Audio]:
    """The same frames in blocks of ``length``; the last may be shorter."""
    held: list[Audio] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        while count >= length:
            whole = np.concatenate(held)
            yield whole[:length]
            held, count = [whole[length:]], count - length
    if count:
        yield np.concatenate(held)


def cut(blocks: Iterable[Audio], first: int, count: int) -> list[Audio]:
    """Frames ``[first, first + count)`` of a stream, as far as it has them; it is read up to there."""
    found: list[Audio] = []
    at = 0
    for block in blocks:
        if at + len(block) > first:
            found.append(block[max(0, first - at) : first + count - at])
        at += len(block)
        if at >= first + count:
            break
    return found
