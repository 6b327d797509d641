"""A gentle multi-band compressor that streams: linear-phase bands, one gain per band for all channels.

The bands have the magnitudes of Linkwitz and Riley's crossovers of fourth order ("Active crossover networks for
noncoincident drivers", J. Audio Eng. Soc. 24, 1976) without their phase: each is what the one below leaves, so that
they add up to the input. Only what the gains take away is computed and subtracted: where they are 1, nothing happens.

Gains live on a grid of steps of some 2 ms that is fixed to the song: levels are means over the attack's window,
reductions are held against the release, and smoothed by the same window, centred, so that nothing is late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.loudness import gated_mean
from engine.audio.readers import Audio
from engine.dsp import equaliser

_STEP = 0.002  # seconds
_KNEE = 6.0  # dB within which compression sets in
_ABSOLUTE_GATE = -70.0  # dB, as in BS.1770
_RANGE, _BIN = (-100.0, 40.0), 0.5  # dB of the histogram of levels
_AT_ONCE = 2048  # steps
_DETECTORS = 3

Levels = npt.NDArray[np.float64]  # (steps, bands)


@dataclass(frozen=True)
class Compression:
    """How bands are compressed: ``threshold`` in dB beside a band's own mean level, times in seconds, edges in Hz."""

    ratio: float
    threshold: float
    attack: float
    release: float
    edges: tuple[float, float]


class MultiBand:
    """Compresses a song that ``read(start, end)`` gives as float32 ``(frames, channels)``, silence beyond its ends."""

    def __init__(self, how: Compression, read: Callable[[int, int], Audio], frames: int, rate: int) -> None:
        self._how, self._read, self._frames = how, read, frames
        self._step = max(1, round(_STEP * rate))
        self._reach = max(1, round(how.attack / _STEP / 2))  # steps on each side of a window
        window = np.hanning(2 * self._reach + 3)[1:-1]
        self._window = window / window.sum()
        frequencies = equaliser.grid(rate)
        self._lowpasses = [equaliser.fir(1 / (1 + (frequencies / edge) ** 4)) for edge in how.edges]
        self._decay = float(np.exp(-self._step / (how.release * rate)))

    def _parts(self) -> Iterator[tuple[int, int]]:
        """First step and number of steps of each part of the song."""
        steps = -(-self._frames // self._step)
        for first in range(0, steps, _AT_ONCE):
            yield first, min(_AT_ONCE, steps - first)

    def bands(self, start: int, end: int) -> list[Audio]:
        """The three bands of frames ``[start, end)``, low to high: they add up to the input."""
        from scipy.signal import oaconvolve

        half = len(self._lowpasses[0]) // 2
        audio = self._read(start - half, end + half)
        whole = audio[half : len(audio) - half]
        low, both = (
            np.asarray(oaconvolve(audio, taps[:, None], mode="valid", axes=0), np.float32) for taps in self._lowpasses
        )
        return [low, both - low, whole - both]

    def _levels(self, bands: list[Audio]) -> Levels:
        """Mean square per step and band."""
        squares = [np.square(band, dtype=np.float64).mean(axis=1).reshape(-1, self._step) for band in bands]
        return np.stack([square.mean(axis=1) for square in squares], axis=1)

    def mean_levels(self, checkpoint: Callable[[float], None]) -> npt.NDArray[np.float64]:
        """dB per band over the song, without its silences and soft passages; ``checkpoint`` is told the share done."""
        edges = np.arange(_RANGE[0], _RANGE[1] + _BIN, _BIN)
        counts = np.zeros((_DETECTORS, len(edges) - 1))
        for first, count in self._parts():
            checkpoint(first * self._step / self._frames)
            levels = self._levels(self.bands(first * self._step, (first + count) * self._step))
            for band, powers in enumerate(levels.T):
                counts[band] += np.histogram(_decibels(powers), edges)[0]
        return np.array([_gated(band, edges[:-1] + _BIN / 2) for band in counts])

    def blocks(self, mean: npt.NDArray[np.float64], checkpoint: Callable[[float], None]) -> Iterator[Audio]:
        """The compressed song, whose bands have the ``mean`` levels in dB."""
        before = np.zeros(_DETECTORS)
        margin = 2 * self._reach + 1
        for first, count in self._parts():
            checkpoint(first * self._step / self._frames)
            start, end = first - margin, first + count + margin
            bands = self.bands(start * self._step, end * self._step)
            reduction, before = self._reductions(self._levels(bands), mean, count, before)
            own = slice(margin * self._step, (margin + count) * self._step)
            at = (np.arange(count * self._step) + 0.5) / self._step + 0.5  # from the middle of the step before
            kept = np.arange(count + 2)
            taken = sum(
                band[own] * np.interp(at, kept, 10 ** (-falls / 20) - 1)[:, None].astype(np.float32)
                for band, falls in zip(bands, reduction.T, strict=True)
            )
            out = self._read(first * self._step, (first + count) * self._step) + taken
            yield np.asarray(out[: self._frames - first * self._step], np.float32)

    def _reductions(
        self, levels: Levels, mean: npt.NDArray[np.float64], count: int, before: npt.NDArray[np.float64]
    ) -> tuple[Levels, npt.NDArray[np.float64]]:
        """dB that each band is turned down at the ``count`` steps and one on both sides, and the release's state."""
        from scipy.ndimage import convolve1d

        reach = self._reach
        means = convolve1d(levels, self._window, axis=0, mode="constant")[reach:-reach]
        over = _decibels(means) - (mean + self._how.threshold)
        knee = np.where(np.abs(over) < _KNEE / 2, (over + _KNEE / 2) ** 2 / (2 * _KNEE), np.maximum(over, 0.0))
        wanted = (1 - 1 / self._how.ratio) * knee
        fall = self._decay ** np.arange(1, len(wanted) + 1)[:, None]
        held = np.maximum(np.maximum.accumulate(wanted / fall, axis=0), before) * fall
        smooth = convolve1d(held, self._window, axis=0, mode="nearest")[reach:-reach]
        return smooth, held[count - 1]


def _decibels(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)), np.float64)


def _gated(counts: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> float:
    """Mean level in dB of a histogram, gated as BS.1770 does; 0 where nothing is above the gate."""
    heard = counts * (levels > _ABSOLUTE_GATE)
    return gated_mean(heard, levels) if heard.any() else 0.0
