"""Seams: clicks and level steps, which is what a badly joined chunk sounds like. In constant memory but for levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

_NEAR, _FAR = 6, 90  # frames on both sides of a jump in which it is quiet if it is a click
_MARGIN = _FAR + 4
_STANDS_OUT = 12.0  # times the RMS on both sides
_ALSO_THERE = 5.0  # the same for the plain decode: then it is the music's
_AUDIBLE = 0.003  # of full scale, of a second difference
_SLOP = 3  # frames by which the two may be apart
_SIDE = 1.0  # s on both sides of a level step
_STEP = 6.0  # dB
_SCATTER = 3.0  # times the scatter of the levels on both sides that a step must exceed
_SUDDEN = 2  # levels within which it is made
_NOTHING = 1e-10  # power of what is not heard, in full scale squared


class ClickMeter:
    """Counts the clicks of a signal that another one, its song, does not have."""

    def __init__(self) -> None:
        self._song, self._made = np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32)
        self.count = 0

    def process(self, song: Audio, made: Audio) -> None:
        """Take the next ``(frames, channels)`` of both, as many frames of each."""
        self._song = song if not len(self._song) else np.concatenate([self._song, song])
        self._made = made if not len(self._made) else np.concatenate([self._made, made])
        if len(self._made) > 4 * _MARGIN:
            self._look()
            keep = 2 * _MARGIN + 2
            self._song, self._made = self._song[-keep:].copy(), self._made[-keep:].copy()

    def _look(self) -> None:
        jumps, beside = _jumps(self._made)
        inside = slice(_MARGIN, len(jumps) - _MARGIN)
        found = np.flatnonzero((jumps > _AUDIBLE) & (jumps > _STANDS_OUT * beside))
        found = found[(found >= inside.start) & (found < inside.stop)]
        if not len(found):
            return
        own, own_beside = _jumps(self._song)
        last = -_NEAR
        for place in found:
            around = slice(place - _SLOP, place + _SLOP + 1)
            if place - last > _NEAR and not (own[around] > _ALSO_THERE * own_beside[around]).any():
                self.count += 1
            last = int(place)


def _jumps(audio: Audio) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Second differences (largest of the channels) and the larger RMS of those before and after, for each frame."""
    second = np.abs(np.diff(audio.astype(np.float64), 2, axis=0)).max(axis=1)
    total = np.concatenate([[0.0], np.cumsum(second**2)])
    count = len(second)
    at = np.arange(count)

    def rms(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        first, last = np.clip(first, 0, count), np.clip(last, 0, count)
        return np.sqrt(np.maximum(0, total[last] - total[first]) / np.maximum(1, last - first))

    return second, np.maximum(rms(at - _FAR, at - _NEAR), rms(at + _NEAR + 1, at + _FAR + 1)) + 1e-7


def count_level_steps(band: npt.NDArray[np.float64], beside: npt.NDArray[np.float64], pace: float) -> int:
    """Sudden, lasting steps of ``band`` that ``beside`` does not make, both powers (full scale squared), ``pace`` a
    second."""
    side = max(3, round(_SIDE * pace))
    if len(band) < 2 * side + _SUDDEN:
        return 0
    before, after = slice(0, len(band) - 2 * side - _SUDDEN + 1), slice(side + _SUDDEN, len(band) - side + 1)
    own, scatter, heard = _lasting(band, side)
    other = _lasting(beside, side)[0]
    step = np.abs(own[after] - own[before])
    step -= np.abs(other[after] - other[before])
    usual = np.maximum(scatter[after], scatter[before])
    step[~(heard[after] & heard[before]) | (step < _STEP) | (step < _SCATTER * usual)] = 0
    count = 0
    while (best := int(np.argmax(step))) >= 0 and step[best] > 0:
        count += 1
        step[max(0, best - 2 * side) : best + 2 * side] = 0
    return count


def _lasting(powers: npt.NDArray[np.float64], side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64],
                                                                  npt.NDArray[np.bool_]]:  # fmt: skip
    """Median level (dB) of every ``side`` powers in a row, their scatter about it, and whether they are heard."""
    windows = np.lib.stride_tricks.sliding_window_view(10 * np.log10(powers + _NOTHING), side)
    middle = np.median(windows, axis=1)
    scatter = np.median(np.abs(windows - middle[:, None]), axis=1) * 1.4826
    return middle, scatter, middle > 10 * np.log10(2 * _NOTHING)
