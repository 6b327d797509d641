"""De-ess: turns down what hisses in the band that a super-resolver added. Below the cutoff nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp.filters import filtered, lowpass
from engine.dsp.sibilance import Grid, SibilanceMeter, Usual, gains, levels
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter, read_at

_SIZE, _OVERLAP, _CONTEXT = 8192, 8, 64  # moments of the grid, of 3 ms: 25 s
_TRANSITION = 400.0  # Hz above the cutoff in which the treated band sets in
_LEAST = 1000.0  # Hz that there must be above the cutoff


@dataclass(frozen=True)
class DeessParams(Params):
    most_db: float = parameter(9.0, "the most that hiss is turned down", unit="dB", low=0.0, high=24.0)
    threshold_db: float = parameter(
        4.0, "how far beyond what is usual in the song the new band may go", unit="dB", low=0.0, high=24.0
    )


class Deess(ChunkedStage):
    """Split at the song's cutoff in linear phase; the part above gets the gain (:mod:`engine.dsp.sibilance`).

    What was there before the super-resolver is not asked for: it only adds above the cutoff, so all that is there is
    what it made.
    """

    name = "deess"
    title = "De-esser"
    cost = 0.02
    adds = True
    Parameters = DeessParams

    def geometry(self, signal: Signal) -> ChunkGeometry:
        hop = Grid(signal.rate).hop
        return ChunkGeometry(_SIZE * hop, _OVERLAP * hop, _CONTEXT * hop)

    def note(self, context: Context, params: DeessParams) -> str:
        cutoff = _cutoff(context)
        if cutoff is None:
            return "nothing was generated, so nothing could hiss"
        if params.most_db == 0:
            return "hiss left as it is"
        return f"hiss generated above {cutoff / 1000:.1f} kHz turned down by {params.most_db:g} dB at most"

    def prepare(self, context: Context, params: DeessParams) -> Processor | None:
        cutoff = _cutoff(context)
        if cutoff is None or params.most_db == 0:
            return None
        signal = context.input
        grid = Grid(signal.rate)
        meter = SibilanceMeter(cutoff)
        for start in range(0, signal.frames, _SIZE * grid.hop):
            context.checkpoint()
            end = min(start + _SIZE * grid.hop, signal.frames)
            half = grid.size // 2
            meter.process(levels(read_at(signal, signal.rate, start - half, end + half), grid, cutoff))
        return _Deesser(meter.usual(), params, grid, cutoff, lowpass(cutoff + _TRANSITION, _TRANSITION, signal.rate))


def _cutoff(context: Context) -> float | None:
    """Hz above which all is generated; None where nothing is."""
    cutoff = context.analysis.cutoff.hz
    return cutoff if cutoff is not None and cutoff + _LEAST < context.input.rate / 2 else None


@dataclass(frozen=True)
class _Deesser:
    usual: Usual
    params: DeessParams
    grid: Grid
    cutoff: float
    taps: Audio

    def __call__(self, window: Audio, start: int) -> Audio:
        """See :class:`engine.stages.base.Processor`; what is to be added to the song."""
        context = _CONTEXT * self.grid.hop
        own = slice(context, len(window) - context)
        half = self.grid.size // 2
        found = levels(np.pad(window, ((half, half), (0, 0))), self.grid, self.cutoff)
        reduction = np.minimum(self.usual.excess(found, self.params.threshold_db), self.params.most_db)
        if not reduction.any():
            return np.zeros_like(window[own])
        new = window - filtered(window, self.taps)
        return (new * (gains(reduction, self.grid, len(window)) - 1))[own]
