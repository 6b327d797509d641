"""Streaming level meters: integrated loudness and true peak (ITU-R BS.1770-4, EBU R 128)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import soxr

from engine.audio.readers import Audio

SILENCE_DB = -200.0
BLOCK_BIN = 0.1  # LU
Blocks = dict[int, int]  # how many blocks of 400 ms had a loudness of so many times BLOCK_BIN LUFS
_ABSOLUTE_GATE = -70.0  # LUFS
_STEPS_PER_BLOCK = 4  # 400 ms blocks that overlap by 75 %
_SURROUND_WEIGHT = 1.41
_OVERSAMPLING = 4


def decibels(amplitude: float) -> float:
    """``amplitude`` (1.0 is full scale) in dB; :data:`SILENCE_DB` for nothing."""
    return 20 * math.log10(amplitude) if amplitude > 1e-10 else SILENCE_DB


class KWeighting:
    """The K-weighting of BS.1770-4 as a running filter over blocks of ``(frames, channels)``."""

    def __init__(self, rate: int, channels: int) -> None:
        import pyloudnorm  # brings all of scipy.signal, a second of start-up

        filters = pyloudnorm.Meter(rate)._filters
        self._sos = np.array([np.concatenate([f.b, f.a]) for f in filters.values()])
        self._state = np.zeros((len(self._sos), 2, channels))

    def power(self, frequencies: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
        """By what the power at ``frequencies`` in Hz is multiplied, at the ``rate`` that it was made for."""
        from scipy.signal import sosfreqz

        return np.asarray(np.abs(sosfreqz(self._sos, frequencies, fs=rate)[1]) ** 2)

    def process(self, block: Audio) -> npt.NDArray[np.float64]:
        """The next block, weighted."""
        from scipy.signal import sosfilt

        weighted, self._state = sosfilt(self._sos, block, axis=0, zi=self._state)
        return np.asarray(weighted)


class LoudnessMeter:
    """Integrated loudness in LUFS of a stream of blocks, in constant memory but for one number per 100 ms.

    pyloudnorm holds the whole song as float64, which a three-hour file does not allow; so only its K-weighting
    filters are used, and the gating of BS.1770-4 (-70 LUFS absolute, -10 LU relative) is done here. The tests
    hold the two against each other.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._weighting = KWeighting(rate, channels)
        self._weights = np.ones(channels)
        self._weights[3:5] = _SURROUND_WEIGHT
        self._step = rate / 10
        self._index = 0
        self._position = 0
        self._sum = 0.0
        self._steps: list[float] = []

    def process(self, block: Audio) -> None:
        """Take the next ``(frames, channels)``."""
        weighted = self._weighting.process(block)
        power = (weighted * weighted) @ self._weights
        cumulative = np.concatenate([[0.0], np.cumsum(power)])
        done = 0
        while True:
            end = round((self._index + 1) * self._step) - self._position
            if end > len(power):
                break
            self._steps.append((self._sum + cumulative[end] - cumulative[done]) / self._step)
            self._sum, done = 0.0, end
            self._index += 1
        self._sum += float(cumulative[-1] - cumulative[done])
        self._position += len(power)

    @property
    def steps(self) -> npt.NDArray[np.float64]:
        """K-weighted mean square of every 100 ms so far, summed over channels."""
        return np.array(self._steps)

    def blocks(self) -> Blocks:
        """How many blocks of 400 ms were how loud, as far as they are above the absolute gate."""
        loud = _lufs(_block_powers(self._steps))
        bins, counts = np.unique(np.round(loud[loud > _ABSOLUTE_GATE] / BLOCK_BIN), return_counts=True)
        return dict(zip(bins.astype(int).tolist(), counts.tolist(), strict=True))

    def integrated(self) -> float:
        """LUFS of all that was taken; :data:`SILENCE_DB` where everything is below the absolute gate."""
        return gated_loudness(np.array(self._steps))


def _block_powers(steps: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """K-weighted mean square of every block, from that of every 100 ms."""
    if len(steps) < _STEPS_PER_BLOCK:
        return np.zeros(0)
    return np.convolve(steps, np.full(_STEPS_PER_BLOCK, 1 / _STEPS_PER_BLOCK), "valid")


def _lufs(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-30)) - 0.691, np.float64)


def gated_loudness(steps: npt.NDArray[np.float64]) -> float:
    """BS.1770-4 integrated loudness from the K-weighted mean square of every 100 ms."""
    blocks = _block_powers(steps)
    loud = blocks[blocks > 10 ** ((_ABSOLUTE_GATE + 0.691) / 10)]
    if not len(loud):
        return SILENCE_DB
    kept = loud[loud > loud.mean() / 10]
    return float(-0.691 + 10 * np.log10(kept.mean()))


def loudness_together(songs: Iterable[Blocks]) -> float:
    """BS.1770-4 integrated loudness of several songs as if they were one, within 0.05 LU; see :data:`Blocks`."""
    counts: Counter[int] = Counter()
    for blocks in songs:
        counts.update(blocks)
    if not counts:
        return SILENCE_DB
    return gated_mean(np.array(list(counts.values()), np.float64), np.array(list(counts)) * BLOCK_BIN)


def gated_mean(counts: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> float:
    """Mean level in dB of a histogram, without what lies 10 dB and more below that of all (BS.1770's relative gate)."""
    power = 10 ** (levels / 10)
    kept = counts * (power > counts @ power / counts.sum() / 10)
    return float(10 * np.log10(kept @ power / kept.sum()))


class TruePeakMeter:
    """Largest absolute value of the signal, four times oversampled (BS.1770-4 Annex 2)."""

    def __init__(self, rate: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(rate, rate * _OVERSAMPLING, channels, "float32", quality="HQ")
        self._channels = channels
        self._peak = 0.0

    def process(self, block: Audio) -> None:
        """Take the next ``(frames, channels)``."""
        self._peak = max(self._peak, _peak(self._stream.resample_chunk(block)), _peak(block))

    def true_peak(self) -> float:
        """The peak as an amplitude (1.0 is full scale). Ends the stream."""
        rest = np.zeros((0, self._channels), np.float32)
        self._peak = max(self._peak, _peak(self._stream.resample_chunk(rest, last=True)))
        return self._peak


def _peak(block: Audio) -> float:
    return float(np.abs(block).max()) if len(block) else 0.0
