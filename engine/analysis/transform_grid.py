"""Whether a signal went through Vorbis or AAC before, told from the signal alone, and how coarsely.

Both round a song in blocks of 1,024 samples. Taken apart again by the same transform and with the same block limits,
what was rounded to nothing is next to nothing once more, and an MP3 of 128 kbit/s made of it does not hide that below
5 kHz; from any other of the 1,024 places it is not so. Vorbis moves its limits by multiples of 128 samples where it
goes over to short blocks, so places count modulo 128.

Sources: as :mod:`engine.analysis.mp3_grid`; the transform and its window from the Vorbis I specification, 4.3.1 and
4.3.6 (AAC's windows, ISO/IEC 14496-3, 4.6.11, are near enough). The signal is looked at with every fourth sample only,
below 4.8 kHz, where the same transform is a quarter as long.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from engine.analysis.mp3_grid import deviation, standing_out
from engine.audio.readers import Audio

BLOCK = 1024
_EVERY = 4  # samples of which one is looked at
_LENGTH = BLOCK // _EVERY
_MOVES = 128  # samples
_PLACES, _FOLDS = 64, BLOCK // _MOVES  # every other one is tried: the next is seen from beside it
_FIRST, _LAST = 24, 224  # lines: from 0.5 to 4.8 kHz at 44.1 kHz
_TOGETHER = 8  # lines whose mean a line is held against
_BLOCKS = 16  # in a piece, 0.4 s
_TAPS = 127  # of the low-pass
_SILENT = 1e-3  # peak of a piece that is not worth looking at
_FLOOR = np.float32(1e-12)  # power of a line
_FEWEST, _ENOUGH, _MOST_PIECES = 2, 6, 24
_SEEN, _SURE = 6.0, 16.0  # times the usual scatter; music that never was either stays below 4
_LEAST = 0.07  # dB; regular sounds stand out with less
_STANDS_OUT, _NEAR = 0.65, 2  # share of the first that the next place reaches at most, further away than so many

#: Frames of a piece.
SIZE = (_BLOCKS + 3) * BLOCK

Float = npt.NDArray[np.float32]


@cache
def _window() -> Float:
    """``(2 * _LENGTH,)``: Vorbis's, halved as the cosine transform doubles."""
    place = np.arange(2 * _LENGTH)
    return (0.5 * np.sin(np.pi / 2 * np.sin(np.pi * (place + 0.5) / (2 * _LENGTH)) ** 2)).astype(np.float32)


@cache
def _neighbours() -> Float:
    """``(lines, groups)``: what gives the mean of every :data:`_TOGETHER` lines."""
    groups = (_LAST - _FIRST) // _TOGETHER
    return np.kron(np.eye(groups), np.full((_TOGETHER, 1), 1 / _TOGETHER)).astype(np.float32)


@cache
def _lowpass() -> Float:
    from scipy.signal import firwin

    return np.asarray(firwin(_TAPS, 0.8 / _EVERY), np.float32)


def _lines(windows: Float) -> Float:
    """``(windows, 2 * _LENGTH)`` through the MDCT: folded to half of it, and then a cosine transform (type 4)."""
    from scipy.fft import dct

    half = _LENGTH // 2
    first, second, third, fourth = (windows[:, place * half : (place + 1) * half] for place in range(4))
    folded = np.empty((len(windows), _LENGTH), np.float32)
    np.add(third[:, ::-1], fourth, out=folded[:, :half])
    np.negative(folded[:, :half], out=folded[:, :half])
    np.subtract(first, second[:, ::-1], out=folded[:, half:])
    return dct(folded, type=4, axis=1, overwrite_x=True)[:, _FIRST:_LAST]


def profile(piece: Float) -> Float:
    """By how many dB the lines of :data:`SIZE` samples scatter around the mean of their neighbours, in the mean, from
    each of 512 places (every other one)."""
    low = np.convolve(piece, _lowpass(), "same")
    places = np.zeros((_LENGTH, 2))
    middle = (_LAST - _FIRST) // 2
    for index, offset in enumerate((0, _EVERY // 2)):
        kept = np.ascontiguousarray(low[offset::_EVERY])
        windows = np.lib.stride_tricks.sliding_window_view(kept, 2 * _LENGTH)
        for block in range(_BLOCKS):  # as much at a time as the processor keeps at hand
            power = np.square(_lines(windows[block * _LENGTH : (block + 1) * _LENGTH] * _window())) + _FLOOR
            pairs = power[:, :middle] * power[:, middle:]  # half as many logarithms
            places[:, index] += np.log(power @ _neighbours()).mean(axis=1) - np.log(pairs).mean(axis=1) / 2
    return (10 / np.log(10) / _BLOCKS * places).ravel().astype(np.float32)


class TransformGridMeter:
    """Adds up pieces of a song that begin at multiples of 128 frames, until it is sure."""

    def __init__(self) -> None:
        self._heights = np.zeros(_PLACES)  # times the usual scatter of each piece
        self._depths = np.zeros(_PLACES)  # dB
        self._pieces = 0

    def process(self, block: Audio) -> None:
        """Take ``(frames, channels)`` from a multiple of 128 frames on; of it three pieces are looked at."""
        step = max(SIZE, len(block) // 3 // BLOCK * BLOCK)
        for start in range(0, len(block) - SIZE + 1, step):
            if self._pieces < _MOST_PIECES and not self._is_sure():
                self._take(block[start : start + SIZE])

    def _take(self, piece: Audio) -> None:
        heard = [c for c in piece.T[:2] if float(np.abs(c).max()) > _SILENT]
        if not heard:
            return
        found = np.mean([profile(np.ascontiguousarray(c, np.float32)) for c in heard], axis=0)
        deeper = found - np.median(found)
        usual = max(1e-3, deviation(deeper))
        deepest = deeper.reshape(_FOLDS, _PLACES).max(axis=0)
        self._heights += deepest / usual
        self._depths += deepest - np.median(deepest)
        self._pieces += 1

    def _is_seen(self, height: float) -> bool:
        found = standing_out(self._heights, _NEAR)
        is_high = found.height >= height * max(1e-9, found.scatter)
        return is_high and found.next_height < _STANDS_OUT * found.height

    def _is_sure(self) -> bool:
        return self._pieces >= _ENOUGH and self._is_seen(_SURE)

    def depth(self) -> float:
        """dB by which the lines drop at the limits of an earlier coding's blocks; 0 where there was none."""
        depth = float(self._depths[int(np.argmax(self._heights))]) / max(1, self._pieces)
        return depth if depth >= _LEAST and self._pieces >= _FEWEST and self._is_seen(_SEEN) else 0.0
