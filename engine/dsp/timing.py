"""Sounds moved in time, their attacks as they are.

Around every onset the samples are copied as they were, a whole number of frames earlier or later. What two neighbours
are moved by differently is made up for in the tail between them, by one crossfade from the one copy to the other where
both are most alike: no pitch changes, nothing is smeared (the idea of SOLA, Roucos and Wilgus 1985, with the splice
kept away from attacks). A phase vocoder such as Signalsmith's (python-stretch) would hold long notes better, and soften
hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.chunks import crossfade
from engine.audio.readers import Audio

_AHEAD, _AFTER = 0.006, 0.03  # s around an onset that are copied as they are
_FADE, _SHORTEST_FADE = 0.02, 0.004  # s
_STEPS = 64  # places at most at which a crossfade is tried

Frames = npt.NDArray[np.int64]
Read = Callable[[int, int], Audio]


@dataclass(frozen=True)
class Piece:
    """Frames ``start`` to ``end`` of the result: the song's own, first ``before`` frames later, then ``shift``."""

    start: int
    end: int
    before: int
    shift: int


@dataclass(frozen=True)
class Moves:
    """By how many frames (later: above 0) the sound at each frame is moved; ``pieces`` of the result, all of it."""

    frames: Frames
    shifts: Frames
    pieces: tuple[Piece, ...]


def moves(frames: Frames, shifts: Frames, length: int, rate: int) -> Moves:
    """How the onsets at ``frames`` (rising) of a song of ``length`` are moved by about ``shifts``.

    Where there is too little between two of them, they are moved by less.
    """
    ahead, after, fade = (max(1, round(s * rate)) for s in (_AHEAD, _AFTER, _SHORTEST_FADE))
    # What is copied around neighbours that are close ends on the way between them.
    bounds = np.concatenate([[0], frames, [length]])
    between = np.diff(bounds)
    lead = np.minimum(ahead, between // 3)
    tail = np.minimum(after, between // 3)
    tail[0], lead[-1] = 0, 0
    moved = _possible(shifts, np.maximum(between - lead - tail - fade, 0))
    # Of the result: where what lies between two neighbours begins and ends.
    firsts, lasts = bounds[:-1] + moved[:-1] + tail, bounds[1:] + moved[1:] - lead
    return Moves(frames, moved[1:-1], _pieces(moved, firsts, lasts, length))


def _possible(shifts: Frames, room: Frames) -> Frames:
    """The shifts, and 0 at both ends of the song, so that no two neighbours differ by more than their ``room``."""
    moved = np.concatenate([[0], shifts, [0]]).astype(np.int64)
    for at in range(1, len(moved)):
        moved[at] = np.clip(moved[at], moved[at - 1] - room[at - 1], moved[at - 1] + room[at - 1])
    moved[-1] = 0
    for at in range(len(moved) - 2, -1, -1):
        moved[at] = np.clip(moved[at], moved[at + 1] - room[at], moved[at + 1] + room[at])
    return moved


def _pieces(moved: Frames, firsts: Frames, lasts: Frames, length: int) -> tuple[Piece, ...]:
    """What is copied as a whole, and the gaps from ``firsts`` to ``lasts`` whose ends are moved differently."""
    found: list[Piece] = []
    start = 0
    for before, after, first, last in zip(
        *(values.tolist() for values in (moved[:-1], moved[1:], firsts, lasts)), strict=True
    ):
        if before == after:
            continue
        if first > start:
            found.append(Piece(start, first, before, before))
        found.append(Piece(first, last, before, after))
        start = last
    if start < length:
        found.append(Piece(start, length, int(moved[-1]), int(moved[-1])))
    return tuple(found)


def moved(plan: Moves, read: Read, rate: int, block: int) -> Iterator[Audio]:
    """The song with its sounds moved, in blocks of about ``block`` frames.

    Args:
        read: gives frames ``[first, last)`` of the song, ``(last - first, channels)``, with silence beyond its ends. It
            is asked for rising ones, but for the greatest shift and a crossfade.
    """
    for piece in plan.pieces:
        if piece.before == piece.shift:
            yield from _copied(piece.start, piece.end, piece.shift, read, block)
        else:
            yield from _spliced(piece, plan.pieces[-1].end, read, rate, block)


def _spliced(piece: Piece, song: int, read: Read, rate: int, block: int) -> Iterator[Audio]:
    """A gap whose beginning is moved by ``before`` and whose end by ``shift``, in a song of so many frames."""
    # Where both copies are of the song, and in long gaps no earlier than the last part: so a tail is heard whole.
    last = min(piece.end, song + piece.before)
    first = max(piece.start, piece.shift, last - block)
    fade = min(round(_FADE * rate), last - first)
    yield from _copied(piece.start, first, piece.before, read, block)
    one, other = (read(first - shift, last - shift) for shift in (piece.before, piece.shift))
    at = _most_alike(one, other, fade)
    faded = crossfade(one[at : at + fade], other[at : at + fade], "matched")
    yield np.concatenate([one[:at], faded, other[at + fade :]])
    yield from _copied(last, piece.end, piece.shift, read, block)


def _copied(start: int, end: int, shift: int, read: Read, block: int) -> Iterator[Audio]:
    """Frames of the result that are the song's, ``shift`` later."""
    for first in range(start, end, block):
        last = min(end, first + block)
        yield read(first - shift, last - shift)


def _most_alike(one: Audio, other: Audio, fade: int) -> int:
    """Where a crossfade of ``fade`` frames is heard least: both correlate, or both are quiet."""
    places = np.unique(np.linspace(0, len(one) - fade, _STEPS).astype(int))

    def over(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(total[places + fade] - total[places])

    first, second = one.astype(np.float64), other.astype(np.float64)
    differing = over(((first - second) ** 2).sum(axis=1))
    return int(places[np.argmin(differing)])
