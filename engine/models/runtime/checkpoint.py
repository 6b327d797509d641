"""Files of weights, read as data: PyTorch's zip archives (TorchScript's too) and older pickles, and safetensors.

Nothing in them is run (see :mod:`engine.models.runtime.pickled`), and every size, place and count is checked before it
is believed. Large files are mapped, not read; PyTorch is needed only to hand tensors to it.
"""

from __future__ import annotations

import io
import json
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import NotPossibleError
from engine.files import open_regular, writing
from engine.models.runtime.pickled import (
    DAMAGED,
    DEEPEST,
    DTYPES,
    MOST_STEPS,
    TOO_LARGE,
    Machine,
    StandIn,
    Storage,
    Tensor,
    Wrong,
    filled,
)
from engine.text import printable

_MAPPED = 256 << 20  # bytes from which a file is mapped instead of read: a mapped file cannot be replaced on Windows
_MOST_TOLD = 16 << 20  # bytes of a pickle, of safetensors' header and of a zip's directory
_MOST_UNPACKED = 1 << 29  # bytes of all that is compressed in a zip
_MOST_TENSORS = 100_000
MISFITS = (LookupError, ArithmeticError, RuntimeError, ValueError, TypeError, AttributeError)  # of another network
_INSIDE = ("state_dict", "model_state_dict", "state", "model")  # where the weights lie in what trainers save
_LEGACY = (0x1950A86A20F9469CFC6C, 1001)  # the magic number and the version of PyTorch's format before zip


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds. ``facts`` are the texts that safetensors carries beside its tensors."""

    content: Any
    facts: Mapping[str, str] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the network by their dotted names; of a trainer's file, those of the model alone.

        Raises:
            ValueError: there are too many, or they are together far larger than what the file holds.
        """
        content = self.content
        for _ in range(DEEPEST):
            if isinstance(content, dict):
                content = next((content[key] for key in _INSIDE if isinstance(content.get(key), dict)), content)
        found: dict[str, Tensor] = {}
        for number, (name, value) in enumerate(_walk(content)):
            if number > MOST_STEPS or len(found) > _MOST_TENSORS:
                raise Wrong(TOO_LARGE)
            if isinstance(value, Tensor):
                found[name] = value
        storages = {id(tensor.storage): tensor.storage.size for tensor in found.values()}
        # Weights may be shared, but a small file must not become a large memory.
        if sum(tensor.size for tensor in found.values()) > 4 * sum(storages.values()) + (1 << 20):
            raise Wrong(TOO_LARGE)
        return found


def read(path: Path) -> Checkpoint:
    """What is in a file of weights. Nothing in it is run.

    Raises:
        NotPossibleError: it is none, or a damaged one; the sentence says what it looks like.
        OSError: it cannot be read.
    """
    name = printable(path.name)
    data = _bytes_of(path)
    try:
        return _read(data)
    except Wrong as error:
        raise NotPossibleError(f"{name} is {error}.") from error
    except Exception as error:  # bytes that nobody vouches for: anything can go wrong
        raise NotPossibleError(f"{name} is {DAMAGED}.") from error


def for_torch(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same as PyTorch's tensors, without a copy. Imports torch. Raises ValueError as :meth:`Tensor.array`."""
    import torch

    return {name: torch.from_numpy(tensor.array()) for name, tensor in tensors.items()}


def write(path: Path, tensors: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """Write PyTorch's tensors as safetensors: the whole file or none. Imports torch. Raises OSError."""
    from safetensors.torch import save_file

    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    owners = {tensor.data_ptr(): name for name, tensor in kept.items()}  # what is shared is written for each
    own = {name: tensor if owners[tensor.data_ptr()] == name else tensor.clone() for name, tensor in kept.items()}
    with writing(path) as temporary:
        save_file(own, temporary, dict(facts))


def _bytes_of(path: Path) -> memoryview:
    """All of a file: read where it is small, else mapped, so that what is not looked at takes no memory."""
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        if size >= _MAPPED:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))  # torch wants to be able to write
        file.seek(0)
        data = memoryview(bytearray(size))
        return data[: file.readinto(data)]


def _read(data: memoryview) -> Checkpoint:
    if _starts_as_safetensors(data):  # first: the length that it begins with can look like anything else
        return _safetensors(data)
    if what := _not_weights(data):
        raise Wrong(what)
    start = bytes(data[:2])
    if start == b"PK":
        return _zipped(data)
    return _legacy(data) if start[:1] == b"\x80" else _safetensors(data)


def _not_weights(data: memoryview) -> str:
    """What a file is that certainly holds no weights, with what to do about it; empty for others."""
    start = bytes(data[:1024])
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "empty: get it again"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: download the file that it stands for"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: download the file itself, not the page that shows it"
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")):
        return "a compressed archive: unpack it first"
    if start.startswith((b"ID3", b"fLaC", b"OggS", b"RIFF")) or start[4:8] == b"ftyp":
        return "a sound file: get the file of weights itself"
    if not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in start):
        return "a text file: get the file of weights itself"
    return ""


# --- containers ----------------------------------------------------------------------------------------------


