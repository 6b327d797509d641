"""The pitch of a single voice over time: McLeod's normalised square difference, and the best path through its peaks.

After McLeod and Wyvill, "A smarter way to find pitch" (ICMC 2005), and, for the path, Boersma, "Accurate short-term
analysis of the fundamental frequency" (IFA 1993). Written here, in numpy, because the kept libraries do not come to
every machine: pyworld needs a compiler on Linux and on Macs, and the coefficients of CREPE want a deep network at 100
frames a second for what a voice that stands alone does not need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

RATE = 12000  # Hz at which it listens: a voice's pitch is in its lower harmonics
HOP = 60  # frames at that rate between two values: 5 ms
LOWEST, HIGHEST = 60.0, 1300.0  # Hz, from a deep bass to the top of a soprano
CONTEXT = 200  # values that a stretch is to be followed beyond its ends, so that these do not show
_WINDOW = 480  # 40 ms: two periods of the lowest pitch and more
_RUMBLE = 481  # frames over which the average is taken off
_FINER = 4  # the lags are looked at in steps of a quarter of a frame
_CANDIDATES = 5
_BATCH = 2048  # windows at a time
_NOISE = 1e-8  # mean power (-80 dBFS) at which clarity is halved
_OCTAVE = 0.02  # by how much a lag must be clearer than half of it
_JUMP = 0.35  # what a jump by an octave costs, in clarity
_VOICING = 0.2  # what it costs to fall silent or to begin
_UNVOICED = 0.75  # clarity from which on there is a pitch

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Candidates:
    """For every moment, ``(moments, _CANDIDATES)``: pitches in Hz, and how clear each is (-1: none)."""

    hz: Values
    clarity: Values


def track(mono: Audio) -> Audio:
    """Pitch of ``(frames,)`` at :data:`RATE`, at every :data:`HOP`, with how clear it is: ``(ceil(frames / HOP), 2)``.

    The pitch is in Hz, 0 where there is none. Clarity is near 1 for one voice alone, lower the more else sounds. The
    first value is that at frame 0; around the audio, silence is assumed.
    """
    count = -(-len(mono) // HOP)
    if not count:
        return np.zeros((0, 2), np.float32)
    padded = np.pad(_without_rumble(mono), (_WINDOW // 2, _WINDOW // 2 + HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:count]
    found = [_candidates(windows[at : at + _BATCH]) for at in range(0, count, _BATCH)]
    return _path(_Candidates(np.concatenate([f.hz for f in found]), np.concatenate([f.clarity for f in found])))


def _without_rumble(mono: Audio) -> Values:
    """Without what is too low for a voice, and without an offset, which would look like any pitch."""
    window = np.hanning(_RUMBLE + 2)[1:-1]
    average = np.convolve(mono, window / window.sum())[_RUMBLE // 2 :][: len(mono)]
    return np.asarray(mono - average, np.float64)


def _candidates(windows: Values) -> _Candidates:
    from scipy import fft

    longest = int(RATE / LOWEST) + 2
    size = fft.next_fast_len(_WINDOW + longest, real=True)
    spectrum = np.abs(fft.rfft(windows, size)) ** 2
    # Zeros behind the spectrum interpolate between the lags.
    agreement = fft.irfft(spectrum, size * _FINER)[:, : longest * _FINER] * _FINER
    # Energy of what lies on top of each other at each lag, from both ends.
    energy = np.concatenate([np.zeros((len(windows), 1)), np.cumsum(windows**2, axis=1)], axis=1)
    whole = energy[:, -1:] - energy[:, :longest] + energy[:, ::-1][:, :longest]
    lags = np.arange(longest * _FINER) / _FINER
    below = np.minimum(lags.astype(int), longest - 2)
    part = lags - below
    shared = whole[:, below] * (1 - part) + whole[:, below + 1] * part
    likeness = 2 * agreement / (shared + 2 * _NOISE * _WINDOW)
    return _peaks(likeness, int(RATE / HIGHEST * _FINER))


def _peaks(likeness: Values, first: int) -> _Candidates:
    middle = likeness[:, first:-1]
    is_peak = (middle > likeness[:, first - 1 : -2]) & (middle >= likeness[:, first + 1 :])
    lags = np.arange(first, likeness.shape[1] - 1)
    worth = np.where(is_peak, middle - _OCTAVE * np.log2(lags / first), -1.0)
    best = np.argpartition(-worth, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    row = np.arange(len(likeness))[:, None]
    before, at, after = (likeness[row, best + first + step] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    shift = np.where(curve < 0, 0.5 * (before - after) / np.where(curve < 0, curve, -1.0), 0.0)
    hz = RATE * _FINER / (best + first + np.clip(shift, -0.5, 0.5))
    return _Candidates(hz, worth[row, best])


def _path(candidates: _Candidates) -> Audio:
    """The way through the candidates that is clear and does not jump (Viterbi); the last state is: no pitch."""
    octaves = np.log2(candidates.hz)
    count = len(octaves)
    worth = np.concatenate([candidates.clarity, np.full((count, 1), _UNVOICED)], axis=1)
    states = worth.shape[1]
    change = np.zeros((states, states))
    change[-1, :-1] = change[:-1, -1] = _VOICING
    came_from = np.zeros((count, states), np.int8)
    total = worth[0]
    for at in range(1, count):
        change[:-1, :-1] = _JUMP * np.abs(octaves[at - 1][:, None] - octaves[at][None, :])
        sums = total[:, None] - change
        came_from[at] = sums.argmax(axis=0)
        total = sums.max(axis=0) + worth[at]
    found = np.zeros((count, 2), np.float32)
    state = int(total.argmax())
    for at in range(count - 1, -1, -1):
        if state < states - 1:
            found[at] = candidates.hz[at, state], candidates.clarity[at, state]
        state = int(came_from[at, state])
    return found
