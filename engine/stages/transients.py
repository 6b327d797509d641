"""Transients: what MP3 does to attacks is repaired, and attacks are made sharper where that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp import attack, onsets, pre_echo
from engine.dsp.attack import attack_correction
from engine.dsp.bands import Bands
from engine.dsp.onsets import find_onsets
from engine.dsp.pre_echo import Coding, pre_echo_correction
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter

_SIZE = 30  # s
_ATTACK_METHOD = 2  # another one raises attacks otherwise
_GENEROUS = 240_000  # bit/s from which on the noise lies 33 dB and more below its attack
_CONTEXT = onsets.CONTEXT + max(pre_echo.CONTEXT, attack.CONTEXT)  # s on both sides of a chunk


@dataclass(frozen=True)
class TransientsParams(Params):
    pre_echo: float = parameter(
        1.0, "how much of the noise ahead of attacks is taken away; 0 is none", low=0.0, high=1.0
    )
    attack_db: float = parameter(
        0.0, "sharper than the song: attacks are raised by up to this; 0 is off", unit="dB", low=0.0, high=6.0
    )


class Transients(ChunkedStage):
    """Pre-echo removed (:mod:`engine.dsp.pre_echo`), attacks raised (:mod:`engine.dsp.attack`), the rest untouched."""

    name = "transients"
    title = "Transient repair"
    cost = 0.01
    adds = True
    Parameters = TransientsParams

    def fingerprint(self, params: TransientsParams) -> dict[str, int]:
        """The method of what raises attacks, where it does."""
        return {"attack": _ATTACK_METHOD} if params.attack_db else {}

    def geometry(self, signal: Signal) -> ChunkGeometry:
        bands = Bands.at(signal.rate)
        # Whole hops, so that neighbours see the very same spectra and no overlap is needed.
        size, context = (bands.in_hops(round(seconds * signal.rate)) for seconds in (_SIZE, _CONTEXT))
        return ChunkGeometry(size, 0, context)

    def note(self, context: Context, params: TransientsParams) -> str:
        done = []
        if _amount(context, params):
            done.append("noise ahead of attacks taken away")
        if params.attack_db:
            done.append(f"attacks up to {params.attack_db:g} dB louder than in the song")
        if not done and params.pre_echo:
            done.append("next to no noise ahead of attacks, so nothing was done")
        return ", ".join(done) or "attacks left as they are"

    def prepare(self, context: Context, params: TransientsParams) -> Processor | None:
        amount = _amount(context, params)
        if not (amount or params.attack_db):
            return None
        rate = context.input.rate
        ahead = self.geometry(context.input).context
        coding = coding_of(context)

        def process(window: Audio, start: int) -> Audio:
            found = find_onsets(window, rate)
            made = pre_echo_correction(window, rate, found, coding, amount)
            made += attack_correction(window, rate, found, params.attack_db)
            return made[ahead : len(made) - ahead]

        return process


def _amount(context: Context, params: TransientsParams) -> float:
    """How much of the noise is taken away: none where an encoder left no trace, or had bits enough."""
    analysis = context.analysis
    if analysis.mpeg is None:
        return params.pre_echo if analysis.cutoff.source == "measured" else 0.0
    return params.pre_echo if analysis.mpeg.bitrate < _GENEROUS else 0.0


def coding_of(context: Context) -> Coding:
    """How the song was coded; what is not told is taken for the usual."""
    analysis, usual = context.analysis, Coding()
    if analysis.mpeg is None or not analysis.mpeg.bitrate:
        return usual
    return Coding(analysis.rate, analysis.mpeg.bitrate / max(1, analysis.channels))
