"""Finished chunks of a task on disk."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.files import open_regular, remove, writing
from engine.library.layout import CHUNK_ENDING, is_ours, name_on_the_way
from engine.library.state_file import read_checked, write_checked

_MAGIC = b"mp3restore chunk 1\n"
_HEAD = struct.Struct("<32s")  # the SHA-256 of where the chunk belongs, its shape and its samples
_OF_A_TASK = re.compile(r"[0-9a-f]{16}\Z")  # a folder of chunks; anything else there is not ours to remove


class ChunkCache:
    """Finished chunks of one task on disk, as float32 arrays. They are lost to no crash.

    Each carries a checksum over the task's fingerprint, its number, its shape and its samples: what was altered, cut
    off, or put in another's place is not there.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._folder = folder / fingerprint[:16]
        for other in chunk_folders(folder):
            if other != self._folder:
                _clear(other)

    def load(self, index: int, shape: tuple[int, int]) -> Audio | None:
        """The chunk, or None where it is not there or not whole."""
        size = len(_MAGIC) + _HEAD.size + shape[0] * shape[1] * 4
        try:
            with open_regular(self._path(index)) as file:
                data = file.read(size + 1)
        except OSError:
            return None
        if len(data) != size or not data.startswith(_MAGIC):
            return None
        samples = memoryview(data)[len(_MAGIC) + _HEAD.size :]
        (digest,) = _HEAD.unpack_from(data, len(_MAGIC))
        if digest != self._digest(index, shape, samples):
            return None
        return np.frombuffer(samples, "<f4").reshape(shape)

    def save(self, index: int, chunk: Audio) -> None:
        """Keep the chunk: on disk before it has its name. Raises OSError."""
        samples = np.ascontiguousarray(chunk, "<f4").data.cast("B")
        with writing(self._path(index)) as temporary, temporary.open("wb") as file:
            file.write(_MAGIC + _HEAD.pack(self._digest(index, chunk.shape, samples)))
            file.write(samples)

    def together(self, wanted: int) -> int:
        """How many chunks are worked on at once: ``wanted`` when the task was begun, whatever is wanted now.

        Networks may round differently in groups of another size, and a resumed run must give the same samples.
        Raises OSError.
        """
        path = self._folder / "together.json"
        kept = (read_checked(path, 0) or {}).get("together")
        if type(kept) is int and kept >= 1:
            return kept
        write_checked(path, {"format": 1, "together": wanted})
        return wanted

    def drop(self) -> None:
        """Throw the chunks away."""
        _clear(self._folder)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06d}{CHUNK_ENDING}"

    def _digest(self, index: int, shape: tuple[int, ...], samples: memoryview) -> bytes:
        digest = hashlib.sha256(f"{self._fingerprint} {index} {shape[0]}x{shape[1]}\n".encode())
        digest.update(samples)
        return digest.digest()


def drop_chunks(folder: Path, ports: Iterable[str]) -> None:
    """Throw away all chunks of the task whose folder this is, and its results on the way; nothing else in there."""
    for chunks in chunk_folders(folder):
        _clear(chunks)
    with suppress(OSError):
        for port in ports:
            remove(folder / name_on_the_way(port), folder)
        folder.rmdir()


def _clear(chunks: Path) -> None:
    """Remove what is ours in a folder of chunks, and it; a song that is called like it may have its own in there."""
    with suppress(OSError):
        for item in chunks.iterdir():
            if is_ours(item.name):
                remove(item, chunks)
        chunks.rmdir()


def chunk_folders(task: Path) -> list[Path]:
    """The folders of chunks in a task's folder, one for each fingerprint."""
    try:
        return [f for f in task.iterdir() if _OF_A_TASK.match(f.name) and f.is_dir() and not f.is_symlink()]
    except OSError:
        return []
