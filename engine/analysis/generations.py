"""Whether a song was an MP3 before, and what of: a lossless file that was one, a "320" made from 128 kbit/s.

What is seen is told by :mod:`engine.analysis.mp3_grid`; here it is held against what the file says of itself. Only
what an MP3 encoder did at the song's own rate is seen: AAC and Vorbis are seen by
:mod:`engine.analysis.transform_grid`. What was resampled since is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.analysis.cutoff import CutoffShape
from engine.analysis.mp3_grid import GRANULE, Grid
from engine.audio.mpeg import DECODER_DELAY, MpegFacts

_SEEN = 12.0  # height from which on a dip is one: lossless music stays below 5
_STANDS_OUT = 1.2  # times the depth of the next: else the music itself comes back every 576 samples
_SEEN_BESIDE = 8.0  # the same of a second one, that is also deep enough beside the first
_BESIDE = 0.2
_SAME_PLACE = 4  # samples
_GAP = 1500.0  # Hz by which the music ends below what the encoder kept
_STEEP = 24.0  # dB
#: dB of depth, where the music ends early and where it does not, that an encoder did not make itself: between the
#: deepest of music that was encoded once (VBR is coarser than CBR of the same size) and what 128 kbit/s leave.
_DEEPEST_OF_CBR = ((288_000, 3.5, 8.0), (208_000, 6.0, 12.0))  # from these bit/s on
_DEEPEST_OF_VBR = (6.5, 14.0)  # of the best qualities, which are known by what they keep
_BEST_VBR = 19400.0  # Hz
_LIKE = ((11500.0, 64), (15800.0, 96), (17400.0, 128), (18400.0, 160), (19400.0, 192))  # Hz below which, kbit/s
_COARSE = 4.0  # dB of depth from which on an encoding was of 160 kbit/s or less where no cutoff tells
_EXPECTED_KEPT = 20000.0  # Hz that an encoder keeps at the highest bitrates

Kind = Literal["once", "again", "was mp3", "no mp3", "unknown"]


@dataclass(frozen=True)
class Generation:
    """``once``: an MP3 as it was first encoded, as far as can be told; ``again``: an MP3 of what was one before;
    ``was mp3``: another kind of file that was; ``no mp3``: one that never was, as far as can be seen; ``unknown``: too
    little sound to tell.

    ``before`` is about how many kbit/s the encoding before had (0: not known).
    """

    kind: Kind
    before: int = 0


def own_place(mpeg: MpegFacts) -> int:
    """Where the blocks of an MP3's own encoding begin (0 to 575) in what is decoded of it."""
    trimmed = mpeg.lame.delay + DECODER_DELAY if mpeg.lame is not None else 0
    return (1 - trimmed) % GRANULE


def generation_of(mpeg: MpegFacts | None, shape: CutoffShape, grid: Grid, *, is_whole: bool) -> Generation:
    """What a song was before.

    ``is_whole``: whether it was decoded as its headers promise; else places say nothing.
    """
    if mpeg is None:
        if not grid.pieces:
            return Generation("unknown")
        stands_out = grid.first.depth >= _STANDS_OUT * grid.second.depth
        seen = grid.first.height >= _SEEN and stands_out
        return Generation("was mp3", _like(shape, grid.first.depth)) if seen else Generation("no mp3")
    if not grid.pieces or not is_whole:
        return Generation("unknown")
    foreign = _foreign(grid, own_place(mpeg))
    if foreign is not None:
        return Generation("again", _like(shape, foreign))
    kept = kept_by(mpeg)
    deepest = _deepest(mpeg, kept)
    if deepest is None or kept is None:
        return Generation("once")
    ends_early = shape.drop >= _STEEP and shape.hz < kept - _GAP
    is_deep = grid.first.height >= _SEEN and grid.first.depth >= deepest[0 if ends_early else 1]
    return Generation("again", _like(shape, grid.first.depth)) if is_deep else Generation("once")


def kept_by(mpeg: MpegFacts) -> float | None:
    """Hz up to which the encoder of an MP3 kept what there was, by its tag or its bitrate; None where nothing tells."""
    lame = mpeg.lame
    if lame is not None and lame.lowpass:
        return float(lame.lowpass)
    if lame is not None and lame.encoder.startswith("LAME"):  # it was told to keep everything; FFmpeg does not say
        return mpeg.rate / 2
    return _EXPECTED_KEPT if mpeg.bitrate_mode == "CBR" and mpeg.bitrate >= _DEEPEST_OF_CBR[-1][0] else None


def _deepest(mpeg: MpegFacts, kept: float | None) -> tuple[float, float] | None:
    """The limits that hold for an encoding; None where they could be its own work."""
    if mpeg.bitrate_mode == "CBR":
        return next(((early, late) for least, early, late in _DEEPEST_OF_CBR if mpeg.bitrate >= least), None)
    return _DEEPEST_OF_VBR if kept is not None and kept >= _BEST_VBR else None


def _foreign(grid: Grid, own: int) -> float | None:
    """Depth of a dip at another place than the encoder's own; None where there is none."""
    if _is_at(grid.first.place, own):
        beside = grid.second
        is_one = beside.height >= _SEEN_BESIDE and beside.depth >= _BESIDE * grid.first.depth
        return beside.depth if is_one else None
    return grid.first.depth if grid.first.height >= _SEEN else None


def _is_at(place: int, own: int) -> bool:
    return abs((place - own + GRANULE // 2) % GRANULE - GRANULE // 2) <= _SAME_PLACE


def _like(shape: CutoffShape, depth: float) -> int:
    """About how many kbit/s an encoding had that ends so and is so coarse; 0 where nothing tells."""
    if shape.drop >= _STEEP:
        return next((kbits for hz, kbits in _LIKE if shape.hz < hz), 256 if depth < _COARSE else 160)
    return 128 if depth >= 2 * _COARSE else 160 if depth >= _COARSE else 256
