"""The gains with which signals add up to another one again, band by band: how stems are brought back to their mix.

Least squares per third of an octave over the whole song: the gains ``g`` minimise the energy of
``target - sum(g_i * part_i)``. A part that says little of a band (silence, or two that are alike) keeps its level
there: the problem is regularised towards ``g = 1``, which leaves parts that add up already exactly as they are.

What was added to a part (noise in its holes, say) is not in the target, and least squares turn the part down for it. So
the gains of a band can be brought, all by one factor, to where the sum is as loud as the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp import equaliser

Gains = npt.NDArray[np.float64]  # (parts, bands)

_FFT = 4096
_LOWEST = 100.0  # Hz, the end of the first band
_TOWARDS_ONE = 0.02  # of a part's own energy
_MOST = 2.0  # gains lie between 1/2 and 2 (6 dB)
_EDGE = (300.0, 200.0)  # Hz below and above the last band's end between which its gain goes over to 1
_SAME = 0.002  # what differs less from 1 is not worth a filter
_WINDOW = np.hanning(_FFT + 1)[:-1].astype(np.float32)


def band_edges(rate: int, top: float | None) -> npt.NDArray[np.float64]:
    """Edges in Hz of thirds of octaves from 0 to ``top`` (None: half the rate): one more than there are bands."""
    highest = min(top or rate / 2, rate / 2)
    edges = [0.0, _LOWEST]
    while edges[-1] * 2 ** (1 / 3) < highest:
        edges.append(edges[-1] * 2 ** (1 / 3))
    edges[-1] = highest  # the last band is as wide as what is left
    return np.array(edges)


class LevelFit:
    """Gathers the sums over a song, block by block, and solves for the gains at the end."""

    def __init__(self, parts: int, rate: int, top: float | None = None) -> None:
        """For so many parts at ``rate`` Hz, compared up to ``top`` Hz."""
        self.edges = band_edges(rate, top)
        self._rate = rate
        bins = np.round(self.edges * _FFT / rate).astype(int)
        self._bins = np.clip(bins, 0, _FFT // 2)
        bands = len(self.edges) - 1
        self._products = np.zeros((bands, parts, parts))
        self._with_target = np.zeros((bands, parts))
        self._target = np.zeros(bands)

    def process(self, target: Audio, parts: Sequence[Audio]) -> None:
        """Take one block ``(frames, channels)`` of each; what fills no window at its end is left out."""
        for start in range(0, len(target) - _FFT + 1, _FFT // 2):
            wanted = self._spectrum(target[start : start + _FFT])
            some = np.stack([self._spectrum(part[start : start + _FFT]) for part in parts])
            for band, (low, high) in enumerate(zip(self._bins[:-1], self._bins[1:], strict=True)):
                cut = some[:, low:high].reshape(len(parts), -1)
                self._products[band] += (cut @ cut.conj().T).real
                own = wanted[low:high].reshape(-1)
                self._with_target[band] += (cut @ own.conj()).real
                self._target[band] += float(np.vdot(own, own).real)

    def _spectrum(self, audio: Audio) -> npt.NDArray[np.complex64]:
        from scipy import fft

        return np.asarray(fft.rfft(audio * _WINDOW[:, None], axis=0))

    def fits(self) -> list[Fit]:
        """:meth:`gains` for each part, with the bands."""
        edges = tuple(self.edges.tolist())
        return [Fit(tuple(gains), edges) for gains in self.gains().tolist()]

    def level_fits(self) -> list[Fit]:
        """The same, by which the sum of all is as loud as the target in each band, and beyond the last as it was."""
        gains = self.gains()
        for band, products in enumerate(self._products):
            found = float(gains[:, band] @ products @ gains[:, band])
            if found > 0:
                gains[:, band] *= np.sqrt(self._target[band] / found)
        gains = np.clip(gains, 1 / _MOST, _MOST)
        *edges, end = self.edges.tolist()
        if end + _EDGE[1] >= self._rate / 2 or end - _EDGE[0] <= edges[-1]:
            return [Fit(tuple(own), (*edges, end)) for own in gains.tolist()]
        edges += [end - _EDGE[0], end, end + _EDGE[1], self._rate / 2]
        return [Fit((*own, own[-1], 1.0, 1.0), tuple(edges)) for own in gains.tolist()]

    def gains(self) -> Gains:
        """The gain of each part in each band, 1/2 to 2."""
        bands, parts = self._with_target.shape
        found = np.ones((parts, bands))
        for band in range(bands):
            products = self._products[band]
            energy = np.diag(products)
            if not energy.max() > 0:
                continue
            pull = _TOWARDS_ONE * energy + 1e-6 * energy.max()
            solved = np.linalg.solve(products + np.diag(pull), self._with_target[band] + pull)
            found[:, band] = np.clip(solved, 1 / _MOST, _MOST)
        return found


@dataclass(frozen=True)
class Fit:
    """The gain of one part in each band, and the bands' edges in Hz: one more than there are bands."""

    gains: tuple[float, ...]
    edges: tuple[float, ...]

    def is_possible(self) -> bool:
        """Whether it can have been found by a :class:`LevelFit`: what is read from a disk may be anything."""
        rising = all(low < high for low, high in pairwise(self.edges))
        return (
            rising and len(self.edges) == len(self.gains) + 1 > 1 and all(1 / _MOST <= g <= _MOST for g in self.gains)
        )

    def equaliser(self, rate: int) -> Audio | None:
        """A linear-phase FIR with the gain of every band at its middle, in between interpolated; None if it is flat.

        The gain of the last band goes on to half the rate: what was generated above the cutoff follows its stem.
        """
        gains, edges = np.array(self.gains), np.array(self.edges)
        if np.abs(gains - 1).max() < _SAME:
            return None
        curve = np.interp(np.fft.rfftfreq(_FFT, 1 / rate), (edges[:-1] + edges[1:]) / 2, gains)
        return equaliser.fir(curve)
