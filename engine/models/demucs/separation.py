"""Demucs chunk by chunk: a chunk and its context are one segment of the network, normalised as the song is.

The package's own function takes a song as a whole; here segments come from disk, each is done once, and what fits
into memory is done together. Songs are normalised by their mean and spread, as the package's command does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.models.demucs import RATE, WEIGHTS, load, unavailable_reason
from engine.models.runtime import device as devices
from engine.models.runtime import loading
from engine.models.runtime.weights import Weights

SEGMENT = int(7.8 * RATE)  # frames that the published networks were trained on
_CONTEXT = SEGMENT // 16
_OVERLAP = SEGMENT // 8  # with the context on both sides a quarter, as in the package
GEOMETRY = ChunkGeometry(SEGMENT - 2 * _CONTEXT, _OVERLAP, _CONTEXT)
_ACTIVATIONS = 1_500_000_000  # bytes that one segment takes at its worst
_EDGE = RATE // 2  # frames at the ends of half a segment that are of no use


def batch(name: str, device: str) -> int:
    """How many segments fit on the device at once."""
    return devices.batch_that_fits(device, name, _ACTIVATIONS, 8)


def prepare(
    name: str, stems: tuple[str, ...], song: Callable[[], Iterable[Audio]], device: str, tell: Callable[[str], None]
) -> Callable[[list[Audio]], list[Audio]]:
    """See :class:`engine.models.separators.Prepare`; ``stems`` are the order in which they are given."""
    mean, spread = _statistics(song())

    def work(windows: list[Audio]) -> list[Audio]:
        normalised = [(window - mean) / spread for window in windows]
        found: dict[str, list[Audio]] = {}
        for number, file in enumerate(WEIGHTS[name]):
            made = devices.with_oom_fallback(_Segments(name, file), normalised, device, tell)
            for stem in made[0]:
                # Of the fine-tuned four each is meant for one stem; the others are thrown away.
                if len(WEIGHTS[name]) == 1 or list(made[0])[number] == stem:
                    found[stem] = [one[stem] for one in made]
        return [
            np.concatenate([found[stem][n][_CONTEXT : len(window) - _CONTEXT] for stem in stems], axis=1) * spread
            + mean
            for n, window in enumerate(windows)
        ]

    return work


class _Segments:
    """The work of one network on several segments."""

    def __init__(self, name: str, file: Weights) -> None:
        self._name, self._file = name, file

    def __call__(self, some: list[Audio], how: devices.Attempt) -> list[dict[str, Audio]]:
        with loading.borrowed(
            self._file, lambda: unavailable_reason(self._name), how.device, lambda path: load(path, how.device)
        ) as model:
            if how.short:
                return [self._in_halves(model, audio, how.device) for audio in some]
            with devices.measured(how.device, self._name, len(some)):
                return _stems(model, some, how.device)

    @staticmethod
    def _in_halves(model: Any, audio: Audio, device: str) -> dict[str, Audio]:
        def run(part: Audio) -> Audio:
            return np.concatenate(list(_stems(model, [part], device)[0].values()), axis=1)

        together = devices.in_halves(run, audio, _EDGE)
        return {stem: together[:, 2 * n : 2 * n + 2] for n, stem in enumerate(model.sources)}


def _stems(model: Any, some: list[Audio], device: str) -> list[dict[str, Audio]]:
    """The stems of windows of any length up to a segment; shorter ones are filled up with silence."""
    import torch

    longest = max(map(len, some))
    if longest > round(float(model.segment) * model.samplerate):
        raise NotPossibleError("This model of Demucs works on shorter pieces than the published ones do.")
    rows = np.stack([np.pad(audio, ((0, longest - len(audio)), (0, 0))).T for audio in some])
    with torch.inference_mode():
        made = model(torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(device)).float().cpu().numpy()
    return [
        {stem: np.ascontiguousarray(part[:, : len(audio)].T) for stem, part in zip(model.sources, parts, strict=True)}
        for audio, parts in zip(some, made, strict=True)
    ]


def _statistics(blocks: Iterable[Audio]) -> tuple[np.float32, np.float32]:
    """Mean and spread of the song's mono mix."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        mono = block.mean(axis=1, dtype=np.float64)
        count, total, squares = count + len(mono), total + float(mono.sum()), squares + float((mono**2).sum())
    mean = total / max(1, count)
    return np.float32(mean), np.float32(np.sqrt(max(0.0, squares / max(1, count) - mean**2)) + 1e-8)
