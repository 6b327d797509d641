"""Spectral holes: time-frequency cells that an encoder set to zero because bits ran short.

Source: Erne 2001, "Perceptual audio coders: what to listen for" (AES 111), on "birdies" and band-limiting that comes
and goes; measured as in :mod:`engine.dsp.holes`, in cells of eight bins, so that single weak bins do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.dsp.spectrum import FFT, FLOOR, Power

EDGES = (1000.0, 4000.0, 8000.0, 12000.0, 16000.0)  # Hz of the bands that holes are told of
_CELL = 8  # bins
_TIME = 15  # spectra of the surroundings
_NEAR = 7  # cells of the surroundings
_WIDE = 51  # cells that tell how loud the moment is
_ATTACK_MARGIN = 3.0  # power by which the surroundings may stand above the moment
_DEPTH = 100.0  # power by which a hole lies below its surroundings
_QUIET = 3.0  # times the power of 16-bit rounding noise, below which there is nothing to be missed
_GUARD = 600.0  # Hz below the cutoff, where its own slope begins
_QUIET_SHARE = 0.25  # of the moments, the quietest, that count as tails


@dataclass(frozen=True)
class Holes:
    """Shares (0 to 1) of the cells that are holes: from 1 kHz to the cutoff, in each of the bands of :data:`EDGES`
    (None where the cutoff lies below them) and in the quietest quarter of the moments."""

    share: float
    by_band: tuple[float | None, ...]
    in_tails: float


class HoleMeter:
    """Counts holes and cells per frequency over power spectra."""

    def __init__(self, rate: int) -> None:
        cells = (FFT // 2) // _CELL
        self._centres = (np.arange(cells) + 0.5) * _CELL * rate / FFT
        self._holes = np.zeros((2, cells))  # in all moments, in the quiet ones
        self._cells = np.zeros((2, cells))

    def process(self, powers: Power) -> None:
        """Take power spectra ``(time, channels, bins)`` of one piece."""
        cells = powers[:, :, : FFT // 2].reshape(len(powers), powers.shape[1], -1, _CELL).mean(axis=3)
        holes, heard = find_holes(cells)
        loudness = cells.sum(axis=(1, 2))
        quiet = loudness <= np.quantile(loudness, _QUIET_SHARE)
        for place, chosen in enumerate((slice(None), quiet)):
            self._holes[place] += holes[chosen].sum(axis=(0, 1))
            self._cells[place] += heard[chosen].sum(axis=(0, 1))

    def result(self, cutoff: float | None) -> Holes:
        """What was found below ``cutoff`` Hz (None: up to the last edge)."""
        top = min(EDGES[-1], cutoff - _GUARD) if cutoff is not None else EDGES[-1]
        bands = pairwise(EDGES)
        return Holes(
            self._share(0, EDGES[0], top) or 0.0,
            tuple(self._share(0, low, min(high, top)) if low < top else None for low, high in bands),
            self._share(1, EDGES[0], top) or 0.0,
        )

    def _share(self, place: int, low: float, high: float) -> float | None:
        band = (self._centres >= low) & (self._centres < high)
        total = float(self._cells[place, band].sum())
        return round(float(self._holes[place, band].sum()) / total, 4) if total else None


def find_holes(cells: Power) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(which of the cells ``(time, channels, cells)`` are holes, which have surroundings that can be heard)."""
    from scipy.ndimage import uniform_filter, uniform_filter1d

    floor = _QUIET * FLOOR
    around = uniform_filter(cells, size=(_TIME, 1, _NEAR), mode="nearest")
    moment = uniform_filter1d(cells, _WIDE, axis=2, mode="nearest")
    usual = uniform_filter1d(moment, _TIME, axis=0, mode="nearest")
    around *= np.minimum(1.0, _ATTACK_MARGIN * np.maximum(moment, floor) / np.maximum(usual, floor))
    heard = around > floor
    return heard & (cells * np.float32(_DEPTH) < around), heard
