"""Tighten: the timing of a performance brought nearer to its own beat. Never in a chain by itself: it is taste.

Beats and onsets are found by :mod:`engine.dsp.beats` and :mod:`engine.dsp.onsets`. Trackers that learnt (madmom, whose
weights are not free for commercial use; beat-this, which needs PyTorch) find beats in music without drums, too, but
where there are no clear onsets there is nothing to tighten either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.audio.soundfiles import open_sound
from engine.dsp import onsets
from engine.dsp.bands import Bands
from engine.dsp.beats import find_grid
from engine.dsp.onsets import Onsets, find_onsets
from engine.dsp.timing import Moves, moved, moves
from engine.stages.base import Context, Params, Rendered, Signal, Stage, parameter, passed, read_at, watched

_LISTENED = 10.0  # s of the song in which onsets are found at a time
_BLOCK = 1 << 15
_UNHEARD = 0.001  # s by which it is not worth it to move anything
_FASTEST_COUNTED = 160.0  # beats a minute


@dataclass(frozen=True)
class TightenParams(Params):
    strength: float = parameter(
        1.0, "how far sounds are moved toward the beat; 0 leaves the song as it is", low=0.0, high=1.0
    )
    most_ms: float = parameter(30.0, "the most that a sound is moved by", unit="ms", low=0.0, high=100.0)


class Tighten(Stage):
    """Onsets moved toward the performance's own grid, attacks untouched, swing and length kept."""

    name = "tighten"
    title = "Tighter timing"
    version = 2
    cost = 0.01
    Parameters = TightenParams

    def run(self, context: Context, params: TightenParams) -> Rendered:
        signal = context.input

        if not params.strength or not params.most_ms:
            return passed(signal, "timing left as it is")
        found = _onsets(context, signal)
        grid = find_grid(found.frames / signal.rate, np.maximum(found.rises, 0.1)) if len(found) else None
        if grid is None:
            context.warn("No steady beat was found: the timing was left as it is.")
            return passed(signal, "no steady beat was found: timing left as it is")
        off = grid.targets - found.frames / signal.rate
        shifts = np.clip(off * params.strength, -params.most_ms / 1000, params.most_ms / 1000)
        shifts[np.abs(shifts) < _UNHEARD] = 0
        plan = moves(found.frames, _with_neighbours(found, shifts, signal.rate), signal.frames, signal.rate)
        if not plan.shifts.any():
            return passed(signal, "as tight as can be heard: timing left as it is")

        def blocks() -> Iterator[Audio]:
            with _Reader(signal) as read:
                yield from watched(context, moved(plan, read, signal.rate, _BLOCK), signal.frames, 0.5)

        return Rendered(
            signal.rate, signal.channels, signal.frames, blocks, note=_note(plan, off, grid.period, signal.rate)
        )


def _onsets(context: Context, signal: Signal) -> Onsets:
    """Those of the whole song."""
    bands = Bands.at(signal.rate)
    size, margin = (bands.in_hops(round(seconds * signal.rate)) for seconds in (_LISTENED, onsets.CONTEXT))
    frames, rises = [np.zeros(0, np.int64)], [np.zeros(0)]
    for start in range(0, signal.frames, size):
        context.checkpoint()
        end = min(signal.frames, start + size)
        some = find_onsets(read_at(signal, signal.rate, start - margin, end + margin), signal.rate)
        at = some.frames + start - margin
        own = (at >= start) & (at < end)
        frames.append(at[own])
        rises.append(some.rises[own])
        context.fraction(0.5 * end / signal.frames)
    return Onsets(np.concatenate(frames), np.concatenate(rises))


def _with_neighbours(found: Onsets, shifts: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.int64]:
    """Frames; what belongs to no place of the grid moves as those around it do."""
    belongs = np.isfinite(shifts)
    return np.round(np.interp(found.frames, found.frames[belongs], shifts[belongs]) * rate).astype(np.int64)


def _note(plan: Moves, off: npt.NDArray[np.float64], period: float, rate: int) -> str:
    belongs = np.isfinite(off)
    before = 1000 * np.abs(off[belongs])
    after = 1000 * np.abs(off[belongs] - plan.shifts[belongs] / rate)
    return (
        f"{np.count_nonzero(plan.shifts)} of {len(off)} sounds moved toward {_tempo(period):.0f} beats a minute: "
        f"median {np.median(before):.0f} to {np.median(after):.0f} ms off, "
        f"most {before.max():.0f} to {after.max():.0f} ms"
    )


def _tempo(period: float) -> float:
    """Beats a minute as a listener would count them: half or twice as many are the same grid."""
    tempo = 60 / period
    while tempo > _FASTEST_COUNTED:
        tempo /= 2
    return tempo


class _Reader:
    """Frames of a signal in about rising order, without reading or holding more than is needed."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._file = open_sound(signal.path)
        self._first = 0  # of what is held
        self._held = np.zeros((0, signal.channels), np.float32)
        self._kept = signal.rate // 2  # frames that may be asked for again

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __call__(self, first: int, last: int) -> Audio:
        """Frames ``[first, last)``, with silence beyond the ends of the song."""
        end = self._first + len(self._held)
        if last > end:
            more = self._file.read(max(_BLOCK, last - end), dtype="float32", always_2d=True)
            self._held = np.concatenate([self._held, more])
            dropped = max(0, min(first - self._kept - self._first, len(self._held)))
            self._held, self._first = self._held[dropped:], self._first + dropped
        inside = self._held[max(0, first - self._first) : max(0, last - self._first)]
        ahead = max(0, min(-first, last - first))
        behind = last - first - ahead - len(inside)
        return np.pad(inside, ((ahead, behind), (0, 0))) if ahead or behind else inside