def _zipped(data: memoryview) -> Checkpoint:
    """PyTorch's own archive: a pickle, and beside it a file for every storage."""
    _check_directory(data)
    try:
        archive = zipfile.ZipFile(_File(data))
    except zipfile.BadZipFile as error:
        raise Wrong(DAMAGED) from error
    entries = {entry.filename: entry for entry in archive.infolist()}
    root = next((n.removesuffix("data.pkl") for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")), None)
    if root is None:
        raise Wrong("a zip archive, no checkpoint: if it holds one, unpack it first")
    packed = sum(e.file_size for e in entries.values() if e.compress_type != zipfile.ZIP_STORED)
    if packed > _MOST_UNPACKED or sum(e.file_size for e in entries.values()) - packed > len(data):
        raise Wrong(TOO_LARGE)
    if not {e.compress_type for e in entries.values()} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Wrong("a compressed archive: unpack it first")

    def bytes_of(name: str) -> tuple[int, Callable[[], memoryview]]:
        """The size of an entry, and what gives its bytes."""
        if (entry := entries.get(root + name)) is None:
            raise Wrong(DAMAGED)
        if entry.compress_type != zipfile.ZIP_STORED:
            return entry.file_size, lambda: _unpacked(archive, entry)
        header = bytes(data[entry.header_offset : entry.header_offset + 30])
        start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))  # behind name and extras
        found = data[start : start + entry.file_size]
        if header[:4] != b"PK\3\4" or len(found) != entry.file_size or entry.flag_bits & 1:
            raise Wrong(DAMAGED)
        return entry.file_size, _giving(found)

    if "byteorder" in {name.removeprefix(root) for name in entries} and bytes(bytes_of("byteorder")[1]()) != b"little":
        raise Wrong("from a machine that writes numbers the other way round: look for another copy")
    storages: dict[tuple[str, str], Storage] = {}

    def storage(kind: str, key: str, _: int) -> Storage:
        if (kind, key) not in storages:
            storages[kind, key] = Storage(DTYPES[kind], *bytes_of(f"data/{key}"))
        return storages[kind, key]

    size, told = bytes_of("data.pkl")
    if size > _MOST_TOLD:
        raise Wrong(TOO_LARGE)
    return Checkpoint(Machine(storage).run(io.BytesIO(told())))


def _giving(data: memoryview) -> Callable[[], memoryview]:
    return lambda: data


def _check_directory(data: memoryview) -> None:
    """A zip's directory must be of a size that can be read (it stands at the end, with its size behind it)."""
    end = bytes(data[-(1 << 16) - 22 :])
    place = end.rfind(b"PK\5\6")
    if place < 0:
        raise Wrong(DAMAGED)
    size, wide = struct.unpack_from("<I", end, place + 12)[0], end[max(0, place - 76) : place]
    if wide[:4] == b"PK\6\6":  # what stands before it where numbers of 32 bits are not enough
        (size,) = struct.unpack_from("<Q", wide, 40)
    if size > _MOST_TOLD:
        raise Wrong(TOO_LARGE)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> memoryview:
    try:
        return memoryview(bytearray(archive.read(entry)))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise Wrong(DAMAGED) from error


def _legacy(data: memoryview) -> Checkpoint:
    """PyTorch's format before 1.6: pickles one after the other, then the storages."""
    places: dict[str, int] = {}
    storages: dict[str, Storage] = {}

    def storage(kind: str, key: str, count: int) -> Storage:
        if key not in storages:
            size = count * Storage(DTYPES[kind], 0, lambda: data).itemsize
            if not 0 <= size <= len(data):
                raise Wrong(DAMAGED)
            storages[key] = Storage(DTYPES[kind], size, lambda: data[places[key] : places[key] + size])
        return storages[key]

    stream = io.BytesIO(data[:_MOST_TOLD])
    if any(Machine(storage).run(stream) != expected for expected in _LEGACY):
        raise Wrong("a file of Python objects: get the file of weights itself")
    _, content, keys = (Machine(storage).run(stream) for _ in range(3))  # the first is about the system it is from
    place = stream.tell()
    for key in keys:
        places[key] = place + 8  # behind the count, which is said once more
        place += 8 + storages[key].size
    if place > len(data) or storages.keys() != places.keys():
        raise Wrong(DAMAGED)
    return Checkpoint(content)


def _starts_as_safetensors(data: memoryview) -> bool:
    """Whether a length that fits the file stands before the beginning of JSON."""
    return bytes(data[8:9]) == b"{" and 2 <= int.from_bytes(data[:8], "little") <= min(len(data) - 8, _MOST_TOLD)


def _safetensors(data: memoryview) -> Checkpoint:
    """A length, that many bytes of JSON, and the numbers."""
    length = int.from_bytes(data[:8], "little")
    if bytes(data[8:9]) != b"{":
        raise Wrong("of a kind that this program cannot read: get the published file")
    if not 2 <= length <= min(len(data) - 8, _MOST_TOLD):
        raise Wrong(DAMAGED)
    header, numbers = json.loads(bytes(data[8 : 8 + length])), data[8 + length :]
    facts = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
    content: dict[str, Tensor] = {}
    total = 0
    for name, said in header.items():
        start, end = said["data_offsets"]
        total += end - start
        if not 0 <= start <= end <= len(numbers) or total > len(numbers):
            raise Wrong(DAMAGED)
        if said["dtype"] in DTYPES:
            storage = Storage(DTYPES[said["dtype"]], end - start, _giving(numbers[start:end]))
            filled(content, [name, Tensor.whole(storage, tuple(said["shape"]))])
    return Checkpoint(content, facts)


class _File(io.RawIOBase):
    """Bytes as a file that can be read and sought, without a copy of them."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data, self._at = data, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        found = self._data[self._at : self._at + len(buffer)]
        memoryview(buffer)[: len(found)] = found
        self._at += len(found)
        return len(found)


def _walk(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Everything in nested tables and in the states of stand-ins, by its dotted name."""
    yield name, value
    inner = value.state if isinstance(value, StandIn) else value
    if isinstance(inner, dict) and depth < DEEPEST:
        for key, item in inner.items():
            yield from _walk(item, f"{name}.{key}" if name else str(key), depth + 1)
