"""Width: the level of the side signal by frequency. What both channels have in common is not touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio
from engine.audio.streams import in_step
from engine.dsp import equaliser
from engine.dsp.filters import apply_fir
from engine.dsp.width import SideMeter, wanted
from engine.errors import UsageError
from engine.stages.base import (
    Context,
    Params,
    Rendered,
    Signal,
    Stage,
    parameter,
    passed,
    read_blocks,
    watched_blocks,
)

_HIGHEST = 2.0
_STEREO = 2
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class WidthParams(Params):
    low: float = parameter(
        1.0, "level of the side below low_hz; 0 is mono, 1 leaves it as it is", low=0.0, high=_HIGHEST
    )
    middle: float = parameter(1.0, "level of the side in between", low=0.0, high=_HIGHEST)
    high: float = parameter(1.0, "level of the side above high_hz", low=0.0, high=_HIGHEST)
    low_hz: float = parameter(250.0, "where the middle begins", unit="Hz", low=60.0, high=1000.0)
    high_hz: float = parameter(4000.0, "where the middle ends", unit="Hz", low=2000.0, high=12000.0)
    mono_below_hz: float = parameter(
        0.0, "below it there is no side at all; 0 leaves the bass as it is", unit="Hz", low=0.0, high=500.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.mono_below_hz < 20:
            raise UsageError(f"mono_below_hz must be 0 (off) or between 20 and 500 Hz, not {self.mono_below_hz:g}.")

    @property
    def gains(self) -> tuple[float, float, float]:
        return self.low, self.middle, self.high


class Width(Stage):
    """A linear-phase filter on the side; widens only what is sound, and no more than the fold-down can bear."""

    name = "width"
    title = "Width"
    cost = 0.02
    Parameters = WidthParams

    def run(self, context: Context, params: WidthParams) -> Rendered:
        signal = context.input
        if params.gains == (1.0, 1.0, 1.0) and not params.mono_below_hz:
            return passed(signal, "width left as it is")
        if signal.channels != _STEREO or context.analysis.exact_mono:
            return passed(signal, "as wide as it was: it is not stereo")
        gains, limited = _gains(context, signal, params)
        taps = equaliser.fir(gains)

        def side() -> Iterator[Audio]:
            for block in watched_blocks(context, signal, 0.5, 1.0):
                yield (block[:, :1] - block[:, 1:]) * _HALF

        def blocks() -> Iterator[Audio]:
            for block, apart in in_step(read_blocks(signal), apply_fir(side(), taps)):
                middle = (block[:, :1] + block[:, 1:]) * _HALF
                yield np.concatenate([middle + apart, middle - apart], axis=1)

        note = "width changed, what both channels share untouched"
        if limited:
            note += "; widened less than asked for where the MP3 left little of the side, or mono would suffer"
        return Rendered(signal.rate, signal.channels, signal.frames, blocks, note=note)


def _gains(context: Context, signal: Signal, params: WidthParams) -> tuple[equaliser.Curve, bool]:
    """The side's gain on the grid of the filter, and whether it is less than what was asked for."""
    frequencies = equaliser.grid(signal.rate)
    edges = params.low_hz, params.high_hz
    curve = wanted(frequencies, params.gains, edges, params.mono_below_hz)
    if max(params.gains) <= 1:
        return curve, False
    meter = SideMeter(signal.rate)
    for block in watched_blocks(context, signal, 0.0, 0.5):
        meter.process(block)
    asked = wanted(meter.centres, params.gains, edges, params.mono_below_hz)
    found = meter.bearable(asked, context.cutoff)
    factor = equaliser.between(frequencies, (meter.centres, found / np.maximum(asked, 1e-9)))
    return np.where(curve > 1, np.maximum(1.0, curve * factor), curve), bool((found < asked - 0.01).any())
