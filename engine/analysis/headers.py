"""The header facts of many songs, handed on as they are read, and those of one that was analysed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.analysis.song import SongAnalysis
from engine.audio.decode import read_headers
from engine.audio.headers import HeaderFacts
from engine.audio.mpeg import believable_lowpass

_BATCH = 0.2  # seconds between two batches that :func:`look_at` gives
_MOST_AT_ONCE = 500


def headers_of(analysis: SongAnalysis) -> HeaderFacts:
    """The same facts of a song that was analysed, where they are exact."""
    mpeg = analysis.mpeg
    lame = mpeg.lame if mpeg is not None else None
    return HeaderFacts(
        duration=round(analysis.duration, 3),
        bitrate=mpeg.bitrate or None if mpeg is not None else None,
        vbr=mpeg is not None and mpeg.bitrate_mode in ("VBR", "ABR"),
        encoder=lame.encoder if lame is not None else "",
        lowpass=believable_lowpass(lame.lowpass, analysis.rate) or None if lame is not None else None,
        rate=analysis.rate,
        channels=analysis.channels,
        kind="MP3" if mpeg is not None else analysis.container,
    )


def look_at(
    paths: Sequence[Path],
    receive: Callable[[dict[Path, HeaderFacts]], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Read the headers of ``paths`` in a process of its own and hand them on in batches, several a second.

    Returns when all were handed on, or soon after ``cancelled`` gives true. ``receive`` is called in this thread.
    """
    batch: dict[Path, HeaderFacts] = {}
    told = time.monotonic()
    for path, facts in zip(paths, read_headers(paths), strict=False):
        if cancelled():
            return
        batch[path] = facts
        if len(batch) >= _MOST_AT_ONCE or time.monotonic() - told >= _BATCH:
            receive(batch)
            batch, told = {}, time.monotonic()
    if batch:
        receive(batch)
