"""Where in the output tree each sound lies: a cache of what the records say, in one file."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from engine.errors import NotRegularError
from engine.files import make_folder, open_regular, remove

_DIGEST = re.compile(r"(file:)?[0-9a-f]{32,64}")
Entry = tuple[str, PurePath]  # a hash, and the key of a song that has it


class SoundIndex:
    """From a hash to the places of the songs that have it, as far as is known: the records there have the last word.

    ``records`` gives all of them, and is asked where the file is missing. One line an entry; lines are only added.
    """

    def __init__(self, path: Path, records: Callable[[], Iterable[Entry]]) -> None:
        self._path, self._records = path, records
        self._lock = threading.RLock()
        self._found: dict[str, list[PurePath]] | None = None

    def places(self, digest: str) -> list[PurePath]:
        """The keys of the songs that have, or had, that hash."""
        with self._lock:
            return list(self._entries().get(digest, ()))

    def knows(self, prefix: str) -> bool:
        """Whether any hash begins like that."""
        with self._lock:
            return any(digest.startswith(prefix) for digest in self._entries())

    def all_places(self) -> list[PurePath]:
        """All places that are known."""
        with self._lock:
            return list(dict.fromkeys(key for keys in self._entries().values() for key in keys))

    def add(self, digest: str, key: PurePath) -> None:
        """Tell of a song. Raises OSError."""
        with self._lock:
            keys = self._entries().setdefault(digest, [])
            if key not in keys:
                self._write([(digest, key)])
                keys.append(key)  # only now: what could not be written is tried again

    def _entries(self) -> dict[str, list[PurePath]]:
        """All that is known. Raises OSError: it cannot be read, which must not pass for nothing."""
        if self._found is None:
            kept = self._read()
            found: dict[str, list[PurePath]] = {}
            for digest, key in list(self._records()) if kept is None else kept:
                found.setdefault(digest, []).append(key)
            if kept is None:
                remove(self._path, self._path.parent)
                if found:
                    self._write((digest, key) for digest, keys in found.items() for key in keys)
            self._found = found
        return self._found

    def _read(self) -> list[Entry] | None:
        """None where there is none, or a damaged one: it is made anew."""
        try:
            with open_regular(self._path) as file:
                lines = file.read().decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, NotADirectoryError, NotRegularError):
            return None
        found = [_entry(line) for line in lines if line]
        return None if None in found else [entry for entry in found if entry is not None]

    def _write(self, entries: Iterable[Entry]) -> None:
        lines = [f"\n{digest} {json.dumps(key.as_posix())}" for digest, key in entries]
        make_folder(self._path.parent)
        with suppress(NotRegularError), open_regular(self._path, append=True) as file:  # records say it all, but slower
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _entry(line: str) -> Entry | None:
    """None for a line that is not whole."""
    digest, _, name = line.partition(" ")
    try:
        key = PurePath(json.loads(name))
    except (ValueError, TypeError, RecursionError):
        return None
    is_one = _DIGEST.fullmatch(digest) is not None and key.parts
    return (digest, key) if is_one and not key.is_absolute() and ".." not in key.parts else None
