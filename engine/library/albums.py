"""Which songs are one album, and how loud it is: what a stage needs that treats an album's songs alike.

An album is the songs of one folder that are given and have the same album tag; a song without that tag is of none. Its
loudness is that of all songs as one (BS.1770). A song that is added, changed or taken away makes it another one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from engine.audio.decode import open_decoder, read_tags
from engine.audio.loudness import SILENCE_DB, Blocks, LoudnessMeter, loudness_together
from engine.audio.readers import Decoder, with_numbers_only
from engine.errors import DecodeError
from engine.library.layout import Layout
from engine.library.records import Count, Hash, Song
from engine.library.state_file import read_checked, write_checked
from engine.plain_data import as_kind

_FORMAT = 1
_DECODERS: tuple[Decoder, ...] = ("libsndfile", "ffmpeg")


_Bin = Annotated[int, Meta(ge=-2000, le=2000)]
_Number = Annotated[int, Meta(ge=1, le=1 << 53)]


@dataclass(frozen=True)
class Part:
    """What a song is of its album, as long as its file has that size and time of change.

    ``album`` is a hash of the tag, empty where there is none; ``blocks`` is None as long as it was not measured.
    """

    size: Count
    modified: int
    album: Hash
    blocks: list[tuple[_Bin, _Number]] | None = None


class Albums:
    """The albums among the songs that are given. What was measured is kept beside what is known of each song."""

    def __init__(self, places: Layout) -> None:
        self._places = places
        self._songs: defaultdict[Path, dict[Path, Song]] = defaultdict(dict)  # by folder
        self._parts: defaultdict[Path, dict[Path, Part]] = defaultdict(dict)
        self._read: set[Path] = set()  # folders of which the parts that are on disk were read
        self._measuring: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)

    def claim(self, song: Song) -> None:
        """The song is given."""
        self._songs[song.path.parent][song.path] = song

    def loudness(self, song: Song) -> float | None:
        """LUFS of the song's album, to a tenth; None where it is of none, is alone in it, or not all were measured."""
        folder = song.path.parent
        if folder not in self._read:
            self._read_parts(folder)
        parts = dict(self._parts[folder])  # a run that measures adds to them meanwhile
        own = parts.get(song.path)
        if own is None or not own.album or not self._songs[folder].keys() <= parts.keys():
            return None
        together = [part.blocks for part in parts.values() if part.album == own.album]
        if len(together) == 1 or any(blocks is None for blocks in together):
            return None
        loudness = loudness_together(dict(blocks) for blocks in together if blocks is not None)
        return round(loudness, 1) if loudness > SILENCE_DB else None

    def _read_parts(self, folder: Path) -> None:
        for path, song in list(self._songs[folder].items()):
            data = read_checked(self._places.album(song.key), 0)
            part = as_kind(data, Part) if data is not None else None
            if part is not None and part == _as_it_is(path, part):
                self._parts[folder].setdefault(path, part)
        self._read.add(folder)

    def measure(self, song: Song, checkpoint: Callable[[], None]) -> None:
        """Find out what is not known of the song's album: the tags of all songs of its folder, and how loud those are
        that belong together. ``checkpoint`` is called now and then, and may raise.

        Raises:
            OSError: what was found could not be kept.
        """
        folder = song.path.parent
        with self._measuring[folder]:
            if folder not in self._read:
                self._read_parts(folder)
            songs, parts = list(self._songs[folder].values()), self._parts[folder]
            for one in songs:
                checkpoint()
                if (known := parts.get(one.path)) is None or known != _as_it_is(one.path, known):
                    self._keep(one, _tagged(one.path))
            own = parts[song.path].album
            together = [one for one in songs if own and parts[one.path].album == own]
            for one in together if len(together) > 1 else []:
                part = parts[one.path]
                if part.blocks is None:
                    blocks = _blocks(one.path, checkpoint)
                    self._keep(one, dataclasses.replace(part, blocks=list(blocks.items())))

    def _keep(self, song: Song, part: Part) -> None:
        write_checked(self._places.album(song.key), {"format": _FORMAT, **dataclasses.asdict(part)})
        self._parts[song.path.parent][song.path] = part


def _as_it_is(path: Path, part: Part) -> Part:
    """The part with the size and time of change that the file has now; zeros where it is gone."""
    size = modified = 0
    with suppress(OSError):
        status = path.stat()
        size, modified = status.st_size, status.st_mtime_ns
    return dataclasses.replace(part, size=size, modified=modified)


def _tagged(path: Path) -> Part:
    """What the tags say; what cannot be read is of no album."""
    tags, _ = read_tags(path)
    digest = hashlib.sha256(tags.album.encode("utf-8", "surrogatepass")).hexdigest() if tags.album else ""
    return _as_it_is(path, Part(0, 0, digest))


def _blocks(path: Path, checkpoint: Callable[[], None]) -> Blocks:
    """How loud the song is; as far as it can be decoded."""
    for decoder in _DECODERS:
        with suppress(DecodeError), open_decoder(path, decoder) as decoded:
            meter = LoudnessMeter(decoded.info.rate, decoded.info.channels)
            for block in decoded.blocks:
                checkpoint()
                meter.process(with_numbers_only(block))
            return meter.blocks()
    return {}
