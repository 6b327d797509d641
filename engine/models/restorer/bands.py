"""The bands that the learned restorer hears in: narrow below, where pitch lies, wide above, where noise lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engine.dsp.spectrum import BINS, FFT, Power

#: (upper end in Hz, width in Hz): 82 bands up to 22 kHz, whatever the sample rate.
_LAYOUT = ((1000, 125.0), (2000, 1000 / 6), (16000, 250.0), (22000, 500.0))


def _edges() -> npt.NDArray[np.float64]:
    edges = [0.0]
    for end, width in _LAYOUT:
        count = round((end - edges[-1]) / width)
        edges.extend(np.linspace(edges[-1], end, count + 1)[1:])
    return np.asarray(edges)


EDGES = _edges()
COUNT = len(EDGES) - 1
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


@dataclass(frozen=True)
class BandGrid:
    """The bands on the bins of one sample rate.

    ``starts`` is the first bin of each band and the end of the last one, ``widths`` in bins; ``spread`` of shape
    ``(COUNT, BINS)`` draws straight lines between the middles of the bands.
    """

    starts: npt.NDArray[np.intp]
    widths: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]

    @property
    def top(self) -> int:
        """The first bin above all bands."""
        return int(self.starts[-1])

    def sum(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Sums of ``(..., BINS)`` over each band: ``(..., COUNT)``."""
        return np.add.reduceat(values[..., : self.top], self.starts[:-1], axis=-1, dtype=np.float32)

    def mean(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Means of ``(..., BINS)`` over each band: ``(..., COUNT)``."""
        return self.sum(values) / self.widths

    def repeat(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``(..., COUNT)`` as steps over the bins below :attr:`top`."""
        return np.repeat(values, self.widths.astype(np.intp), axis=-1)


@lru_cache(maxsize=4)
def band_grid(rate: int) -> BandGrid:
    """The grid at ``rate`` Hz (44.1 kHz and more)."""
    starts = np.round(EDGES * FFT / rate).astype(np.intp)
    frequencies = np.arange(BINS) * (rate / FFT)
    spread = np.stack([np.interp(frequencies, CENTRES, row) for row in np.eye(COUNT)]).astype(np.float32)
    return BandGrid(starts, np.diff(starts).astype(np.float32), spread)


def decibels(power: Power) -> Power:
    """10 log10, from -100 dB on."""
    return np.asarray(10 * np.log10(power + np.float32(1e-10)), np.float32)
