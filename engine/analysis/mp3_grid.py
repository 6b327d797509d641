"""Whether a signal went through an MP3 encoder, told from the signal alone, and how coarsely.

An MP3 is rounded in blocks of 576 samples. Taken apart again by the same filters and with the same block limits, what
was rounded to nothing is nothing once more; from any other of the 576 places it is not. So the mean level of the
lines, in dB, has a sharp dip at the place where the encoder worked: one for every time that it was encoded. A signal
that never was an MP3 has none.

Sources: Herre and Schug 2000, "Analysis of decompressed audio: the inverse decoder" (AES 109); Yang, Shi and Huang
2009, "Defeating fake-quality MP3" (ACM MM&Sec); the filters from ISO/IEC 11172-3, 2.4.3.4 and annex C. The window of
its polyphase filters is a table there; a Kaiser window with two parameters is within -55 dB of it, which is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

GRANULE = 576
_BANDS, _LINES = 32, 18  # of the hybrid filter bank: polyphase bands, lines of each
_TAPS, _BLOCK = 512, 36
_CUTOFF, _BETA = 1.14385 / 64, 10.8187  # of the Kaiser window, fitted to the table
_LOOKED_AT = 8  # bands
_FIRST = (12, 6, 2)  # of those, the highest that hold anything: from 8.3, 4.1 or 1.4 kHz on at 44.1 kHz
_HOLDS = 1e-9  # power of a band that holds something
_GRANULES = 48  # in a piece, 0.6 s
_FLOOR = 1e-11  # power of a line below which nothing is told: 16-bit rounding
_RANGE = 1e-6  # power below the loudest band down to which a line counts
_NEAR = 24  # samples around a dip that belong to it
_LEAST_PIECES, _MOST_PIECES = 3, 6  # that are looked at
_LEAST_SCATTER = 0.02  # dB: less is the regularity of a synthetic sound
_SURE = 25.0  # times the scatter from which on no more pieces are needed
_SILENT = 1e-4  # peak of the sum of the channels below which one of them is looked at

Float = npt.NDArray[np.float32]
Profile = npt.NDArray[np.float64]

#: Frames of a piece.
SIZE = _GRANULES * GRANULE + _TAPS + _BLOCK * _BANDS


@dataclass(frozen=True)
class Dip:
    """``place`` of the block limits (0 to 575), how far the lines drop there (``depth``, dB), and how many times their
    usual scatter that is (``height``)."""

    place: int
    depth: float
    height: float


@dataclass(frozen=True)
class StandingOut:
    """The ``first`` of some places, the ``second`` away from it, their heights above the median of all, and the usual
    ``scatter`` around that (standard deviation, by the median of the absolute deviations)."""

    first: int
    height: float
    second: int
    next_height: float
    scatter: float


def standing_out(values: Profile, near: int) -> StandingOut:
    """Of the values at places in a circle, what stands out; places not further than ``near`` belong to the first."""
    count = len(values)
    apart = values - np.median(values)
    first = int(np.argmax(apart))
    away = np.abs((np.arange(count) - first + count // 2) % count - count // 2) > near
    second = int(np.argmax(np.where(away, apart, -np.inf)))
    return StandingOut(first, float(apart[first]), second, float(apart[second]), deviation(apart))


def deviation(apart: Profile) -> float:
    """The usual deviation of what is told from its median."""
    return 1.4826 * float(np.median(np.abs(apart)))


def dips(profile: Profile) -> tuple[Dip, Dip]:
    """The deepest dip of a profile and the deepest of those that do not belong to it."""
    found = standing_out(-profile, _NEAR)
    scatter = max(_LEAST_SCATTER, found.scatter)
    return _dip(found.first, found.height, scatter), _dip(found.second, found.next_height, scatter)


def _dip(place: int, depth: float, scatter: float) -> Dip:
    return Dip(place, round(depth, 2), round(depth / scatter, 1))


@cache
def _length() -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(SIZE, real=True))


@cache
def _polyphase(first: int) -> npt.NDArray[np.complex64]:
    """Responses of the bands from ``first`` on, over the length of a piece."""
    from scipy.signal import firwin

    window = firwin(_TAPS + 1, _CUTOFF, window=("kaiser", _BETA))[:_TAPS]
    window /= np.sqrt(_BANDS * (window**2).sum())
    bands, taps = np.arange(first, first + _LOOKED_AT)[:, None], np.arange(_TAPS)
    filters = window * np.cos((2 * bands + 1) * (taps - 16) * np.pi / 64)
    return np.asarray(np.fft.rfft(filters, _length(), axis=1), np.complex64)


@cache
def _mdct() -> Float:
    """``(2, 36, 18)``: of even bands, and of odd ones, whose frequencies are inverted."""
    block, line = np.arange(_BLOCK)[:, None], np.arange(_LINES)
    even = np.sin(np.pi / _BLOCK * (block + 0.5)) * np.cos(np.pi / (2 * _BLOCK) * (2 * block + 19) * (2 * line + 1)) / 3
    return np.stack([even, even * (1 - 2 * (block % 2))]).astype(np.float32)


@cache
def _butterflies() -> tuple[Float, Float]:
    """Those that take the aliases between neighbouring bands away (ISO/IEC 11172-3, table B.9)."""
    c = np.array([-0.6, -0.535, -0.33, -0.185, -0.095, -0.041, -0.0142, -0.0037])
    cosine = 1 / np.sqrt(1 + c**2)
    return cosine.astype(np.float32), (c * cosine).astype(np.float32)


def profile(piece: Float) -> Profile | None:
    """Mean level in dB of the lines of :data:`SIZE` samples, taken apart from each of the 576 places.

    Lines far below the loudest count as if they lay there, so that what nobody hears does not decide. None where there
    is too little sound to tell.
    """
    from scipy import fft

    spectrum = fft.rfft(piece, _length())
    for first in _FIRST:
        bands = fft.irfft(spectrum * _polyphase(first), _length(), axis=1)[:, _TAPS - 1 : SIZE].astype(np.float32)
        powers = (bands**2).mean(axis=1)
        if np.median(powers) > _HOLDS:
            break
    else:
        return None
    slots = _GRANULES * _LINES
    floor = np.float32(max(_FLOOR, _RANGE * float(powers.max())))
    matrices = _mdct()[np.arange(first, first + _LOOKED_AT) % 2]
    cosine, sine = _butterflies()
    found = np.zeros(GRANULE)
    for phase in range(_BANDS):
        samples = bands[:, phase::_BANDS][:, : slots + _BLOCK - 1]
        lines = np.lib.stride_tricks.sliding_window_view(samples, _BLOCK, axis=1)[:, :slots] @ matrices
        below, above = lines[:-1, :, :9:-1].copy(), lines[1:, :, :8].copy()
        lines[:-1, :, :9:-1] = below * cosine + above * sine
        lines[1:, :, :8] = above * cosine - below * sine
        level = np.log10(np.square(lines[1:-1], out=lines[1:-1]) + floor).sum(axis=0, dtype=np.float32)
        found[phase::_BANDS] = 10 * level.reshape(_GRANULES, _LINES, _LINES).mean(axis=(0, 2)) / (_LOOKED_AT - 2)
    return found


@dataclass(frozen=True)
class Grid:
    """The two deepest dips of a song and the number of ``pieces`` in which they were looked for (0: too little sound).

    Places count from the first frame of the song as it is decoded.
    """

    first: Dip
    second: Dip
    pieces: int


class GridMeter:
    """Adds up the profiles of pieces of a song that begin at multiples of 576 frames, until the place is sure."""

    def __init__(self) -> None:
        self._sum = np.zeros(GRANULE)
        self._pieces = self._tried = 0
        self._is_sure = False

    def process(self, piece: Audio) -> None:
        """Take ``(frames, channels)``; only the first :data:`SIZE` frames are looked at."""
        if self._is_sure or len(piece) < SIZE or self._tried >= 2 * _MOST_PIECES or self._pieces >= _MOST_PIECES:
            return
        self._tried += 1
        mono = piece[:SIZE].mean(axis=1)
        if float(np.abs(mono).max()) < _SILENT:
            mono = np.ascontiguousarray(piece[:SIZE, 0])
        found = profile(mono)
        if found is not None:
            self._sum += found
            self._pieces += 1
            self._is_sure = self._pieces >= _LEAST_PIECES and dips(self._sum / self._pieces)[0].height > _SURE

    def result(self) -> Grid:
        """What was found."""
        first, second = dips(self._sum / max(1, self._pieces))
        return Grid(first, second, self._pieces)
