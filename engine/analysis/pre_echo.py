"""Pre-echo: the noise that an encoder spreads ahead of an attack, over the length of its block.

Source: Painter and Spanias 2000, "Perceptual coding of digital audio", II-F. A long block of an MP3 spans 1,152 samples
(26 ms at 44.1 kHz): what rises in that time before an attack, above the moment before it, is such noise (or a sound of
its own, which is why the median of many attacks is told). Only attacks out of near silence count here, as others hide
it; all onsets, to the sample, are found by :mod:`engine.dsp.onsets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

_STEP = 64  # frames of an energy
_NEAR = (3, 10)  # steps before the attack in which pre-echo lies: 4 to 15 ms at 44.1 kHz
_FAR = (20, 32)  # steps before the attack that tell what was there: 29 to 46 ms
_AFTER = 4  # steps from the attack on
_ATTACK = 100.0  # power by which an attack stands above what was there
_SUDDEN = 30.0  # power by which it stands above the time right before it: what swells is no attack
_APART = 60  # steps between attacks
_TREBLE = 5000.0  # Hz from which on it is listened for: attacks, and the noise that is heard before them
_FLOOR = (1 / 32768) ** 2 / 12  # power of 16-bit rounding
_ENOUGH = 8  # attacks, before anything is told
_CLEAR = 6.0  # dB

_Mean = Callable[[int, int], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class PreEcho:
    """``attacks`` that were looked at; ``rise`` in dB (median) of the last 15 ms before them above the time before;
    ``share`` (0 to 1) of the attacks with more than 6 dB. Both 0 where there were too few."""

    attacks: int
    rise: float
    share: float


@cache
def _high_pass(rate: int) -> npt.NDArray[np.float64]:
    """Of the treble, as second-order sections: designing it takes as long as filtering a second of music."""
    from scipy.signal import butter

    return np.asarray(butter(4, _TREBLE, "high", fs=rate, output="sos"))


class PreEchoMeter:
    """Looks for attacks in pieces of a song; all channels are heard as one."""

    def __init__(self, rate: int) -> None:
        self._treble = _high_pass(rate) if rate > 2.2 * _TREBLE else None
        self._rises: list[float] = []

    def process(self, piece: Audio) -> None:
        """Take ``(frames, channels)``."""
        self._rises += rises(self.energy(piece))

    def energy(self, piece: Audio) -> npt.NDArray[np.float64]:
        """Power of the treble per 64 frames of ``(frames, channels)``; nothing where the rate holds none."""
        from scipy.signal import sosfilt

        if self._treble is None:
            return np.zeros(0)
        steps = len(piece) // _STEP
        treble = sosfilt(self._treble, piece[: steps * _STEP], axis=0)
        power = (treble**2).reshape(steps, _STEP, -1).sum(axis=(1, 2))
        return np.asarray(power / _STEP + _FLOOR * piece.shape[1])

    def result(self) -> PreEcho:
        """What was found."""
        found = np.array(self._rises)
        if len(found) < _ENOUGH:
            return PreEcho(len(found), 0.0, 0.0)
        return PreEcho(
            len(found), round(float(np.median(found)), 2), round(float(np.mean(found > _CLEAR)), 3)
        )  # fmt: skip


def rises(energy: npt.NDArray[np.float64]) -> list[float]:
    """dB by which the time right before each attack stands above the time before that, of powers per 64 frames."""
    return rises_at(energy, attacks(energy))


def attacks(energy: npt.NDArray[np.float64]) -> list[int]:
    """At which of the powers per 64 frames something begins out of (near) silence, the clearest first."""
    at, mean = _means(energy)
    if not len(at):
        return []
    contrast = np.where(mean(0, _AFTER) > _SUDDEN * _near(mean), mean(0, _AFTER) / _far(mean), 0)
    found: list[int] = []
    while (best := int(np.argmax(contrast))) >= 0 and contrast[best] > _ATTACK:
        found.append(int(at[best]))
        contrast[max(0, best - _APART) : best + _APART] = 0
    return found


def rises_at(energy: npt.NDArray[np.float64], places: Sequence[int]) -> list[float]:
    """The same rise in dB, ahead of ``places`` that :func:`attacks` found in this or in another rendering."""
    at, mean = _means(energy)
    rise = 10 * np.log10(_near(mean) / _far(mean)) if len(at) else np.zeros(0)
    return [float(rise[place - _FAR[1]]) for place in places]


def _means(energy: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], _Mean]:
    """Where there is room to look around, and the mean powers there between two distances."""
    total = np.concatenate([[0.0], np.cumsum(energy)])
    at = np.arange(_FAR[1], len(energy) - _AFTER)
    return at, lambda first, last: np.asarray((total[at + last] - total[at + first]) / (last - first))


def _near(mean: _Mean) -> npt.NDArray[np.float64]:
    return mean(-_NEAR[1], -_NEAR[0])


def _far(mean: _Mean) -> npt.NDArray[np.float64]:
    return mean(-_FAR[1], -_FAR[0])
