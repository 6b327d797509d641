"""The offline restorer: fills the holes below the cutoff and rebuilds the band above it, without any model.

It only adds: what the MP3 kept passes untouched. Everything it makes depends on the song as a whole (its slope,
its stereo image, how far its loudest moments reach) and on the moment, never on where a chunk begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp import replicate
from engine.dsp.headroom import duck_addition
from engine.dsp.holes import HoleFill, fill_gains
from engine.dsp.spectrum import FFT, HOP, bin_of, istft, noise_power, power, stft, white_noise
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter, read_blocks

_SIZE = 2560 * HOP  # 30 s at 44.1 kHz
_OVERLAP = 8 * HOP
_CONTEXT = 32 * HOP  # beyond what the averages of holes.py see, and one window
_PROFILE_BLOCK = 256 * HOP
_BELIEVED = 0.5  # confidence in the cutoff from which on the band above it is rebuilt
_HIGHEST_CUTOFF = 19500.0  # Hz; above, there is nothing to hear


@dataclass(frozen=True)
class RestoreParams(Params):
    fill_holes: bool = parameter(True, "fill the spectral holes below the cutoff with noise")
    hole_depth_db: float = parameter(
        30.0, "how far below its surroundings a bin must lie to be a hole", unit="dB", low=6.0, high=60.0
    )
    hole_level_db: float = parameter(
        17.0, "how far below their surroundings holes are filled up to", unit="dB", low=6.0, high=60.0
    )
    extend: bool = parameter(True, "rebuild the band above the cutoff")
    extend_level_db: float = parameter(
        -1.0,
        "level of the new band against what the song's own slope promises",
        unit="dB",
        low=-24.0,
        high=6.0,
    )
    top_hz: float = parameter(21500.0, "where the new band ends", unit="Hz", low=4000.0, high=24000.0)


class Restore(ChunkedStage):
    """Hole filling and band replication (see :mod:`engine.dsp.holes` and :mod:`engine.dsp.replicate`)."""

    name = "restore"
    title = "Offline restorer"
    cost = 0.04
    Parameters = RestoreParams

    def geometry(self, signal: Signal) -> ChunkGeometry:
        return ChunkGeometry(_SIZE, _OVERLAP, _CONTEXT)

    def cutoff_after(self, before: float | None, params: RestoreParams) -> float | None:
        return None if params.extend else before

    def note(self, context: Context, params: RestoreParams) -> str:
        cutoff = context.analysis.cutoff.hz
        if cutoff is None:
            return "nothing was cut off, so nothing was made"
        made = []
        if params.extend and _extends(context):
            made.append(f"generated above {cutoff / 1000:.1f} kHz")
        if params.fill_holes:
            made.append("holes below filled with noise")
        return ", ".join(made) or "nothing was made"

    def prepare(self, context: Context, params: RestoreParams) -> Processor | None:
        cutoff = context.analysis.cutoff.hz
        extend = params.extend and _extends(context)
        if cutoff is None or not (extend or params.fill_holes):
            context.warn("This song has no cutoff that could be found: the offline restorer left it as it is.")
            return None
        signal = context.input
        profile = _profile(context, signal, min(cutoff, 0.98 * signal.rate / 2))
        return _Restorer(profile, params, extend, signal.rate, context.seed)


def _extends(context: Context) -> bool:
    cutoff = context.analysis.cutoff
    return cutoff.hz is not None and cutoff.hz < _HIGHEST_CUTOFF and cutoff.confidence >= _BELIEVED


def _profile(context: Context, signal: Signal, cutoff: float) -> replicate.BandProfile:
    meter = replicate.ProfileMeter(cutoff, signal.rate)
    for block in read_blocks(signal, _PROFILE_BLOCK):
        context.checkpoint()
        if len(block) >= FFT:
            whole = block[: len(block) // HOP * HOP]
            spectrum = stft(whole)[2:-2]  # without the ones that reach beyond the block
            meter.process(spectrum, power(spectrum))
    return meter.profile()


@dataclass(frozen=True)
class _Restorer:
    profile: replicate.BandProfile
    params: RestoreParams
    extend: bool
    rate: int
    seed: int

    def __call__(self, window: Audio, start: int) -> Audio:
        """See :class:`engine.stages.base.Processor`."""
        frames = len(window)
        padded = np.pad(window, ((0, -frames % HOP), (0, 0)))
        spectrum = stft(padded)
        powers = power(spectrum)
        noise = stft(white_noise(start - _CONTEXT, len(padded), window.shape[1], self.seed, self.profile.correlation))
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
        song = window[_CONTEXT : frames - _CONTEXT]
        added = istft(made, len(padded))[_CONTEXT : frames - _CONTEXT]
        return song + duck_addition(song, added)
