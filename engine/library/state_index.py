"""What the small state files of an output folder say, in one SQLite file, so that they need not be read one by one.

A cache, and never the truth: it is asked for a file only as that is on the disk at this moment, by its size, its times
and its number. What is not in it, or does not fit, is read from the file, as if there were no index; and it is made
anew where it is missing, damaged or of another version. It lies in the user's cache folder, and not with the results:
those may be on a network, where SQLite is not safe, or be read-only.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from platformdirs import user_cache_path

from engine.library.state_file import read_checked

T = TypeVar("T")

_VERSION = 1
_TABLE = "CREATE TABLE IF NOT EXISTS folders (name BLOB PRIMARY KEY, files BLOB) WITHOUT ROWID"
_PATIENCE = 0.25  # seconds to wait for another process
_MOST_FOLDERS = 512  # that are held in memory
_CHECK_BYTES = 16
_SETTLED = 2_000_000_000  # nanoseconds after which a file that is changed again gets another time, on every file system

_Stamp = tuple[int, int, int, int]  # size, time of the content, time of the entry, number: something differs


@dataclass
class _File:
    """A state file that was read. ``data`` is its object; ``understood`` what was made of it in this process."""

    stamp: _Stamp
    data: bytes
    understood: dict[Any, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any] | None:
        """The object; None where it is none, which nobody but us should have written."""
        try:
            return _of_file.decode(self.data)
        except (msgspec.MsgspecError, UnicodeError):
            return None


_Folder = dict[str, _File]  # by name
_of_file = msgspec.msgpack.Decoder(dict[str, Any])
_of_row = msgspec.msgpack.Decoder(dict[str, tuple[_Stamp, bytes]])


def index_path(out: Path) -> Path:
    """Where the index of the output folder ``out`` is."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:16]
    return user_cache_path("mp3restore", appauthor=False) / "libraries" / f"{name}.sqlite"


class StateIndex:
    """The state files below ``out``. May be used by several threads; other processes may have it open, too."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = threading.RLock()
        self._folders: dict[str, _Folder] = {}
        self._changed: set[str] = set()
        self._database: sqlite3.Connection | None = None
        self._tries = 2  # to open it: what is damaged is made anew once

    def read(self, path: Path, unchecked_format: int, understand: Callable[[dict[str, Any]], T | None]) -> T | None:
        """What ``understand`` makes of the file as it is now (:func:`read_checked`); None where it is not there."""
        name = str(path)
        folder, _, name_there = name.rpartition(os.sep)
        try:
            status = os.stat(name)  # noqa: PTH116 - a Path takes long to look up
        except (OSError, ValueError):
            return None
        stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        with self._lock:
            known = self._of(folder).get(name_there)
        if known is None or known.stamp != stamp:
            data = read_checked(path, unchecked_format)
            if data is None:
                return None
            known = self._learn(folder, name_there, stamp, data)
            if known is None:
                return understand(data)
        if understand not in known.understood:
            data = known.content() or read_checked(path, unchecked_format)
            known.understood[understand] = understand(data) if data is not None else None
        found: T | None = known.understood[understand]
        return found

    def _learn(self, folder: str, name: str, stamp: _Stamp, data: dict[str, Any]) -> _File | None:
        """Remember a file; None where it could be changed again without a trace, or holds what cannot be kept."""
        if abs(time.time_ns() - max(stamp[1], stamp[2])) < _SETTLED:
            return None
        try:
            known = _File(stamp, msgspec.msgpack.encode(data))
        except (ValueError, OverflowError):  # a name that is no text, a number without end
            return None
        with self._lock:
            self._of(folder)[name] = known
            self._changed.add(folder)
        return known

    def _of(self, folder: str) -> _Folder:
        found = self._folders.get(folder)
        if found is None:
            if len(self._folders) >= _MOST_FOLDERS:
                self.keep()
                for old in list(self._folders)[: _MOST_FOLDERS // 2]:
                    del self._folders[old]
            found = self._folders[folder] = self._load(folder)
        return found

    # --- on the disk -----------------------------------------------------------------------------------------

    def _load(self, folder: str) -> _Folder:
        row = self._ask("SELECT files FROM folders WHERE name = ?", [(os.fsencode(folder),)])
        if row is None or not isinstance(row[0], bytes) or _check(row[0][_CHECK_BYTES:]) != row[0][:_CHECK_BYTES]:
            return {}
        try:
            return {name: _File(*file) for name, file in _of_row.decode(row[0][_CHECK_BYTES:]).items()}
        except msgspec.MsgspecError:
            return {}

    def keep(self) -> None:
        """Write down what was learnt; where that does not work, it is learnt again another time."""
        with self._lock:
            rows = []
            for folder in self._changed:
                packed = msgspec.msgpack.encode({n: (f.stamp, f.data) for n, f in self._folders[folder].items()})
                rows.append((os.fsencode(folder), _check(packed) + packed))
            self._changed.clear()
            if rows:
                self._ask("INSERT OR REPLACE INTO folders VALUES (?, ?)", rows)

    def _ask(self, statement: str, rows: Sequence[tuple[bytes, ...]]) -> tuple[Any, ...] | None:
        """Carry out one statement for every row, all or none; gives what the last one found."""
        try:
            if self._database is None and not self._open():
                return None
            assert self._database is not None
            if len(rows) == 1:
                found: tuple[Any, ...] | None = self._database.execute(statement, rows[0]).fetchone()
                self._database.commit()
                return found
            with self._database:
                self._database.executemany(statement, rows)
        except sqlite3.OperationalError:
            pass  # another process has it, or the disk is full: then the files themselves are read
        except sqlite3.Error:
            self._discard()
        return None

    def _open(self) -> bool:
        """Open the index, made anew where it is of another version; False where there can be none."""
        while self._tries:
            self._tries -= 1
            path = index_path(self._out)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                database = sqlite3.connect(path, _PATIENCE, check_same_thread=False)
            except (OSError, sqlite3.Error):
                continue
            self._database = database
            try:
                database.execute("PRAGMA synchronous = OFF")
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version not in (0, _VERSION):
                    raise sqlite3.DatabaseError("of another version")
                with database:
                    database.execute(_TABLE)
                    database.execute(f"PRAGMA user_version = {_VERSION}")
            except sqlite3.OperationalError:
                self._close()
            except sqlite3.Error:
                self._discard()
            else:
                return True
        return False

    def _close(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None

    def remove(self) -> None:
        """Delete it: the folder will not be opened again. Otherwise it would be made anew."""
        with self._lock:
            self._changed.clear()
            self._folders.clear()
            self._discard()
            self._tries = 0

    def _discard(self) -> None:
        """It is damaged, or not ours to read."""
        self._close()
        with suppress(OSError):
            index_path(self._out).unlink()


def _check(packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_CHECK_BYTES).digest()
