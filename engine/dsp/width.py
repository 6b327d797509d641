"""Width by frequency: gains for the side signal, within what the song and its mono fold-down can bear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.audio.loudness import KWeighting
from engine.audio.readers import Audio
from engine.dsp import equaliser
from engine.dsp.bands import ramp
from engine.dsp.equaliser import Curve

_WINDOW = 0.046  # seconds
_LOWEST = 63.0  # Hz, the middle of the first band
# Measured on LAME encodings whose originals are known (python -m benchmarks.masters MUSIC --sides): where the side's
# error is as large as the side itself, it lies low beside the mid, and is missing now and then.
_BELIEVED = (-20.0, -10.0)  # dB beside the mid from which to which a side is believed
_THERE = -40.0  # dB beside the mid; what is lower was left out by the encoder
_OFTEN = (0.5, 0.95)  # share of the time in which a side that is believed is there
_FOLD_DOWN = 0.8  # dB by which the mean power may grow by width: by gated loudness the fold-down then loses less than 1

Gains = npt.NDArray[np.float64]


def wanted(
    frequencies: Curve, gains: tuple[float, float, float], edges: tuple[float, float], mono_below: float
) -> Gains:
    """The side's gain at ``frequencies`` in Hz: three bands that pass into each other within an octave.

    Below ``mono_below`` Hz it is 0, an octave higher what the bands say; 0 Hz: nowhere.
    """
    octaves = np.log2(np.maximum(frequencies, 1.0))
    at = [np.log2(edge) + half for edge in edges for half in (-0.5, 0.5)]
    curve = np.interp(octaves, at, [gains[0], gains[1], gains[1], gains[2]])
    if mono_below:
        curve = curve * np.clip(octaves - np.log2(mono_below), 0, 1)
    return np.asarray(curve, np.float64)


class SideMeter:
    """Looks at mid and side of a stereo stream per third of an octave; constant memory."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._size = 1 << round(np.log2(_WINDOW * rate))
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        frequencies = np.asarray(np.fft.rfftfreq(self._size, 1 / rate), np.float64)
        count = int(np.floor(3 * np.log2(rate / 2 / _LOWEST))) + 1
        self.centres: Curve = _LOWEST * 2 ** (np.arange(count) / 3)
        self._shares = equaliser.third_octaves(frequencies, self.centres).T
        self._mid, self._side, self._there = np.zeros((3, count))
        self._rest = np.zeros((0, 2), np.float32)

    def process(self, block: Audio) -> None:
        """Take the next ``(frames, 2)``; what fills no window at the end is left out."""
        data = np.concatenate([self._rest, block])
        count = len(data) // self._size
        windows = data[: count * self._size].reshape(count, self._size, 2)
        self._rest = data[count * self._size :].copy()
        left, right = (np.asarray(windows[:, :, channel] * self._window, np.float32) for channel in (0, 1))
        half = np.float32(0.5)
        mid, side = self._bands((left + right) * half), self._bands((left - right) * half)
        self._mid += mid.sum(axis=0)
        self._side += side.sum(axis=0)
        self._there += (mid * (side > mid * 10 ** (_THERE / 10))).sum(axis=0)

    def _bands(self, windows: Audio) -> npt.NDArray[np.float64]:
        spectrum = np.fft.rfft(windows, axis=1)
        return np.asarray((spectrum.real**2 + spectrum.imag**2) @ self._shares, np.float64)

    def trust(self, top: float | None) -> Gains:
        """How much of each band's side is sound and not what an encoder left of it, 0 to 1.

        Nothing above ``top`` Hz, up to which the song is whole: the width of what was generated was chosen for it.
        """
        beside = 10 * np.log10((self._side + 1e-20) / (self._mid + 1e-20))
        often = self._there / np.maximum(self._mid, 1e-20)
        believed = ramp(beside, _BELIEVED) * ramp(often, _OFTEN)
        whole = self.centres * 2 ** (1 / 6) <= (top if top is not None else self._rate / 2)
        return np.where(whole, believed, 0.0)

    def bearable(self, gains: Gains, top: float | None) -> Gains:
        """``gains`` of the side per band, with less of what widens: where the side is not to be trusted, and as much
        as keeps the mono fold-down within 1 dB beside the whole (by mean K-weighted power)."""
        more = np.maximum(gains - 1, 0.0) * self.trust(top)
        narrow = np.minimum(gains, 1.0)
        weights = KWeighting(self._rate, 1).power(self.centres, self._rate)
        before = float(weights @ (self._mid + self._side))
        room = before * 10 ** (_FOLD_DOWN / 10) - float(weights @ self._mid)
        low, high = 0.0, 1.0
        for _ in range(30):
            share = (low + high) / 2
            loud = float(weights @ ((narrow + share * more) ** 2 * self._side))
            low, high = (share, high) if loud <= room else (low, share)
        share = 1.0 if float(weights @ ((narrow + more) ** 2 * self._side)) <= room else low
        return narrow + share * more
