"""Where everything of a song lies in the output tree: the one place that makes paths from names.

::

    OUT/VARIANT/Artist/Album/Song.suffix.flac     results
    OUT/VARIANT/Artist/Album/Song/vocals.flac     results that are several signals
    OUT/_done/Artist/Album/Song/song.json         what is known of the source
    OUT/_done/Artist/Album/Song/TASK.done.json    a marker per finished task
    OUT/_done/Artist/Album/Song/TASK.failed.json  why a task failed or was skipped; failed.json: the song
    OUT/_done/Artist/Album/Song/album.json        which album it is of, and how loud, where an album is mastered as one
    OUT/_chunks/Artist/Album/Song/TASK/…          chunks of unfinished tasks, and results only on the way
    OUT/_logs/Artist/Album/Song.log
    OUT/_listening/Artist/Album/Song/…            the listener's verdicts and blind tests

``Artist/Album/Song`` is the song's *key*. Names are kept as they are, but for what could do harm: no part of a key
leads anywhere else, and none is called as our own files are. So folders may be shared between songs, files never,
and what bears one of our own endings is ours to remove.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePath

from engine.errors import OutsideError
from engine.files import TEMPORARY
from engine.names import FORBIDDEN, is_device
from engine.signals import MIX

DONE, CHUNKS, LOGS, LISTENING, REPORT = OWN_FOLDERS = ("_done", "_chunks", "_logs", "_listening", "_report")
SET_ASIDE = ".set-aside"  # the folder of what was made of songs whose place another sound has taken
RESULT_ON_THE_WAY = "result.flac"  # of several signals: vocals.result.flac
RECORD = "song.json"  # what is known of a song
MARKER_ENDING = ".done.json"
CHUNK_ENDING = ".chunk"

_NAME_BYTES = 220  # of 255, so that suffixes fit behind a song's name
_NUMBER_BYTES = 6  # more for a number behind it
_FOLDER_BYTES = 255
_OWN_NAMES = (".lock", ".sounds", SET_ASIDE, RESULT_ON_THE_WAY)
_OWN_ENDINGS = (".json", CHUNK_ENDING, ".npy", ".result.flac")
_OWN_FILE_ENDINGS = (*_OWN_ENDINGS, ".flac", ".log")  # of files beside which a folder may lie


# --- from names to keys -----------------------------------------------------------------------------------


def key_of(relative: PurePath, *, windows: bool = os.name == "nt") -> PurePath:
    """The key of the song that lies at ``relative`` below what was given."""
    *folders, name = [part for part in relative.parts if part != relative.anchor] or [""]
    stem = name.rpartition(".")[0] or name
    return PurePath(*(_safe(f, _OWN_FILE_ENDINGS, _FOLDER_BYTES, windows) for f in folders),
                    _safe(stem, _OWN_ENDINGS, _NAME_BYTES, windows))  # fmt: skip


def numbered(key: PurePath, number: int) -> PurePath:
    """The key for the ``number``-th song of the same place."""
    ending = f" ({number})"
    return key.with_name(_shortened(key.name, _NAME_BYTES + _NUMBER_BYTES - len(ending)) + ending)


def same_place(key: PurePath) -> str:
    """Equal for keys that some file system takes for one: whatever case, composition, and dots at the end."""
    parts = (unicodedata.normalize("NFC", part.casefold()).rstrip(". ") for part in key.parts)
    return "/".join(parts)


def _safe(name: str, reserved: tuple[str, ...], room: int, windows: bool) -> str:
    """``name`` where it does no harm; else what is readable of it and a mark that tells it from others."""
    plain = name.rstrip(". ") if windows else name
    clean = "".join("_" if c in "/\0" or (windows and (c in FORBIDDEN or c < " ")) else c for c in plain)
    leads_elsewhere = not clean.strip(". ") or (windows and is_device(clean))
    if clean == plain and not leads_elsewhere and not is_ours(clean.casefold().rstrip(". "), reserved):
        return _shortened(clean, room)
    return _shortened("_" + clean.strip(". "), _NAME_BYTES - 9) + _mark(name)


def is_ours(name: str, endings: tuple[str, ...] = _OWN_ENDINGS) -> bool:
    """Whether a file of that name (in small letters) among our own ones is ours: nothing of a song is called so."""
    return name in _OWN_NAMES or name.startswith(TEMPORARY) or name.endswith(endings)


def _shortened(name: str, room: int) -> str:
    """``name``, cut and marked where it takes more than ``room`` bytes."""
    if len(os.fsencode(name)) <= room:
        return name
    mark = _mark(name)
    room = min(room, _NAME_BYTES)
    while len(os.fsencode(name)) > room - len(mark):
        name = name[:-1]
    return name + mark


def _mark(name: str) -> str:
    return "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def name_on_the_way(signal: str) -> str:
    """The name of a result that only leads to a variant."""
    return RESULT_ON_THE_WAY if signal == MIX else f"{signal}.{RESULT_ON_THE_WAY}"


# --- from keys to paths -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """The paths below the output folder ``out``. Each raises OutsideError for a key that leads out of it."""

    out: Path

    @property
    def lock(self) -> Path:
        """The file that the process holds which writes here."""
        return self._place(DONE, ".lock")

    @property
    def sounds(self) -> Path:
        """The index of all songs' sounds."""
        return self._place(DONE, ".sounds")

    def song_folder(self, key: PurePath) -> Path:
        """What is known of a song, and its markers."""
        return self._place(DONE, *key.parts)

    def record(self, key: PurePath) -> Path:
        """What is known of the source."""
        return self._place(DONE, *key.parts, RECORD)

    def marker(self, key: PurePath, task: str) -> Path:
        """The marker of a finished task."""
        return self._place(DONE, *key.parts, task + MARKER_ENDING)

    def outcome(self, key: PurePath, task: str) -> Path:
        """Why a task was not finished; without a task (``""``), why the song was not."""
        return self._place(DONE, *key.parts, f"{task}.failed.json" if task else "failed.json")

    def off(self, key: PurePath) -> Path:
        """Which variants are switched off for the song."""
        return self.song_folder(key) / "off.json"

    def album(self, key: PurePath) -> Path:
        """Which album the song is of, and how loud it is."""
        return self.song_folder(key) / "album.json"

    @property
    def run_log(self) -> Path:
        """What broke a run off: no song's log is hidden."""
        return self._place(LOGS, ".run.log")

    def log(self, key: PurePath) -> Path:
        """The song's log."""
        return self._place(LOGS, *key.parent.parts, key.name + ".log")

    def chunks(self, key: PurePath, *task: str) -> Path:
        """The folder of a task's chunks; without a task, of all of the song's."""
        return self._place(CHUNKS, *key.parts, *task)

    def on_the_way(self, key: PurePath, task: str, signal: str) -> Path:
        """The result of a task that only leads to a variant."""
        return self._place(CHUNKS, *key.parts, task, name_on_the_way(signal))

    def result(self, key: PurePath, variant: str, suffix: str) -> Path:
        """A variant of the song."""
        return self._place(variant, *key.parent.parts, f"{key.name}{suffix}.flac")

    def stem(self, key: PurePath, variant: str, stem: str, suffix: str) -> Path:
        """One of the signals of a variant that has several."""
        return self._place(variant, *key.parts, f"{stem}{suffix}.flac")

    def listening(self, key: PurePath) -> Path:
        """The folder of the listener's verdicts and tests."""
        return self._place(LISTENING, *key.parts)

    def report(self, name: str) -> Path:
        """What is told of the songs of the tree."""
        return self._place(REPORT, name)

    @property
    def reported(self) -> Path:
        """The mark that the reports tell of all songs as they are known: gone as soon as more is known of one."""
        return self._place(REPORT, ".told")

    def relative(self, path: Path) -> str:
        """``path`` as markers name it, with slashes. Raises ValueError where it is not in this tree."""
        text, base = str(path), self._base.rstrip(os.sep) + os.sep
        if not text.startswith(base):
            raise ValueError(f"{text} is not below {base}")
        return text[len(base) :].replace(os.sep, "/")

    def _place(self, *parts: str) -> Path:
        *folders, name = parts
        if not _stays(name):
            raise OutsideError(self.out.joinpath(*parts), self.out)
        return _folder(self._base, tuple(folders)) / name

    @cached_property
    def _base(self) -> str:
        return str(self.out)


@lru_cache(1024)  # those of the songs in work are asked for again and again
def _folder(base: str, parts: tuple[str, ...]) -> Path:
    if not all(map(_stays, parts)):
        raise OutsideError(Path(base, *parts), Path(base))
    return Path(base, *parts)


@lru_cache(8192)
def _stays(part: str) -> bool:
    """Whether it is the name of something right below, and leads nowhere else."""
    pure = PurePath(part)
    return part not in ("", ".", "..") and "\0" not in part and pure.parts == (part,) and not pure.anchor
