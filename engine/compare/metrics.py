"""How far a sound is from its original. Both are float32 ``(frames, channels)``, aligned and at the same rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.spectrum import FFT, HANN, HOP

FLOOR = float((HANN**2).sum() / 12 * (2 / 65536) ** 2)  # power of 16-bit rounding noise in a bin
_SPECTRA = 512  # at a time


def log_spectral_distance(
    original: Audio, made: Audio, rate: int, low: float = 0.0, high: float | None = None
) -> float:
    """Log-spectral distance in bels between ``low`` and ``high`` Hz (Gray and Markel, IEEE Trans. ASSP 24, 1976).

    Hann windows of 2048 frames, every 512; powers below 16-bit rounding noise count as that noise, so that nobody wins
    by what cannot be heard. Two noises of the same spectrum differ by 0.79. NaN where no window fits.
    """
    first, last = round(low * FFT / rate), FFT // 2 + 1 if high is None else round(high * FFT / rate)
    total, count = 0.0, 0
    for one, other in zip(_powers(original), _powers(made), strict=False):
        difference = np.log10(one[..., first:last]) - np.log10(other[..., first:last])
        rows = np.sqrt((difference**2).mean(axis=-1))
        total, count = total + float(rows.sum()), count + rows.size
    return total / count if count else float("nan")


def si_sdr(original: Audio, made: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio over all channels, dB (Le Roux et al., ICASSP 2019)."""
    reference, estimate = original.astype(np.float64), made.astype(np.float64)
    scale = float((reference * estimate).sum() / max(1e-20, float((reference**2).sum())))
    target = scale * reference
    kept, lost = float((target**2).sum()), float(((estimate - target) ** 2).sum())
    return float(10 * np.log10(max(1e-20, kept) / max(1e-20, lost)))


def matched(original: Audio, made: Audio) -> Audio:
    """``made`` with the one gain that brings it closest to the original: loudness is not what is compared."""
    energy = float((made.astype(np.float64) ** 2).sum())
    gain = float((original.astype(np.float64) * made).sum()) / energy if energy > 0 else 1.0
    return made * np.float32(gain) if gain > 0 else made


def common_gain(cross: npt.NDArray[np.float64], power: npt.NDArray[np.float64]) -> float:
    """The factor by which one sound is louder than another as a whole, from summed spectra.

    Per bin, ``cross`` is the real part of the products of both and ``power`` that of the other. The median over the
    bins, weighted by amplitude: a band that was taken away or made anew does not draw it. 0 where nothing is shared.
    """
    weights = np.sqrt(power)
    if not weights.sum() > 0:
        return 0.0
    ratios = cross / np.maximum(power, 1e-30)
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return max(0.0, float(ratios[order[min(half, len(order) - 1)]]))


def _powers(audio: Audio) -> Iterator[npt.NDArray[np.float64]]:
    """Power spectra ``(windows, channels, bins)``, without padding, some at a time; at least the floor."""
    if len(audio) < FFT:
        return
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(audio, np.float32), FFT, axis=0)[::HOP]
    for at in range(0, len(windows), _SPECTRA):
        spectra = np.fft.rfft(windows[at : at + _SPECTRA] * HANN, axis=-1)
        yield np.maximum(np.abs(spectra) ** 2, FLOOR)
