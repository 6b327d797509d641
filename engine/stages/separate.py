"""Separate: takes a song apart into stems, so that each can be treated by what suits it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.audio.readers import Audio
from engine.audio.resample import resample_stream, resampled_length
from engine.audio.streams import in_step
from engine.errors import NotPossibleError
from engine.models.runtime import device as devices
from engine.models.separators import SEPARATORS, Separator, Work, best
from engine.signals import RESIDUAL
from engine.stages.base import (
    GPU_GAIN,
    Chunks,
    Context,
    Params,
    Rendered,
    Stage,
    one_of,
    parameter,
    read_blocks,
)

_AUTO = "auto"


@dataclass(frozen=True)
class SeparateParams(Params):
    model: str = parameter(_AUTO, f"'auto' (the best that is here and fits the machine) or {', '.join(SEPARATORS)}")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("model", self.model, (_AUTO, *SEPARATORS))


class Separate(Stage):
    """Stems at the song's own rate that add up to it, exactly: what no stem took is kept as the residual.

    A song of one channel (or of two that are equal) gives stems of which the same is true.
    """

    name = "separate"
    title = "Separation into stems"
    neural = True
    Parameters = SeparateParams

    def outputs(self, params: SeparateParams, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return (*_chosen(params).stems, RESIDUAL)

    def title_of(self, params: SeparateParams) -> str:
        return f"{self.title} by {_chosen(params).title}"

    def settled(self, params: SeparateParams) -> SeparateParams:
        return SeparateParams(_chosen(params).key)

    def unavailable_reason(self, params: SeparateParams) -> str:
        return _chosen(params).unavailable_reason()

    def fingerprint(self, params: SeparateParams) -> dict[str, str]:
        separator = _chosen(params)
        return {"separator": separator.key, "model": separator.fingerprint()}

    def cost_of(self, params: SeparateParams, device: str) -> float:
        separator = _chosen(params)
        return separator.cost if device == "cpu" or not separator.neural else separator.cost / GPU_GAIN

    def run(self, context: Context, params: SeparateParams) -> dict[str, Rendered]:
        signal, separator = context.input, _chosen(params)
        if signal.channels > 2:
            raise NotPossibleError("A song of more than two channels cannot be taken apart: mix it down to stereo.")
        mono = signal.channels == 1 or context.analysis.exact_mono
        width = 1 if mono else 2
        rate = separator.rate
        frames = resampled_length(signal.frames, signal.rate, rate)
        count = len(separator.stems)
        chunks = Chunks(context, signal, separator.geometry, rate, frames, count * width, width)

        def song() -> Iterator[Audio]:
            for block in resample_stream(read_blocks(signal), signal.rate, rate, frames):
                yield np.repeat(block[:, :1], 2, axis=1) if mono else block

        work = separator.prepare(song, context.device, context.warn)
        chunks.make(_Together(work, mono), separator.batch(context.device))

        def stem(number: int) -> Iterator[Audio]:
            whole = chunks.joined(slice(number * width, (number + 1) * width), signal.channels)
            return resample_stream(whole, rate, signal.rate, signal.frames)

        def residual() -> Iterator[Audio]:
            # All stems of a chunk at once, so that each chunk is read and checked once and not for every stem.
            every = resample_stream(chunks.joined(slice(None), count * width), rate, signal.rate, signal.frames)
            for mix, stems in in_step(read_blocks(signal), every):
                yield mix - np.add.reduce(np.split(stems, count, axis=1))

        streams: dict[str, Callable[[], Iterator[Audio]]] = {
            name: partial(stem, number) for number, name in enumerate(separator.stems)
        }
        note = f"taken apart by {separator.title}"
        return {
            name: Rendered(signal.rate, signal.channels, signal.frames, blocks, note=f"{name}, {note}")
            for name, blocks in {**streams, RESIDUAL: residual}.items()
        }


def _chosen(params: SeparateParams) -> Separator:
    """The separator that is meant; where none is here, the one to be told of."""
    if params.model != _AUTO:
        return SEPARATORS[params.model]
    return best(devices.likely() != "cpu") or SEPARATORS["spleeter-2stems"]


@dataclass(frozen=True)
class _Together:
    """See :class:`engine.stages.base.BatchProcessor`."""

    work: Work
    mono: bool

    def together(self, windows: list[Audio], starts: list[int]) -> list[Audio]:
        """The stems side by side, for each window."""
        if not self.mono:
            return self.work(windows)
        made = self.work([np.repeat(window, 2, axis=1) for window in windows])
        return [np.float32(0.5) * (stems[:, ::2] + stems[:, 1::2]) for stems in made]
