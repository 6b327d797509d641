"""Transients: what MP3 does to attacks, repaired: the noise ahead of them, and what they lost."""

from __future__ import annotations

from dataclasses import dataclass

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp import onsets, pre_echo
from engine.dsp.bands import Bands
from engine.dsp.onsets import find_onsets
from engine.dsp.pre_echo import Coding, pre_echo_correction
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter

_SIZE = 30  # s
_CONTEXT = onsets.CONTEXT + pre_echo.CONTEXT  # s on both sides of a chunk


@dataclass(frozen=True)
class TransientsParams(Params):
    pre_echo: float = parameter(
        1.0, "how much of the noise ahead of attacks is taken away; 0 is none", low=0.0, high=1.0
    )


class Transients(ChunkedStage):
    """Pre-echo removed (see :mod:`engine.dsp.pre_echo`). What lies between hits passes untouched."""

    name = "transients"
    title = "Transient repair"
    cost = 0.01
    adds = True
    Parameters = TransientsParams

    def geometry(self, signal: Signal) -> ChunkGeometry:
        hop = Bands.at(signal.rate).hop
        # Whole hops, so that neighbours see the very same spectra and no overlap is needed.
        size, context = (-(-round(s * signal.rate) // hop) * hop for s in (_SIZE, _CONTEXT))
        return ChunkGeometry(size, 0, context)

    def prepare(self, context: Context, params: TransientsParams) -> Processor:
        rate = context.input.rate
        ahead = self.geometry(context.input).context
        coding = _coding(context)

        def process(window: Audio, start: int) -> Audio:
            found = find_onsets(window, rate)
            made = pre_echo_correction(window, rate, found, coding, params.pre_echo)
            return made[ahead : len(made) - ahead]

        return process


def _coding(context: Context) -> Coding:
    """How the song was coded; what is not told is taken for the usual."""
    analysis, usual = context.analysis, Coding()
    if analysis.mpeg is None or not analysis.mpeg.bitrate:
        return usual
    return Coding(analysis.rate, analysis.mpeg.bitrate / max(1, analysis.channels))
