"""Where a song's spectrum was cut off by its encoder.

One decision per song: the low-pass that LAME wrote into its tag, checked against the long-term average
spectrum; without a tag the steepest drop of that spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.audio.mpeg import believable_lowpass
from engine.audio.readers import Audio
from engine.dsp.channels import windows

_FFT = 4096
_HALF_WINDOW = 700.0  # Hz on both sides of a candidate; measured as the best on LAME encodings
_BIAS = 120.0  # Hz by which the middle of the drop lies below the encoder's own figure
_LOWEST = 3000.0
_SFB21 = 16000.0  # Hz
_SURE_DROP, _POSSIBLE_DROP = 24.0, 12.0
_TRANSCODE_GAP = 1500.0
_FLOOR_RANGE = 110.0
_MUSIC_RANGE = 80.0  # dB below the loudest band down to which there is music


@dataclass(frozen=True)
class Cutoff:
    """``hz`` is None where nothing was cut off. ``confidence`` is 0 to 1."""

    hz: float | None
    source: Literal["lame tag", "measured", "sample rate", "none"]
    confidence: float


class LongTermSpectrum:
    """Mean power per frequency of a stream, summed over channels; a window every ``hop`` frames, at most 4096."""

    def __init__(self, rate: int, hop: int = _FFT // 2) -> None:
        self.rate, self._hop = rate, hop
        self._window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
        self._power = np.zeros(_FFT // 2 + 1)
        self._rest: Audio | None = None
        self._count = 0

    def process(self, block: Audio) -> None:
        """Take the next ``(frames, channels)``."""
        data = block if self._rest is None else np.concatenate([self._rest, block])
        hop = self._hop
        if len(data) >= _FFT:
            frames = windows(data, _FFT, hop)
            for part in np.array_split(frames, max(1, len(frames) // 64)):
                spectrum = np.fft.rfft(np.multiply(part, self._window, order="C"), axis=-1)
                self._power += (spectrum.real**2 + spectrum.imag**2).sum(axis=(0, 1))
            self._count += len(frames)
            data = data[len(frames) * hop :]
        self._rest = data.copy()

    def decibels(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(frequencies in Hz, mean power in dB)."""
        power = self._power / max(1, self._count)
        frequencies = np.arange(_FFT // 2 + 1, dtype=np.float64) * (self.rate / _FFT)
        return frequencies, np.asarray(10 * np.log10(power + 1e-20), np.float64)


def steepest_drop(frequencies: npt.NDArray[np.float64], level: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(frequency in Hz, drop in dB) at which the mean level below and above differ most; no drop where the spectrum
    is too narrow to look at."""
    level = np.maximum(level, level.max() - _FLOOR_RANGE)
    half = max(2, int(_HALF_WINDOW / frequencies[1]))
    if 2 * half >= len(level):
        return float(frequencies[-1]), 0.0
    total = np.concatenate([[0.0], np.cumsum(level)])
    at = np.arange(half, len(level) - half)
    drop = (2 * total[at] - total[at - half] - total[at + half]) / half
    drop[frequencies[at] < _LOWEST] = -1.0
    best = int(np.argmax(drop))
    return float(frequencies[at[best]]) + _BIAS, float(drop[best])


def _goes_on(frequencies: npt.NDArray[np.float64], level: npt.NDArray[np.float64], above: float) -> bool:
    """Whether the music goes on above a frequency as if there were no low-pass."""
    higher = level[(frequencies > above + 1000) & (frequencies < above + 2000)]
    lower = level[(frequencies > above - 1500) & (frequencies < above - 500)]
    if not len(higher) or higher.mean() < level.max() - _MUSIC_RANGE:
        return False
    return bool(lower.mean() - higher.mean() < _POSSIBLE_DROP)


@dataclass(frozen=True)
class CutoffShape:
    """How a spectrum ends: the steepest fall (``drop`` in dB within 1.4 kHz, at ``hz``), and by how many dB it is lower
    above 16 kHz than below, apart from that (``shelf``; 0: not at all, or it ends before).

    What lies above 16 kHz (at 44.1 kHz) is in the last band of Layer III, sfb21, which has no scale factor of its own
    (ISO/IEC 11172-3, 2.4.3.4.7 and table B.8): in VBR it is often coarser than all below it, or spared altogether.
    """

    hz: float
    drop: float
    shelf: float


def shape_of(spectrum: LongTermSpectrum) -> CutoffShape:
    """How the spectrum of a song ends."""
    frequencies, level = spectrum.decibels()
    hz, drop = steepest_drop(frequencies, level)
    below = level[(frequencies > _SFB21 - 800) & (frequencies < _SFB21 - 100)]
    above = level[(frequencies > _SFB21 + 100) & (frequencies < min(_SFB21 + 800, hz - 500))]
    usual = level[(frequencies > _SFB21 - 2200) & (frequencies < _SFB21 - 1500)]
    shelf = 0.0
    if len(above) and len(below) and len(usual):
        slope = max(0.0, float(usual.mean() - below.mean()))  # of the music itself, over the same distance
        shelf = max(0.0, float(below.mean() - above.mean()) - slope)
    return CutoffShape(round(hz, 1), round(max(0.0, drop), 1), round(shelf, 1))


def find_cutoff(spectrum: LongTermSpectrum, tag_lowpass: int) -> tuple[Cutoff, str]:
    """The song's cutoff and a warning (empty where there is nothing to say).

    Args:
        spectrum: of the whole song at the rate of the file.
        tag_lowpass: Hz from the LAME tag, 0 where it says nothing.
    """
    frequencies, level = spectrum.decibels()
    nyquist = spectrum.rate / 2
    if level.max() < -100:
        return Cutoff(None, "none", 0.0), ""
    measured, drop = steepest_drop(frequencies, level)
    said = believable_lowpass(tag_lowpass, spectrum.rate)
    doubt = ""
    if 0 < tag_lowpass < nyquist and (not said or _goes_on(frequencies, level, said)):
        said = 0
        doubt = (
            f"The encoder says it kept nothing above {tag_lowpass / 1000:.1f} kHz, which is not true; the cutoff was "
            "measured instead."
        )
    if said:
        if drop >= _SURE_DROP and measured < tag_lowpass - _TRANSCODE_GAP:
            return (
                Cutoff(measured, "measured", 0.8),
                f"The encoder says it kept everything up to {tag_lowpass / 1000:.1f} kHz, but the music ends at "
                f"{measured / 1000:.1f} kHz: it was made from another lossy file, or recorded without more.",
            )
        return Cutoff(float(tag_lowpass), "lame tag", 0.95), ""
    if drop >= _POSSIBLE_DROP:
        confidence = min(0.9, 0.3 + 0.6 * (drop - _POSSIBLE_DROP) / (_SURE_DROP - _POSSIBLE_DROP))
        return Cutoff(min(measured, 0.99 * nyquist), "measured", round(confidence, 2)), doubt
    if spectrum.rate < 44100:
        return Cutoff(0.97 * nyquist, "sample rate", 0.7), doubt
    return Cutoff(None, "none", round(1 - max(0.0, drop) / _SURE_DROP, 2)), doubt
