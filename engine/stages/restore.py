"""The offline restorer: fills the holes below the cutoff and rebuilds the band above it, on any machine.

It only adds: what the MP3 kept passes untouched. Everything it makes depends on the song as a whole and on the
moment, never on where a chunk begins. Two engines say how much is missing: ``plain``, which continues
the song's own slope, and ``learned``, a small network that comes with the program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.analysis.findings import COARSE_EARLIER
from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.audio.resample import output_rate, resample_all
from engine.dsp import replicate
from engine.dsp.headroom import duck_addition
from engine.dsp.holes import HoleFill, fill_gains
from engine.dsp.onsets import find_onsets
from engine.dsp.pre_echo import Coding, pre_echo_correction
from engine.dsp.spectrum import FFT, HANN, HOP, bin_of, istft, noise_power, power, stft, white_noise
from engine.errors import NotPossibleError
from engine.models.restorer import network, synthesis
from engine.models.restorer.features import SongMeter
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, one_of, parameter, read_blocks
from engine.stages.transients import coding_of

ENGINES = ("plain", "learned")
_SIZE = 2560 * HOP  # 30 s at 44.1 kHz
_OVERLAP = 8 * HOP
_CONTEXT = synthesis.CONTEXT
_PLAIN_CONTEXT = 32 * HOP  # beyond what the averages of holes.py see, and one window
_PROFILE_BLOCK = 256 * HOP
_BELIEVED = 0.5  # confidence in the cutoff from which on the band above it is rebuilt
_HIGHEST_CUTOFF = 19500.0  # Hz; above, there is nothing to hear
_PLAIN_TOP, _LEARNED_TOP = 21500.0, 22050.0  # Hz; the learned engine knows by itself how much there is
_CD = 44100  # Hz: what nearly all songs had that an encoder stored at a lower rate; learnt from as such
#: Hz up to which a band is made for an MP3 that was made of a Vorbis or AAC file, coarse or fine: what these cut off,
#: at 16 to 20 kHz, cannot be seen any more, and hardly anybody hears it.
_COARSE_BEFORE, _FINE_BEFORE = 17000.0, 19000.0
_LEAST_BAND = 500.0  # Hz; a narrower new band is none
_METHOD = 2  # of the learned engine; another one makes another sound of the same song
_GENEROUS = 240_000  # bit/s from which on the learned engine makes nothing: next to nothing is missing


@dataclass(frozen=True)
class RestoreParams(Params):
    fill_holes: bool = parameter(True, "fill the spectral holes below the cutoff with noise")
    hole_depth_db: float = parameter(
        30.0, "a gap this far below its surroundings counts as a hole (engine plain)", unit="dB", low=6.0, high=60.0
    )
    hole_level_db: float = parameter(
        17.0, "holes are filled up to this far below their surroundings (engine plain)", unit="dB", low=6.0, high=60.0
    )
    extend: bool = parameter(True, "rebuild the band above the cutoff")
    extend_level_db: float = parameter(
        -1.0,
        "level of the new band, against what the song's own slope suggests (engine plain)",
        unit="dB",
        low=-24.0,
        high=6.0,
    )
    top_hz: float = parameter(
        _PLAIN_TOP, "where the new band ends; the engine learned may end it lower", unit="Hz", low=4000.0, high=24000.0
    )
    engine: str = parameter(
        "plain",
        "what decides how much is missing: 'plain' (rules) or 'learned' (a small network)",
        later=True,
    )
    caution: float = parameter(
        0.0,
        "how careful it is: the share of its own doubt that is taken off (engine learned)",
        low=0.0,
        high=2.0,
        later=True,
    )
    beyond_end: bool = parameter(
        False,
        "make a band also above music that ends by itself, or by a Vorbis or AAC coding before (engine learned)",
        later=True,
    )
    pre_echo: float = parameter(
        0.0,
        "how much of the noise ahead of attacks is taken away, where there is any; 0 is none",
        low=0.0,
        high=1.0,
        later=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("engine", self.engine, ENGINES)


class Restore(ChunkedStage):
    """Hole filling and band replication (see :mod:`engine.models.restorer`, :mod:`engine.dsp.replicate`)."""

    name = "restore"
    title = "Offline restorer"
    cost = 0.05
    Parameters = RestoreParams

    def unavailable_reason(self, params: RestoreParams) -> str:
        if params.engine == "learned" and not network.is_here():
            return "The learned restorer has no weights in this version yet: use the engine 'plain'."
        return ""

    def fingerprint(self, params: RestoreParams) -> dict[str, Any]:
        return {"model": network.fingerprint(), "method": _METHOD} if params.engine == "learned" else {}

    def rate_of(self, context: Context, params: RestoreParams) -> int:
        rate = context.input.rate
        if params.engine == "learned" and context.analysis.rate < _CD <= rate == output_rate(context.analysis.rate):
            return _CD
        return rate

    def geometry(self, signal: Signal) -> ChunkGeometry:
        return ChunkGeometry(_SIZE, _OVERLAP, _CONTEXT)

    def cutoff_after(self, before: float | None, params: RestoreParams) -> float | None:
        return None if params.extend else before

    def note(self, context: Context, params: RestoreParams) -> str:
        cutoff = context.cutoff
        if cutoff is None:
            return "nothing was cut off, so nothing was made"
        if _is_whole(context, params):
            return "next to nothing was missing at this bitrate, so nothing was made"
        made = []
        if params.extend and _extends(context, params):
            made.append(f"generated above {cutoff / 1000:.1f} kHz")
        elif params.extend and _ends_by_itself(context, params):
            made.append(f"nothing above {cutoff / 1000:.1f} kHz, where the music ends by itself")
        elif params.extend and _end_before(context, params) < cutoff + _LEAST_BAND:
            made.append(f"nothing above {cutoff / 1000:.1f} kHz, as it was made of a Vorbis or AAC file")
        if params.fill_holes:
            made.append("holes below filled with noise")
        if params.pre_echo:
            made.append("noise ahead of attacks taken away")
        return ", ".join(made) or "nothing was made"

    def prepare(self, context: Context, params: RestoreParams) -> Processor | None:
        cutoff = context.cutoff  # of what comes along the chain, which may end lower than the song
        extend = params.extend and _extends(context, params)
        if cutoff is None or not (extend or params.fill_holes or params.pre_echo):
            if context.analysis.cutoff.hz is None:  # else what comes before it has done its work
                context.warn("This song has no cutoff that could be found: the offline restorer left it as it is.")
            return None
        if _is_whole(context, params):
            return None
        rate = self.rate_of(context, params)
        if params.engine == "learned" and rate < _CD:
            raise NotPossibleError(
                "The learned restorer needs 44.1 kHz or more: leave the rate of decode at 0, or use the engine 'plain'."
            )
        cutoff = min(cutoff, 0.98 * rate / 2)
        restore = self._restorer(context, rate, cutoff, params, extend)
        return _cleaned(restore, rate, coding_of(context), params.pre_echo) if params.pre_echo else restore

    def _restorer(self, context: Context, rate: int, cutoff: float, params: RestoreParams, extend: bool) -> Processor:
        signal = context.input
        if params.engine == "learned":
            return _adding(learned(context, signal, rate, cutoff, params, extend))
        meter = replicate.ProfileMeter(cutoff, signal.rate)
        for whole in _stretches(context, signal, rate):
            spectrum = stft(whole)[2:-2]  # without the ones that reach beyond the block
            meter.process(spectrum, power(spectrum))
        return _Restorer(meter.profile(), params, extend, signal.rate, context.seed)


def _is_whole(context: Context, params: RestoreParams) -> bool:
    mpeg = context.analysis.mpeg
    if params.engine != "learned" or mpeg is None:
        return False
    lowpass = mpeg.lame.lowpass if mpeg.lame is not None else 0
    return mpeg.bitrate >= _GENEROUS or lowpass >= _HIGHEST_CUTOFF


def _extends(context: Context, params: RestoreParams) -> bool:
    is_known = context.analysis.cutoff.confidence >= _BELIEVED or context.cutoff != context.analysis.cutoff.hz
    cutoff = context.cutoff
    if cutoff is None or cutoff >= _HIGHEST_CUTOFF or not is_known or _ends_by_itself(context, params):
        return False
    return cutoff + _LEAST_BAND <= _end_before(context, params)


def _end_before(context: Context, params: RestoreParams) -> float:
    """Hz up to which there was anything, as far as can be told, when the MP3 was made; infinite where nothing tells."""
    left = context.analysis.figures.earlier
    if params.engine != "learned" or params.beyond_end or context.analysis.mpeg is None or not left:
        return math.inf
    return _COARSE_BEFORE if left >= COARSE_EARLIER else _FINE_BEFORE


def _ends_by_itself(context: Context, params: RestoreParams) -> bool:
    """Whether nothing is to be made above the song's own end; what comes along the chain may end elsewhere."""
    analysis = context.analysis
    asked = params.engine == "learned" and not params.beyond_end
    return asked and context.cutoff == analysis.cutoff.hz and analysis.ends_by_itself


