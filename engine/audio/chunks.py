"""Chunks: windows of a signal with context on both sides, and the streaming crossfade that joins them.

Chunk ``k`` owns the frames ``[k * step, k * step + size)``, where ``step = size - overlap``; it is processed
with ``context`` more frames on both sides, which are thrown away. Neighbours share ``overlap`` frames, over
which the one is faded into the other. A chunk's samples depend on nothing but its window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.audio.readers import Audio
from engine.audio.soundfiles import reading

FadeLaw = Literal["equal-gain", "equal-power", "matched"]


@dataclass(frozen=True)
class ChunkGeometry:
    """Frames: what a chunk owns, what it shares with its neighbours, what it sees beyond."""

    size: int
    overlap: int
    context: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.size // 2 or self.size < 1 or self.context < 0:
            raise ValueError(f"a chunk's overlap may be half its size at most: {self}")

    @property
    def step(self) -> int:
        return self.size - self.overlap

    def count(self, frames: int) -> int:
        """Number of chunks for a signal of ``frames``."""
        return max(1, -(-(frames - self.overlap) // self.step))

    def span(self, index: int, frames: int) -> tuple[int, int]:
        """First frame and end of chunk ``index``; the last one ends with the signal."""
        start = index * self.step
        last = index == self.count(frames) - 1
        return start, frames if last else start + self.size


def read_window(path: Path, start: int, end: int, frames: int) -> Audio:
    """Frames ``[start, end)`` of the audio file, with silence where it has none. Shape ``(end-start, ch)``."""
    with reading(path) as file:
        first, last = max(0, start), min(frames, end)
        out = np.zeros((end - start, file.channels), np.float32)
        if last > first:
            file.seek(first)
            data = file.read(last - first, dtype="float32", always_2d=True)
            out[first - start : first - start + len(data)] = data
        return out


def fade_gains(length: int, law: FadeLaw) -> tuple[Audio, Audio]:
    """(falling, rising) gains of shape ``(length, 1)``; they or their squares add up to one."""
    ramp = (np.arange(length, dtype=np.float32) + 0.5)[:, None] / np.float32(max(1, length))
    if law == "equal-gain":
        return 1 - ramp, ramp
    return np.cos(np.pi / 2 * ramp).astype(np.float32), np.sin(np.pi / 2 * ramp).astype(np.float32)


def crossfade(tail: Audio, head: Audio, law: FadeLaw) -> Audio:
    """``tail`` faded into ``head``, both ``(frames, channels)``.

    The law ``matched`` keeps the power constant whatever the two have in common: equal gain where they are the same,
    equal power where they know nothing of each other (Fink, Holters and Zölzer, "Signal-matched power-complementary
    cross-fading and dry-wet mixing", DAFx 2016).
    """
    if law != "matched":
        falling, rising = fade_gains(len(tail), law)
        return tail * falling + head * rising
    falling, rising = fade_gains(len(tail), "equal-gain")
    energies = float(np.vdot(tail, tail)) * float(np.vdot(head, head))
    alike = float(np.clip(np.vdot(tail, head) / np.sqrt(energies), 0, 1)) if energies > 0 else 1.0
    power = falling**2 + rising**2 + 2 * np.float32(alike) * falling * rising
    return np.asarray((tail * falling + head * rising) / np.sqrt(power), np.float32)


def stitch(
    load: Callable[[int], Audio], geometry: ChunkGeometry, frames: int, law: FadeLaw = "equal-gain"
) -> Iterator[Audio]:
    """The whole signal from its chunks, block by block; never more than two chunks are in memory.

    Args:
        load: gives chunk ``index`` as ``(frames of its span, channels)``.
        law: equal-gain for coherent neighbours (the same signal twice), equal-power for independent ones, matched
            for those in between.
    """
    count = geometry.count(frames)
    tail: Audio | None = None
    for index in range(count):
        chunk = load(index)
        if tail is not None:
            yield crossfade(tail, chunk[: len(tail)], law)
            chunk = chunk[len(tail) :]
        if index < count - 1:
            yield chunk[: len(chunk) - geometry.overlap]
            tail = chunk[len(chunk) - geometry.overlap :]
        else:
            yield chunk
