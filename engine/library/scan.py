"""Finding the songs in what the user gave: files, and folders with all that is below them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from engine.audio.tags import has_provenance
from engine.errors import UsageError
from engine.library.exports import read_exports
from engine.library.layout import DONE, MARKER_ENDING, OWN_FOLDERS
from engine.text import printable

_SONGS_LOOKED_AT = 50
OUTPUT_NAME = "AI_Restored_Variants"
#: What libsndfile reads and people keep music in; MP3 first, as it wins where two files share a name.
SUFFIXES = (
    ".mp3", ".mp2", ".mpga", ".flac", ".wav", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".w64",
    ".rf64", ".caf", ".au", ".snd", ".wv",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A song file and where it lies below what was given (its own name for a file)."""

    path: Path
    relative: PurePath


def default_output(paths: Iterable[Path]) -> Path:
    """``AI_Restored_Variants`` beside the first of what was given (inside, where there is no beside)."""
    first = Path(os.path.abspath(next(iter(paths))))
    return first.parent / OUTPUT_NAME


def find_songs(paths: Iterable[Path], out: Path) -> list[Found]:
    """All songs in ``paths``, sorted, each once. Hidden files, earlier results, what was exported
    and what is no file are left out.

    Raises:
        UsageError: a path does not exist, or a file is given that is not a song.
    """
    found: dict[str, Found] = {}
    real = cache(os.path.realpath)  # of folders: looked up once each, and not once a song
    for path in paths:
        for item in _below(Path(os.path.abspath(path)), Path(os.path.abspath(out))):
            folder = "" if item.path.is_symlink() else real(item.path.parent).rstrip(os.sep)
            whole = f"{folder}{os.sep}{item.path.name}" if folder else os.path.realpath(item.path)
            found.setdefault(whole, item)
    return sorted(found.values(), key=_order)


def _order(item: Found) -> tuple[str, int, str]:
    suffix = item.path.suffix.lower()
    return str(item.relative.with_suffix("")).casefold(), SUFFIXES.index(suffix), str(item.relative)


def _below(path: Path, out: Path) -> Iterator[Found]:
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UsageError(f"{shown} does not exist: check the path (and its drive).") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{shown} cannot be looked at ({reason}): check the path.") from error
    if stat.S_ISDIR(mode):
        for found in _walk(path, out):
            yield Found(found, found.relative_to(path))
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{shown} is not a song: give MP3 files or folders that hold them.")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{shown} is no file but a pipe or a device: give MP3 files or folders that hold them.")
    if _is_result(path):
        raise UsageError(f"{shown} is a result of this program: give the song that it was made from.")
    yield Found(path, PurePath(path.name))


def _walk(top: Path, out: Path) -> Iterator[Path]:
    """The songs in ``top`` and below. Folders behind links are not entered, and none twice."""
    waiting, seen = [top], set()
    exported: set[Path] = set()  # copies of favourites: songs of the library themselves, or results
    while waiting:
        folder = waiting.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as listing:
                entries = sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            _tell(folder, error.strerror or "it cannot be read")
            continue
        if (status.st_dev, status.st_ino) in seen:  # Windows' junctions, too, can lead in circles
            continue
        seen.add((status.st_dev, status.st_ino))
        ours = _folders_of_results(folder, out)
        exported |= {folder / name for name in read_exports(folder)}
        yield from (path for entry in entries if (path := Path(entry.path)) not in exported and _is_song(entry))
        below = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and e.name not in ours]
        waiting += [b for b in reversed(below) if not _is_all_results(b)]


def _is_song(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file (or a link to one) that can be a song; what only has the name of one is told."""
    path = Path(entry.path)
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        if entry.is_file():
            return not _is_result(path)
        if entry.is_dir():
            return False
        path.stat()
    except OSError as error:  # a link to nothing, or one in a circle
        _tell(path, error.strerror or "it cannot be read")
        return False
    _tell(path, "it is no file but a pipe or a device")
    return False


# --- what is no song though it sounds like one ------------------------------------------------------------


def _is_result(path: Path) -> bool:
    return path.suffix.lower() == ".flac" and has_provenance(path)


def _is_all_results(folder: Path) -> bool:
    """Whether it is an output folder of the usual name, in which nobody keeps anything else."""
    return folder.name == OUTPUT_NAME and (folder / DONE).is_dir()


def _folders_of_results(folder: Path, out: Path) -> set[str]:
    """Where ``folder`` is an output folder, by its shape or as it is this run's: the names in it that are ours."""
    done = folder / DONE
    if not done.is_dir() or not (_is_same(folder, out) or (_has_another(folder) and _keeps_records(done))):
        return set()
    return {*OWN_FOLDERS, *_variants_in(done)}


def _has_another(folder: Path) -> bool:
    return any((folder / own).is_dir() for own in OWN_FOLDERS[1:])


def _keeps_records(done: Path) -> bool:
    """Whether it is ours: music may well lie in a folder of that name."""
    return (done / ".lock").is_file() or any("song.json" in files for _folder, _folders, files in os.walk(done))


def _is_same(folder: Path, out: Path) -> bool:
    try:
        return folder.samefile(out)
    except OSError:
        return False


def _variants_in(done: Path) -> set[str]:
    """The variants that the markers of some songs tell of; results of others are known by their tags."""
    names: set[str] = set()
    looked = 0
    for _folder, _folders, files in os.walk(done):
        made = {name.removesuffix(MARKER_ENDING) for name in files if name.endswith(MARKER_ENDING)}
        names |= made
        looked += bool(made)
        if looked == _SONGS_LOOKED_AT:
            break
    return names


def _tell(path: Path, reason: str) -> None:
    print(f"{printable(str(path))} was left out: {reason}.", file=sys.stderr)
