"""Filling a spectrum up to a level: what is lower is raised to it, what is higher passes untouched.

One rule for the holes below the cutoff and for the empty band above it. What is added is noise and, above the
cutoff, the whitened band below it: the more the original is believed to have been made of lines, the more of it.
"""

from __future__ import annotations

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.channels import summed
from engine.dsp.replicate import LEAD, copy_up
from engine.dsp.spectrum import FFT, HANN, Power, Spectrum, bin_of, istft, noise_power

_FLOOR_DB = float(10 * np.log10(noise_power(HANN) / 12 * (2 / 65536) ** 2))
_NOISE_FLATNESS = -2.5  # dB, that of white noise
_LINES = 8.0  # dB below it at which the band is all lines
_SWELL = 0.002  # s over which the loudness is told that noise follows
_SWELL_LOWEST, _SWELL_BAND = 1000.0, 3000.0  # Hz; the band below the cutoff whose loudness that is
_SILENCE = 1 / 12 * (2 / 65536) ** 2  # power of 16-bit rounding noise
_LEAST_COPY, _MOST_COPY = 0.25, 0.75  # share of the copied band in the power of the new one


def missing(powers: Power, level: Power) -> Power:
    """Power to add per bin so that none lies below ``level`` dB; both ``(time, channels, bins)``.

    Levels below 16-bit rounding noise are nothing.
    """
    wanted = np.where(level > _FLOOR_DB, np.exp(level * np.float32(np.log(10) / 10)), np.float32(0))
    return np.maximum(wanted - powers, 0)


def swell(spectrum: Spectrum, frames: int, cutoff: float, rate: int) -> Audio:
    """Gains ``(frames, 1)`` that give white noise the attacks of the band below the cutoff, for spectra made with Hann.

    A spectrum says how loud its 2,048 samples are together, not when: what is made of it would sound ahead of each
    attack. In the mean over such a window the power of the noise stays what it was.
    """
    from scipy.ndimage import uniform_filter1d

    first, last = (bin_of(f, rate) for f in (max(_SWELL_LOWEST, cutoff - _SWELL_BAND), cutoff - LEAD))
    band = np.zeros(spectrum.shape[2])
    # With soft edges: hard ones would ring ahead of every attack.
    band[first:last] = np.hanning(max(0, last - first) + 2)[1:-1]
    power = summed(istft(spectrum, frames, HANN, band).astype(np.float64) ** 2) / spectrum.shape[1] + _SILENCE
    brief, long = uniform_filter1d(power, max(1, round(_SWELL * rate)), mode="nearest"), power
    for _ in range(3):  # together as wide as the square of a Hann window, and as smooth
        long = uniform_filter1d(long, round(0.283 * FFT), mode="nearest")
    return np.asarray(np.sqrt(brief / long), np.float32)[:, None]


def carrier(
    spectrum: Spectrum,
    powers: Power,
    noise: Spectrum,
    flatness: Power,
    cutoff: float,
    rate: int,
    first: int,
    last: int,
) -> Spectrum:
    """Spectra of mean power one per bin, for every bin below ``last``: noise, and from ``first`` on a copy too.

    Args:
        noise: spectra of white noise of variance one, for the same moments (Hann window).
        flatness: dB, what the original is believed to have had, ``(time, channels, last - first)``.
        cutoff: Hz below which the copied band ends.
    """
    out = noise[:, :, :last] * np.float32(1 / np.sqrt(noise_power(HANN)))
    if last > first:
        lines = np.clip((_NOISE_FLATNESS - flatness) / _LINES, 0, 1)
        share = _LEAST_COPY + (_MOST_COPY - _LEAST_COPY) * lines
        copied = copy_up(spectrum, powers, cutoff, rate, first, last)
        out[:, :, first:] = out[:, :, first:] * np.sqrt(1 - share) + copied * np.sqrt(share)
    return out
