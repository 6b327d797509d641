"""Sample rate conversion with soxr, streaming and of exact length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from engine.audio.readers import Audio

QUALITY = "VHQ"


def output_rate(source_rate: int) -> int:
    """The rate a song is worked and written at: its own from 44.1 kHz on, else 48 or 44.1 kHz.

    Encoders store low bitrates at 8 to 32 kHz; the band that is to be rebuilt needs room.
    """
    if source_rate >= 44100:
        return source_rate
    return 44100 if source_rate % 11025 == 0 else 48000


def resampled_length(frames: int, source: int, target: int) -> int:
    """Frames at ``target`` Hz that span the same time as ``frames`` at ``source`` Hz (rounded)."""
    return (frames * target + source // 2) // source


def resample(audio: Audio, source: int, target: int) -> Audio:
    """``(frames, channels)`` at another rate; time-aligned (linear phase), of :func:`resampled_length`."""
    if source == target:
        return audio
    wanted = resampled_length(len(audio), source, target)
    return fit(soxr.resample(audio, source, target, QUALITY), wanted)


def resample_stream(blocks: Iterable[Audio], source: int, target: int, frames: int) -> Iterator[Audio]:
    """Blocks at another rate, ``frames`` of them in all, whatever the rounding of the resampler."""
    if source == target:
        yield from exact_length(blocks, frames)
        return
    yield from exact_length(_converted(blocks, source, target), frames)


def resample_all(blocks: Iterable[Audio], source: int, target: int) -> Iterator[Audio]:
    """Blocks at another rate, as many as there are; in all :func:`resampled_length` of what came in."""
    if source == target:
        yield from blocks
        return
    taken = given = 0

    def counted() -> Iterator[Audio]:
        nonlocal taken
        for block in blocks:
            taken += len(block)
            yield block

    held: Audio | None = None
    for block in _converted(counted(), source, target):
        if held is not None:
            yield held
            given += len(held)
        held = block
    if held is not None:
        yield fit(held, max(0, resampled_length(taken, source, target) - given))


def _converted(blocks: Iterable[Audio], source: int, target: int) -> Iterator[Audio]:
    converter: soxr.ResampleStream | None = None
    last = None
    for block in blocks:
        if converter is None:
            converter = soxr.ResampleStream(source, target, block.shape[1], "float32", quality=QUALITY)
        yield converter.resample_chunk(np.ascontiguousarray(block))
        last = block
    if converter is not None and last is not None:
        yield converter.resample_chunk(last[:0].copy(), last=True)


def exact_length(blocks: Iterable[Audio], frames: int) -> Iterator[Audio]:
    """The blocks, cut or filled up with silence to ``frames`` in all."""
    left = frames
    channels = 1
    for block in blocks:
        channels = block.shape[1]
        if left and len(block):
            yield block[:left]
            left -= min(left, len(block))
    while left:
        count = min(left, 1 << 16)
        yield np.zeros((count, channels), np.float32)
        left -= count


def fit(audio: Audio, frames: int) -> Audio:
    """The first ``frames`` frames, filled up with silence where there are fewer."""
    if len(audio) >= frames:
        return audio[:frames]
    return np.concatenate([audio, np.zeros((frames - len(audio), audio.shape[1]), audio.dtype)])
