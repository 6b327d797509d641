"""The low end: harmonics of what is too low for small speakers, and one middle instead of low sides.

All filters are linear-phase with their delay taken out: what is there already keeps its phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio
from engine.audio.streams import in_step
from engine.dsp.filters import apply_fir, bandpass, lowpass

_LOWEST, _HIGHEST = 30.0, 200.0  # Hz between which the harmonics have their fundamentals
_SLOPE = 25.0  # Hz over which that band begins and ends
_MADE_TO, _MADE_SLOPE = 3 * _HIGHEST + 50, 50.0  # Hz: what is made ends above the third harmonic of the highest
_MOST_OF_RATE = 0.45
_SECOND, _THIRD = np.float32(0.8), np.float32(0.6)  # amplitudes; their squares add up to one
_LEAST = np.float32(1e-9)
_NARROWEST = 25.0  # Hz: the slope of the filter that makes a low end mono


@dataclass(frozen=True)
class Harmonics:
    """Second and third harmonics of what lies below 200 Hz, ``amount`` (0 to 1, an amplitude) against it.

    With the analytic signal ``z`` of that band they are ``z²/|z|`` and ``z³/|z|²``: as loud as the tone that they
    belong to at every moment, so that they are bounded by it (1.4 times its envelope, before ``amount``), need no
    drive, and end at three times 200 Hz, far below half of any rate of music, so that nothing is mirrored.
    """

    amount: float
    rate: int

    def added(self, blocks: Callable[[], Iterable[Audio]]) -> Iterator[Audio]:
        """The harmonics alone of a stream that can be read more than once, in step with it."""
        real, imaginary = _analytic(self.rate)
        factor = np.float32(self.amount)

        def made() -> Iterator[Audio]:
            for a, b in in_step(apply_fir(blocks(), real), apply_fir(blocks(), imaginary)):
                size = np.sqrt(a * a + b * b) + _LEAST
                second = (a * a - b * b) / size
                third = (a * a - 3 * b * b) * a / (size * size)
                yield np.asarray(factor * (_SECOND * second + _THIRD * third), np.float32)

        top = min(_MADE_TO, _MOST_OF_RATE * self.rate)
        return apply_fir(made(), bandpass(2 * _LOWEST - _SLOPE, top, _MADE_SLOPE, self.rate))


def _analytic(rate: int) -> tuple[Audio, Audio]:
    """FIRs of equal length: the band from 30 to 200 Hz, and the same a quarter of a turn later."""
    half = (_HIGHEST - _LOWEST) / 2 + _SLOPE
    taps = 2 * lowpass(half, _SLOPE, rate).astype(np.float64)
    turns = 2 * np.pi * (_LOWEST + _HIGHEST) / 2 / rate * (np.arange(len(taps)) - len(taps) // 2)
    return (taps * np.cos(turns)).astype(np.float32), (taps * np.sin(turns)).astype(np.float32)


def mono_below(blocks: Callable[[], Iterable[Audio]], top: float, rate: int) -> Iterator[Audio]:
    """Two channels of which the sides are taken away below ``top`` Hz; the middle passes as it is."""
    slope = max(_NARROWEST, top / 4)
    taps = lowpass(min(top + slope / 2, _MOST_OF_RATE * rate), slope, rate)

    def sides() -> Iterator[Audio]:
        for block in blocks():
            yield (block[:, :1] - block[:, 1:]) * np.float32(0.5)

    for block, low in in_step(blocks(), apply_fir(sides(), taps)):
        yield np.concatenate([block[:, :1] - low, block[:, 1:] + low], axis=1)
