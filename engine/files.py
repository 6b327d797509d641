"""Files by their bytes: read, written whole or not at all, and removed only where that was meant."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, overload

from engine.errors import NotRegularError, OutsideError

_IN_USE = (5, 32, 33)  # Windows: access denied, sharing violation, lock violation
_PATIENCE = 8.0  # seconds to wait for a virus scanner or player to let go of a file
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds
TEMPORARY = ".mp3restore-"  # what the names of temporary files begin with
_TEMPORARY = re.compile(
    re.escape(TEMPORARY) + r"(?:(\d+)-[0-9a-f]{8}|[0-9a-f]{12})\.tmp"
)  # the second: of older versions
_MOST_JSON = 4 << 20  # bytes that a JSON file of ours may have
_in_work: set[str] = set()  # temporary names that this process is writing to
_swept: set[Path] = set()  # folders in which stale ones were looked for


# --- reading ----------------------------------------------------------------------------------------------


@overload
def open_regular(path: Path) -> io.BufferedReader: ...
@overload
def open_regular(path: Path, *, append: Literal[True]) -> io.BufferedWriter: ...
def open_regular(path: Path, *, append: bool = False) -> io.BufferedReader | io.BufferedWriter:
    """Open a file for reading, or to ``append`` to it (not through a link), and nothing else: pipes block.

    Raises:
        NotRegularError: it is something else than a file.
        OSError: it cannot be opened.
    """
    flags = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) if append else os.O_RDONLY
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if append and error.errno in (errno.ENXIO, errno.EISDIR, errno.ELOOP):  # a pipe nobody reads, a folder, a link
            raise NotRegularError(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegularError(path)
    return io.BufferedWriter(io.FileIO(handle, "ab")) if append else io.BufferedReader(io.FileIO(handle, "rb"))


def read_text(path: Path, most: int) -> str:
    """A text file in UTF-8 of at most ``most`` bytes. Raises OSError, or ValueError (a sentence) for another."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 10} kB.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8: save it as that.") from error


def read_json(path: Path, *, to_change: bool = False) -> dict[str, Any] | None:
    """The JSON object in ``path``; None where there is none. Never raises and never waits, whatever lies there.

    What is read ``to_change`` it must not be taken for nothing because a drive failed for a moment: OSError is raised
    then, where a file is there and cannot be read.
    """
    try:
        return _as_object(read_text(path, _MOST_JSON))
    except (FileNotFoundError, NotRegularError, ValueError, RecursionError, MemoryError):
        return None  # a pipe or a folder is none of our files
    except OSError:
        if to_change:
            raise
        return None


def _as_object(text: str) -> dict[str, Any] | None:
    data = json.loads(text, parse_float=_finite, parse_constant=_finite)
    return data if isinstance(data, dict) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing ----------------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, to be written within the block; then it is on disk and replaces ``path``.

    After an error ``path`` is what it was, and nothing is left behind. The temporary name belongs to this process
    alone; those that died in mid-write left are removed.

    Raises:
        OSError: the folder cannot be made, or the file not be brought to disk or to its name.
    """
    folder = path.parent
    make_folder(folder)
    sweep(folder)
    name = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.tmp"
    _in_work.add(name)
    temporary = folder / name
    try:
        yield temporary
        _flush(temporary)
        replace_file(temporary, path)
    finally:
        with suppress(OSError):
            remove(temporary, folder)
        _in_work.discard(name)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file that is either the old or the new one, never half of it. Raises OSError."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in, where they are not there: on disk, so that a power cut does not take
    with them what is brought into them. Raises OSError."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    if os.name == "posix":
        flush_folder(folder.parent)


def replace_file(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which may exist, so that a power cut leaves one of the two.

    On Windows a virus scanner or a player may hold the target open for a moment: that is waited for.

    Raises:
        OSError: it did not work, or not within some seconds.
    """
    pause, end = _FIRST_PAUSE, time.monotonic() + _PATIENCE
    while True:
        try:
            source.replace(target)
            break
        except OSError as error:
            if getattr(error, "winerror", None) not in _IN_USE or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    if os.name == "posix":
        flush_folder(target.parent)


def _flush(path: Path) -> None:
    """Bring the bytes onto the disk, so that a power cut cannot leave a name without its content."""
    if path.stat().st_nlink > 1:
        return  # a hard link to what has long been there, and perhaps not ours to open for writing
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """The same for the name. Some file systems do not know how; the rename itself has been done."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are gone in a folder; once, as it may hold many files."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY)]
        for name in names:
            if (match := _TEMPORARY.fullmatch(name)) and not _is_written(name, match[1]):
                with suppress(OSError):
                    remove(folder / name, folder)


def _is_written(name: str, process: str | None) -> bool:
    """Whether a process still writes to the temporary file of that name."""
    if process is None:
        return False
    if int(process) == os.getpid():
        return name in _in_work  # else an earlier process had our number
    import psutil

    return psutil.pid_exists(int(process))


# --- removing ---------------------------------------------------------------------------------------------


def is_below(path: Path, folder: Path) -> bool:
    """Whether ``path`` lies strictly below ``folder``: by its words, and on the disk, whatever links lie between.

    Where ``path`` itself is a link, it is the link that is looked at and not what it leads to.
    """
    if ".." in path.parts:
        return False
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    if path == folder or not path.is_relative_to(folder):
        return False
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


def absolute(path: str) -> Path:
    """A path that a user wrote, from the root on. Raises RuntimeError where its ``~`` is nobody's home."""
    return Path(os.path.abspath(Path(path).expanduser()))


def remove(path: Path, below: Path) -> None:
    """Remove a file, a link (not what it leads to), or a folder with all that is in it. Nothing there is no error.

    Raises:
        OutsideError: ``path`` does not lie strictly below ``below``; nothing was touched.
        OSError: it cannot be removed.
    """
    if not is_below(path, below):
        raise OutsideError(path, below)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    problems: list[OSError] = []  # what cannot be removed keeps nothing else from going
    shutil.rmtree(path, onerror=lambda _call, _path, error: problems.append(error[1]))  # type: ignore[arg-type]
    for problem in problems:
        if not isinstance(problem, FileNotFoundError):
            raise problem


def remove_empty(folder: Path, below: Path) -> None:
    """Remove ``folder`` and the folders that it lies in, up to and without ``below``, as far as they are empty.

    Raises:
        OutsideError: ``folder`` does not lie strictly below ``below``; nothing was touched.
    """
    if not is_below(folder, below):
        raise OutsideError(folder, below)
    folder, below = Path(os.path.abspath(folder)), Path(os.path.abspath(below))
    with suppress(OSError):  # the first that is not empty ends it
        while folder != below:
            if folder.is_symlink() or folder.exists():
                folder.rmdir()
            folder = folder.parent
