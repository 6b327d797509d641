"""What a result lost of its song: the guard against variants that are worse than leaving the song alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from engine.analysis.cutoff import LongTermSpectrum
from engine.audio.loudness import SILENCE_DB, LoudnessMeter
from engine.audio.readers import Audio

_CENTRES = 1000.0 * 2.0 ** (np.arange(-12, 14) / 3)  # Hz of third octaves, 63 Hz to 20 kHz
_EDGE = 2.0 ** (1 / 6)
_HOP = 4096  # frames between spectra: nothing is lost of a mean over a song, and half of the time is saved
_QUIETER = 3.0  # dB of loudness that may go
_GONE = 12.0  # dB that a band may lose
_MUSIC_RANGE = 50.0  # dB below the loudest band down to which a band holds music
_MUSIC_FLOOR = -90.0  # dB; what is quieter is noise
_AUDIBLE = -70.0  # LUFS


class LossMeter:
    """Loudness and level per third octave of a stream, measured while it passes."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate, self._channels = rate, channels
        self._begin()

    def _begin(self) -> None:
        self._spectrum = LongTermSpectrum(self._rate, _HOP)
        self._loudness = LoudnessMeter(self._rate, self._channels)

    def watch(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        """The blocks, unchanged; measuring begins anew each time."""
        self._begin()
        for block in blocks:
            self._spectrum.process(block)
            self._loudness.process(block)
            yield block

    def loudness(self) -> float:
        """LUFS."""
        return round(self._loudness.integrated(), 2)

    def bands(self) -> list[float]:
        """dB per third octave from 63 Hz on; :data:`SILENCE_DB` beyond what the rate holds."""
        frequencies, level = self._spectrum.decibels()
        power = 10 ** (level / 10)
        edges = np.searchsorted(frequencies, [_CENTRES / _EDGE, _CENTRES * _EDGE])
        sums = [float(power[low:high].sum()) for low, high in edges.T]
        whole = len(frequencies) ** 2  # a full-scale sine is near 0 dB
        return [round(10 * float(np.log10(s / whole)), 2) if s > whole * 1e-20 else SILENCE_DB for s in sums]


def what_was_lost(
    before: Sequence[float], after: Sequence[float], *, loudness: tuple[float, float], whole_to: float | None,
    any_loudness: bool,
) -> str:  # fmt: skip
    """Empty, or one sentence about what a result lost of its song.

    Args:
        before, after: :meth:`LossMeter.bands` of the song and of the result; not compared where unknown.
        loudness: of both in LUFS.
        whole_to: Hz up to which the result is meant to be whole; None: all of it.
        any_loudness: whether another loudness is wanted; then only the balance of the bands counts.
    """
    if loudness[0] <= _AUDIBLE:
        return ""
    if loudness[1] <= _AUDIBLE:
        return "It lost the song: next to nothing is to be heard."
    quieter = loudness[0] - loudness[1]
    parts = []
    if quieter > _QUIETER and not any_loudness:
        parts.append(f"it is {quieter:.0f} dB quieter ({loudness[1]:.1f} LUFS instead of {loudness[0]:.1f})")
    matched = quieter if any_loudness or parts else 0.0
    parts += _bands_lost(np.array(before), np.array(after) + matched, whole_to) if len(before) == len(after) > 0 else []
    return f"It lost much of the song: {', and '.join(parts)}." if parts else ""


def _bands_lost(before: np.ndarray, after: np.ndarray, whole_to: float | None) -> list[str]:
    music = (before > before.max() - _MUSIC_RANGE) & (before > _MUSIC_FLOOR)
    if whole_to is not None:
        music &= whole_to >= _CENTRES * _EDGE
    gone = music & (before - after > _GONE)
    if not gone.any():
        return []
    much = "half of the spectrum and more is gone, " if gone.sum() * 2 >= music.sum() else ""
    return [f"{much}next to nothing is left {' and '.join(_ranges(gone))}"]


def _ranges(gone: np.ndarray) -> list[str]:
    """In words, from where to where."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(int)))
    return [
        f"from {_hertz(_CENTRES[first] / _EDGE)} to {_hertz(_CENTRES[last - 1] * _EDGE)}"
        for first, last in steps.reshape(-1, 2)
    ]


def _hertz(frequency: float) -> str:
    return f"{frequency / 1000:.1f} kHz" if frequency >= 1000 else f"{frequency:.0f} Hz"