def _stretches(context: Context, signal: Signal, rate: int) -> Iterator[Audio]:
    """The signal at ``rate`` Hz in blocks of whole hops, as far as they are long enough for a window."""
    for block in resample_all(read_blocks(signal, _PROFILE_BLOCK), signal.rate, rate):
        context.checkpoint()
        if len(block) >= FFT:
            yield block[: len(block) // HOP * HOP]


def learned(
    context: Context, signal: Signal, rate: int, cutoff: float, params: RestoreParams, extend: bool
) -> synthesis.Restorer:  # fmt: skip
    """The learned engine for one of the task's signals, which was heard as a whole, at ``rate`` Hz."""
    meter, image = SongMeter(cutoff, rate), replicate.ImageMeter(cutoff, rate)
    for whole in _stretches(context, signal, rate):
        spectrum = stft(whole, HANN)[2:-2]
        meter.process(power(spectrum))
        image.process(spectrum)
    mpeg = context.analysis.mpeg
    return synthesis.Restorer(
        song=meter.facts(mpeg.bitrate / 1000 if mpeg is not None and mpeg.bitrate else None),
        correlation=image.correlation(),
        cutoff=cutoff,
        rate=rate,
        holes=params.fill_holes,
        extend=extend,
        top=min(params.top_hz if params.top_hz < _PLAIN_TOP else _LEARNED_TOP, _end_before(context, params)),
        caution=params.caution,
        seed=context.seed,
    )


def _adding(restorer: synthesis.Restorer) -> Processor:
    def process(window: Audio, start: int) -> Audio:
        own = slice(_CONTEXT, len(window) - _CONTEXT)
        song = window[own]
        return song + duck_addition(song, restorer(window, start - _CONTEXT)[own])

    return process


def _cleaned(restore: Processor, rate: int, coding: Coding, amount: float) -> Processor:
    """The same, without the noise ahead of attacks that the song itself has."""

    def process(window: Audio, start: int) -> Audio:
        own = slice(_CONTEXT, len(window) - _CONTEXT)
        return (
            restore(window, start) + pre_echo_correction(window, rate, find_onsets(window, rate), coding, amount)[own]
        )

    return process


@dataclass(frozen=True)
class _Restorer:
    """The plain engine."""

    profile: replicate.BandProfile
    params: RestoreParams
    extend: bool
    rate: int
    seed: int

    def __call__(self, window: Audio, start: int) -> Audio:
        """See :class:`engine.stages.base.Processor`."""
        spare = _CONTEXT - _PLAIN_CONTEXT
        window = window[spare : len(window) - spare]
        frames = len(window)
        padded = np.pad(window, ((0, -frames % HOP), (0, 0)))
        spectrum = stft(padded)
        powers = power(spectrum)
        noise = stft(
            white_noise(start - _PLAIN_CONTEXT, len(padded), window.shape[1], self.seed, self.profile.correlation)
        )
        made = np.zeros_like(spectrum)
        if self.params.fill_holes:
            top = bin_of(self.profile.cutoff - replicate.LEAD, self.rate)
            how = HoleFill(self.params.hole_depth_db, self.params.hole_level_db)
            scale = np.float32(1 / np.sqrt(noise_power()))
            made[:, :, :top] = fill_gains(powers, top, how) * noise[:, :, :top] * scale
        if self.extend:
            first, band = replicate.replicate(
                spectrum,
                powers,
                noise,
                self.profile,
                self.rate,
                self.params.top_hz,
                self.params.extend_level_db,
            )
            made[:, :, first : first + band.shape[2]] += band
        song = window[_PLAIN_CONTEXT : frames - _PLAIN_CONTEXT]
        added = istft(made, len(padded))[_PLAIN_CONTEXT : frames - _PLAIN_CONTEXT]
        return song + duck_addition(song, added)
