"""Giving up a result to make room, in such an order that a kill at any moment costs nothing that is to be kept.

First the marker says that the files may be missing, then they go. Killed in between, they are still there, count as
done, and the next time goes on where this one ended; put back from the trash by hand, they count as done again.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path, PurePath

from engine.audio.tags import has_provenance
from engine.errors import OutputError, RestoreError, explain_os_error
from engine.files import file_hash, is_below, remove, remove_empty
from engine.library.layout import OWN_FOLDERS
from engine.library.records import Marker, Output, Song, treated_stems
from engine.library.store import Store, is_same_file
from engine.library.verdicts import verdict_for_sure
from engine.text import printable

Dispose = Callable[[Path, Path], None]  # (a file, the folder that it must lie below); raises OSError
_FULL = (errno.ENOSPC, errno.EDQUOT)


def delete(path: Path, below: Path) -> None:
    """Remove a file for good. Raises OSError, or OutsideError."""
    remove(path, below)


def to_trash(path: Path, below: Path) -> None:
    """Move a file to the system's trash. Raises OSError: there is none for its disk, or it does not take it."""
    from send2trash import send2trash

    if not is_below(path, below):
        raise OSError(errno.EPERM, "it lies outside of the results", str(path))
    try:
        send2trash(os.path.abspath(path))
    except OSError as error:
        if error.errno in (*_FULL, errno.EROFS):
            raise
        raise OutputError(
            f"{printable(str(path))} could not be moved to the trash ({printable(str(error.strerror or error))}): "
            "this disk may have none. --delete removes for good."
        ) from error


def files_there(store: Store, marker: Marker) -> list[Output]:
    """Those of the marker's files that are there as variants, whatever is in them."""
    if not _lies_in_its_variant(marker):
        return []
    return [output for output in marker.outputs if os.path.lexists(store.out / output.path)]


def kept_by_favourite(store: Store, key: PurePath) -> set[str]:
    """The variants of the song at ``key`` that its favourite (chosen or proposed) keeps: it, and stems made of it.

    All of them where what was chosen cannot be read.
    """
    verdict = verdict_for_sure(store.places.listening(key))
    if verdict is None:
        return {marker.task for marker in store.markers_at(key)}
    if not (favourite := verdict.favourite):
        return set()
    treated = treated_stems([marker for marker in store.markers_at(key) if marker.is_published])
    return {favourite} | {name for name, plain in treated.items() if plain == favourite}


def _lies_in_its_variant(marker: Marker) -> bool:
    """Whether it tells of files in the variant's own folder and nowhere else."""
    tops = {PurePath(output.path).parts[0] for output in marker.outputs}
    return tops == {marker.task} and marker.task not in OWN_FOLDERS


def prune(store: Store, song: Song, marker: Marker, dispose: Dispose) -> list[str]:
    """Give up the result that ``marker`` of the song tells of. The output folder must be locked.

    Every file is read to its end before: what is not what was made (changed by hand, a link, another file) stays, and
    the whole result with it. Gives one sentence for each file that stays; none where all went well.
    """
    tree = store.out / marker.task
    there = files_there(store, marker)
    problems = [why for output in there if (why := _why_not(store, song, output, tree))]
    if problems:
        return problems
    files = [store.out / output.path for output in there]
    first = _declare(store, song, marker, files, dispose, tree)
    gone = first
    for path in files[first:]:
        try:
            dispose(path, tree)
            gone += 1
        except OSError as error:
            problems.append(explain_os_error(error, printable(str(path))))
        except RestoreError as error:
            problems.append(str(error))
    if problems and not gone:
        store.write_marker(song.key, marker)  # nothing went: all is as it was
    _remove_folders(store, marker)
    return problems


def is_unfinished(store: Store, marker: Marker) -> bool:
    """Whether a result has no files any more, and is not said to be given up, or has left empty folders behind."""
    if not _lies_in_its_variant(marker) or files_there(store, marker):
        return False
    return not marker.pruned or any(folder.is_dir() and not any(folder.iterdir()) for folder in _folders(store, marker))


def finish(store: Store, song: Song, marker: Marker) -> None:
    """What is left to do where all files of a result are gone (by hand, or a prune was killed). Raises OSError."""
    if not marker.pruned:
        store.write_marker(song.key, dataclasses.replace(marker, pruned=True))
    _remove_folders(store, marker)


def _folders(store: Store, marker: Marker) -> list[Path]:
    """The folders, below the variant's own, that the result's files lie in, the innermost first."""
    tree = store.out / marker.task
    folders = {folder: None for output in marker.outputs for folder in (store.out / output.path).parents}
    return [folder for folder in folders if is_below(folder, tree)]


def _remove_folders(store: Store, marker: Marker) -> None:
    for folder in _folders(store, marker):
        remove_empty(folder, store.out / marker.task)


def _declare(store: Store, song: Song, marker: Marker, files: list[Path], dispose: Dispose, tree: Path) -> int:
    """Say in the marker that the files may be missing. Gives how many of them are gone already. Raises OSError.

    A disk may be so full that it has no room even for that: then one file has to be deleted first.
    """
    pruned = dataclasses.replace(marker, pruned=True)
    try:
        store.write_marker(song.key, pruned)
        return 0
    except OSError as error:
        if error.errno not in _FULL or dispose is not delete or not files:
            raise
    dispose(files[0], tree)
    store.write_marker(song.key, pruned)
    return 1


def _why_not(store: Store, song: Song, output: Output, tree: Path) -> str:
    """Empty where the file may go, else one sentence."""
    path = store.out / output.path
    name = printable(str(path))
    try:
        if path.is_symlink() or not is_below(path, tree):
            return f"{name} is a link, or lies behind one: it was left as it is."
        source = store.source_of(song.key)
        if is_same_file(song.path, path) or (source is not None and is_same_file(source, path)):
            return f"{name} is the song itself: it was left as it is."
        before = path.stat()
        as_made = file_hash(path) == output.sha256 and has_provenance(path)
        after = path.lstat()
    except OSError as error:
        return explain_os_error(error, name)
    if not as_made or _stamp(before) != _stamp(after):
        return f"{name} is not what was made: somebody changed it, so it was left as it is."
    return ""


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
