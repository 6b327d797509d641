"""Finding the songs in what the user gave: files, and folders with all that is below them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.errors import UsageError
from engine.text import printable

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
    """All songs in ``paths``, sorted, each once. Hidden files and earlier results are left out.

    Raises:
        UsageError: a path does not exist, or a file is given that is not a song.
    """
    found: dict[str, Found] = {}
    for path in paths:
        for item in _below(Path(os.path.abspath(path)), Path(os.path.abspath(out))):
            found.setdefault(os.path.realpath(item.path), item)
    return sorted(found.values(), key=_order)


def _order(item: Found) -> tuple[str, int, str]:
    suffix = item.path.suffix.lower()
    return str(item.relative.with_suffix("")).casefold(), SUFFIXES.index(suffix), str(item.relative)


def _below(path: Path, out: Path) -> Iterator[Found]:
    shown = printable(str(path))
    try:
        is_folder = path.is_dir()
        exists = is_folder or path.exists()
    except OSError as error:
        raise UsageError(f"{shown} cannot be looked at ({error.strerror}): check the path.") from error
    if not exists:
        raise UsageError(f"{shown} does not exist: check the path (and its drive).")
    if not is_folder:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{shown} is not a song: give MP3 files or folders that hold them.")
        yield Found(path, PurePath(path.name))
        return
    for folder, names, files in os.walk(path, onerror=_tell):
        here = Path(folder)
        names[:] = sorted(n for n in names if not n.startswith(".") and not _is_output(here / n, out))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Found(here / name, (here / name).relative_to(path))


def _is_output(folder: Path, out: Path) -> bool:
    return folder == out or (folder.name == OUTPUT_NAME and (folder / "_done").is_dir())


def _tell(error: OSError) -> None:
    print(f"{printable(str(error.filename))} was left out: {error.strerror}.", file=sys.stderr)
