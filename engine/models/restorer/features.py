"""What the learned restorer hears: per moment and band of a song, and of the song as a whole.

The same code makes the features for training and at work, so that the network never meets anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.dsp.spectrum import HANN, Power, bin_of, in_parts
from engine.models.restorer.bands import CENTRES, COUNT, BandGrid, band_grid, decibels

Array = npt.NDArray[np.float32]

#: Spectra on both sides that a moment's features depend on.
REACH = 123
#: dB of 16-bit rounding noise in a bin of a spectrum with a Hann window: what lies below is not music.
FLOOR_DB = float(10 * np.log10((HANN**2).sum() / 12 * (2 / 65536) ** 2))

_LOUDNESS_FROM = 200.0  # Hz; below, a kick drum alone would decide how loud the moment is
_SMOOTH = 40.0  # spectra: standard deviation of the window over which the loudness of the moment is averaged
_SMOOTH_REACH = 120
#: dB by which a bin of 16-bit rounding noise stands out at most, nearly always.
ROUNDING = 6.0
_AROUND = 7  # spectra over which a bin's surroundings are averaged
_DEPTHS = (15.0, 30.0)  # dB below its surroundings: a hole, a deep one
_LEVEL_UNIT, _FLATNESS_UNIT = 20.0, 5.0  # dB that count as one
_LOWEST, _HIGHEST = -5.0, 3.0  # in level units
PERCENTILES = (50.0, 80.0, 97.0, 99.5)
_HISTOGRAM_FROM, _HISTOGRAM_STEPS = -100, 160  # dB, of one dB each

PER_BAND = 2 + len(_DEPTHS)
MOMENT_SIZE = PER_BAND * COUNT + 1
EDGE_BANDS = 14  # narrow ones, up to the cutoff and a little beyond: does the music end by itself before it?
SONG_SIZE = (len(PERCENTILES) + 2) * COUNT + len(PERCENTILES) * EDGE_BANDS + 3
_EDGES = np.linspace(-1600.0, 150.0, EDGE_BANDS + 1)  # Hz from the cutoff
EDGE_CENTRES = (_EDGES[1:] + _EDGES[:-1]) / 2


@dataclass(frozen=True)
class Moments:
    """Features of each moment: ``values`` ``(time, channels, MOMENT_SIZE)``.

    ``loudness`` in dB, ``(time, channels, 1)``, is what levels in ``values`` are told against.
    """

    values: Array
    loudness: Array


def moments(powers: Power, cutoff: float, rate: int) -> Moments:
    """The features of spectra made with a Hann window, ``(time, channels, bins)``; cutoff and rate in Hz."""
    from scipy.ndimage import convolve1d, uniform_filter1d

    grid = band_grid(rate)
    mean = grid.mean(powers)
    level = _audible(mean)
    around = _audible(np.maximum(uniform_filter1d(mean, _AROUND, axis=0, mode="constant"), 0))
    flatness, *shares = (np.empty_like(level) for _ in (None, *_DEPTHS))
    for some in in_parts(len(powers)):
        logs = _audible(powers[some, ..., : grid.top])
        flatness[some] = grid.mean(logs) - level[some]
        depth = grid.repeat(around[some]) - logs
        for share, limit in zip(shares, _DEPTHS, strict=True):
            share[some] = grid.mean((depth > limit).astype(np.float32))
    heard = slice(int(np.searchsorted(CENTRES, _LOUDNESS_FROM)), max(4, int(np.searchsorted(CENTRES, cutoff))))
    window = np.exp(-0.5 * (np.arange(-_SMOOTH_REACH, _SMOOTH_REACH + 1) / _SMOOTH) ** 2)
    power = convolve1d(mean[..., heard].mean(axis=-1), window / window.sum(), axis=0, mode="constant")
    loudness = np.maximum(decibels(np.maximum(power, 0)), np.float32(FLOOR_DB))[..., None]
    values = np.concatenate(
        [
            np.clip((level - loudness) / _LEVEL_UNIT, _LOWEST, _HIGHEST),
            np.clip(flatness / _FLATNESS_UNIT, -4, 0),
            *shares,
            loudness / _LEVEL_UNIT,
        ],
        axis=-1,
    )
    return Moments(np.asarray(values, np.float32), np.asarray(loudness, np.float32))


def _audible(power: Power) -> Array:
    """dB, with all that rounding noise can make told as silence: decoded files are heard as MP3s are."""
    return np.maximum(decibels(power), np.float32(FLOOR_DB + ROUNDING))


class SongMeter:
    """Collects what the song as a whole says, in constant memory; ``cutoff`` and ``rate`` in Hz."""

    def __init__(self, cutoff: float, rate: int) -> None:
        self._cutoff = cutoff
        self._grid: BandGrid = band_grid(rate)
        self._edge_bins = [bin_of(cutoff + edge, rate) for edge in _EDGES]
        self._counts = np.zeros((COUNT + EDGE_BANDS, _HISTOGRAM_STEPS), np.int64)
        self._flatness = np.zeros(COUNT)
        self._heard = np.zeros(COUNT)

    def process(self, powers: Power) -> None:
        """Take the next spectra, ``(time, channels, bins)``, made with a Hann window."""
        flat = powers.reshape(-1, powers.shape[-1])
        level = _audible(self._grid.mean(flat))
        edge = np.stack([flat[:, a : max(a + 1, b)].mean(axis=1) for a, b in pairwise(self._edge_bins)], axis=1)
        levels = np.concatenate([level, _audible(edge)], axis=1)
        at = np.clip(levels.astype(np.intp) - _HISTOGRAM_FROM, 0, _HISTOGRAM_STEPS - 1)
        at += np.arange(COUNT + EDGE_BANDS) * _HISTOGRAM_STEPS
        self._counts += np.bincount(at.ravel(), minlength=self._counts.size).reshape(self._counts.shape)
        flatness = self._grid.mean(_audible(flat[..., : self._grid.top])) - level
        heard = level > FLOOR_DB + ROUNDING
        self._flatness += (flatness * heard).sum(axis=0)
        self._heard += heard.sum(axis=0)

    def facts(self, bitrate: float | None) -> Array:
        """``(SONG_SIZE,)`` for the network; ``bitrate`` in kbit/s, None where it is not known."""
        cutoff = self._cutoff
        shares = np.cumsum(self._counts, axis=1) / max(1, int(self._counts[0].sum()))
        levels = [_HISTOGRAM_FROM + (shares < p / 100).sum(axis=1) for p in PERCENTILES]
        heard = slice(int(np.searchsorted(CENTRES, _LOUDNESS_FROM)), max(4, int(np.searchsorted(CENTRES, cutoff))))
        usual = max(10 * np.log10(np.mean(10 ** (levels[1][:COUNT][heard] / 10))), FLOOR_DB)
        known = bitrate is not None and bitrate > 0
        parts = [np.clip((level - usual) / _LEVEL_UNIT, _LOWEST, _HIGHEST) for level in levels]
        parts.append(np.clip(self._flatness / np.maximum(1, self._heard) / _FLATNESS_UNIT, -4, 0))
        parts.append(below(cutoff))
        parts.append(np.array([cutoff / 22000, np.log2(bitrate / 64) if known and bitrate else 0.0, float(known)]))
        return np.concatenate(parts).astype(np.float32)


def below(cutoff: float) -> Array:
    """1 for bands below ``cutoff`` in Hz, 0 for those above, ``(COUNT,)``."""
    return (cutoff > CENTRES).astype(np.float32)
