"""The stereo image and what joint stereo does to it.

Sources: Johnston and Ferreira 1992, "Sum-difference stereo transform coding" (ICASSP): the side channel gets few bits
and comes and goes; Herre, Brandenburg and Lederer 1994, "Intensity stereo coding" (AES 96): one signal, panned, for
both channels from some frequency on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.dsp.spectrum import FFT, FLOOR, Spectrum

EDGES = (200.0, 1000.0, 4000.0, 10000.0, 16000.0)  # Hz of the bands that widths are told of
_CELL = 8  # bins
_GONE = 0.01  # of its usual power in the band, below which the side is gone
_AVERAGE = 9  # spectra and cells over which two channels are compared
_NEARLY_ONE = 0.9995  # coherence from which on two channels are one signal, panned
_APART = 0.98  # coherence below which they are two
NEAR_MONO = -40.0  # dB of side against mid
NO_SIDE = -120.0


@dataclass(frozen=True)
class Stereo:
    """Power of side against mid in dB as a whole and in the bands of :data:`EDGES` (-120: none).

    ``flicker``: share (0 to 1) of the moments in which the side is gone above 4 kHz, though it is usually there.
    ``merged``: share of the sound above 10 kHz that is one signal, panned, where it is not so below 4 kHz.
    """

    width: float
    by_band: tuple[float, ...]
    flicker: float
    merged: float


class StereoMeter:
    """Looks at the spectra of two channels."""

    def __init__(self, rate: int) -> None:
        cells = (FFT // 2) // _CELL
        self._centres = (np.arange(cells) + 0.5) * _CELL * rate / FFT
        self._mid, self._side = np.zeros(cells), np.zeros(cells)
        self._gone = self._heard = 0.0
        self._coherent = np.zeros((2, 2))  # (low, high) x (one signal, all)

    def process(self, spectra: Spectrum) -> None:
        """Take spectra ``(time, 2, bins)`` of one piece."""
        left, right = spectra[:, 0, : FFT // 2], spectra[:, 1, : FFT // 2]
        mid, side = (_cells(np.abs(x) ** 2) / 4 for x in (left + right, left - right))
        self._mid += mid.sum(axis=0)
        self._side += side.sum(axis=0)
        high = (self._centres >= EDGES[2]) & (self._centres < EDGES[4])
        usual = np.median(side[:, high], axis=0)
        there = (usual > FLOOR) & (usual > _GONE * np.median(mid[:, high], axis=0))
        heard = (mid[:, high] > FLOOR) & there
        self._gone += float((heard & (side[:, high] < _GONE * usual)).sum())
        self._heard += float(heard.sum())
        self._compare(left, right)

    def _compare(self, left: Spectrum, right: Spectrum) -> None:
        from scipy.ndimage import uniform_filter1d

        cross = (left * right.conj()).reshape(len(left), -1, _CELL).mean(axis=2)
        powers = _cells(np.abs(left) ** 2), _cells(np.abs(right) ** 2)
        smooth = [uniform_filter1d(x, _AVERAGE, axis=0) for x in (cross.real, cross.imag, *powers)]
        both = smooth[2] * smooth[3]
        coherence = (smooth[0] ** 2 + smooth[1] ** 2) / np.maximum(both, 1e-30)
        heard = both > FLOOR**2
        for place, (low, top) in enumerate(((EDGES[1], EDGES[2]), (EDGES[3], EDGES[4]))):
            band = (self._centres >= low) & (self._centres < top)
            one = coherence[:, band] > (_APART, _NEARLY_ONE)[place]
            self._coherent[place] += float((one & heard[:, band]).sum()), float(heard[:, band].sum())

    def result(self) -> Stereo:
        """What was found."""
        low, high = (one / total if total else 0.0 for one, total in self._coherent)
        return Stereo(
            self._width(0.0, 1e9),
            tuple(self._width(a, b) for a, b in pairwise(EDGES)),
            round(float(self._gone / self._heard), 4) if self._heard else 0.0,
            round(float(high), 3) if low < 0.5 else 0.0,
        )

    def _width(self, low: float, high: float) -> float:
        band = (self._centres >= low) & (self._centres < high)
        mid, side = self._mid[band].sum(), self._side[band].sum()
        if side <= 1e-12 * max(mid, 1e-12):
            return NO_SIDE
        return round(float(max(NO_SIDE, 10 * np.log10(side / max(mid, 1e-12)))), 1)


def _cells(power: np.ndarray) -> np.ndarray:
    return np.asarray(power.reshape(len(power), -1, _CELL).mean(axis=2))
