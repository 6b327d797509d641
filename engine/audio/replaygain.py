"""ReplayGain 2.0: how much louder or quieter a player is to play a song, or an album, so that all are alike.

Sources: the ReplayGain 2.0 specification (gain to -18 LUFS by ITU-R BS.1770, peaks as samples), and for Opus RFC 7845,
5.2.1 (gain to -23 LUFS in 256ths of a dB, no peaks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.audio.loudness import SILENCE_DB, Blocks, LoudnessMeter, loudness_together
from engine.audio.player_formats import reading

_REFERENCE, _REFERENCE_OF_OPUS = -18.0, -23.0  # LUFS
_MOST = 64.0  # dB


@dataclass(frozen=True)
class Level:
    """How loud a song is: its ``blocks`` (see :data:`engine.audio.loudness.Blocks`), ``peak`` as an amplitude, and its
    length in ``frames``."""

    blocks: Blocks
    peak: float
    frames: int


def measure(path: Path) -> Level:
    """The level of the song at ``path``. Raises SongError where it cannot be decoded to its end."""
    with reading(path) as (info, blocks):
        meter, peak, frames = LoudnessMeter(info.rate, info.channels), 0.0, 0
        for block in blocks:
            meter.process(block)
            peak = max(peak, float(np.abs(block).max(initial=0)))
            frames += len(block)
    return Level(meter.blocks(), peak, frames)


def comments(song: Level, album: Sequence[Level], *, opus: bool) -> dict[str, list[str]]:
    """The tags of a song that belongs to an album (which may be empty: it is of none)."""
    found: dict[str, list[str]] = {}
    for name, levels in (("TRACK", [song]), ("ALBUM", list(album))):
        loudness = loudness_together(level.blocks for level in levels)
        if loudness <= SILENCE_DB:
            continue
        if opus:
            gain = float(np.clip(_REFERENCE_OF_OPUS - loudness, -_MOST, _MOST))
            found[f"R128_{name}_GAIN"] = [str(round(256 * gain))]
        else:
            gain = float(np.clip(_REFERENCE - loudness, -_MOST, _MOST))
            found[f"REPLAYGAIN_{name}_GAIN"] = [f"{gain:.2f} dB"]
            found[f"REPLAYGAIN_{name}_PEAK"] = [f"{max(level.peak for level in levels):.6f}"]
    return found
