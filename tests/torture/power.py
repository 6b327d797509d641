"""Power cuts: what may lie on a disk when the power fails at a moment of a deed.

What was asked of the files is told by the shim. On the disk is what was flushed, and of the rest anything a file system
may have got to: of each file's later writes a prefix (the last of them cut anywhere, or its length there and its bytes
zeros), and of names made, changed and removed either as many as one journal holds, or for every folder as many as it
likes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from random import Random

from tests.torture.places import Place, Snapshot
from tests.torture.shim import On

_HEAD = struct.Struct("=IIIIQqQ")


@dataclass(frozen=True)
class Told:
    """An operation: its kind, the number of the file, the place of a write (for a creation: whether it is a new file)."""

    kind: On
    file: int
    place: int
    one: str
    other: str
    data: bytes


def read_log(data: bytes) -> list[Told]:
    """All operations, in their order."""
    found, at = [], 0
    while at < len(data):
        kind, one, other, _, file, place, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        names = data[at : at + one + other].decode("utf-8", "surrogateescape")
        found.append(
            Told(On(kind), file, place, names[:one], names[one:], data[at + one + other : at + one + other + size])
        )
        at += one + other + size
    return found


@dataclass
class _File:
    """A file's bytes, as they are on the disk, and the writes that may be."""

    flushed: bytes = b""
    later: list[tuple[int, bytes | None]] = field(default_factory=list)  # place and bytes; None: cut off there

    def now(self) -> bytes:
        return _written(self.flushed, self.later)


def _written(content: bytes, writes: list[tuple[int, bytes | None]]) -> bytes:
    data = bytearray(content)
    for place, piece in writes:
        if piece is None:
            del data[place:]
            data.extend(bytes(place - len(data)))
        else:
            data.extend(bytes(max(0, place - len(data))))
            data[place : place + len(piece)] = piece
    return bytes(data)


def after_a_cut(place: Place, before: Snapshot, numbers: dict[int, str], log: list[Told], moment: int,
                dice: Random) -> Snapshot:  # fmt: skip
    """What may lie in ``place``, where ``before`` lay, when the power fails before the operation ``moment``.

    ``numbers`` are the files that lay there before, by their numbers.
    """
    names = _Names(place, before)
    times = {id(file): content[1] for name, content in before.items() if content and (file := names.first[name])}
    files = {number: file for number, name in numbers.items() if (file := names.first.get(name)) is not None}
    for told in log[:moment]:
        match told.kind:
            case On.CREATE if told.place:
                files[told.file] = _File()
                names.do(told, files[told.file])
            case On.CREATE | On.TRUNCATE:  # cut off
                files.setdefault(told.file, _File()).later.append((told.place, None))
            case On.WRITE:
                files.setdefault(told.file, _File()).later.append((told.place, told.data))
            case On.SYNC:
                if (file := files.get(told.file)) is not None:
                    file.flushed, file.later = file.now(), []
                names.flush(told.one)
            case _:
                names.do(told, None)
    left = names.on_the_disk(dice)
    return {
        name: None if file is None else (_cut(file, dice), times.get(id(file), 10**18 + moment))
        for name, file in left.items()
    }


def _cut(file: _File, dice: Random) -> bytes:
    """The bytes that are there: all of the flushed, and some of the later."""
    if not file.later:
        return file.flushed
    kept = file.later[: dice.randint(0, len(file.later))]
    content = _written(file.flushed, kept)
    if len(kept) < len(file.later):
        place, piece = file.later[len(kept)]
        match dice.randrange(3):
            case 0 if piece:
                content = _written(content, [(place, piece[: dice.randrange(len(piece))])])
            case 1 if piece:
                content = _written(content, [(place, bytes(len(piece)))])
    return content


def _folder(name: str) -> str:
    """That it lies in; empty for the place itself."""
    return name.rpartition("/")[0]


class _Names:
    """The names below a place: as a running program sees them, and as the disk may have them."""

    def __init__(self, place: Place, before: Snapshot) -> None:
        self._root = os.fspath(place.root)
        self.first: dict[str, _File | None] = {
            name: None if content is None else _File(content[0]) for name, content in before.items()
        }
        self.seen = dict(self.first)
        self._done: list[tuple[Told, _File | None]] = []  # the later ones, in their order
        self._safe: set[int] = set()  # which of them are flushed

    def name(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def is_folder(self, path: str) -> bool:
        return self.name(path) == "." or self.seen.get(self.name(path), 0) is None

    def do(self, told: Told, file: _File | None) -> None:
        self._apply(self.seen, told, file)
        self._done.append((told, file))

    def flush(self, path: str) -> None:
        """A folder's own names are safe; a file is safe under its name."""
        name = self.name(path)
        for number, (told, _) in enumerate(self._done):
            mine = _folder(self.name(told.other or told.one)) == (name if name != "." else "")
            if (mine and self.is_folder(path)) or (told.kind is On.CREATE and self.name(told.one) == name):
                self._safe.add(number)

    def on_the_disk(self, dice: Random) -> dict[str, _File | None]:
        """The names that may be there."""
        as_a_journal = dice.random() < 0.5
        count = len(self._done)
        if as_a_journal:
            kept = set(range(dice.randint(max(self._safe, default=-1) + 1, count)))
        else:
            kept = set(self._safe)
            folders: dict[str, list[int]] = {}
            for number, (told, _) in enumerate(self._done):
                folders.setdefault(_folder(told.other or told.one), []).append(number)
            for numbers in folders.values():
                least = max((place for place, n in enumerate(numbers) if n in self._safe), default=-1) + 1
                kept.update(numbers[: dice.randint(least, len(numbers))])
        found = dict(self.first)
        for number, (told, file) in enumerate(self._done):
            if number in kept:
                self._apply(found, told, file)
        return {name: item for name, item in found.items() if self._has_folders(found, name)}

    def _has_folders(self, found: dict[str, _File | None], name: str) -> bool:
        parent = _folder(name)
        return not parent or (found.get(parent, 0) is None and self._has_folders(found, parent))

    def _apply(self, names: dict[str, _File | None], told: Told, file: _File | None) -> None:
        one, other = self.name(told.one), self.name(told.other) if told.other else ""
        if told.kind is On.CREATE:
            names[one] = file
        elif told.kind is On.MKDIR:
            names[one] = None
        elif told.kind in (On.UNLINK, On.RMDIR):
            names.pop(one, None)
        elif told.kind is On.LINK and one in names:
            names[other] = names[one]
        elif told.kind is On.RENAME and one in names:
            names[other] = names.pop(one)
            for below in [name for name in names if name.startswith(one + "/")]:
                names[other + below[len(one) :]] = names.pop(below)
