"""Reading a TensorFlow checkpoint (``model.index`` and ``model.data-00000-of-00001``) without TensorFlow.

The index is a LevelDB table (sorted keys in blocks, prefixes shared, no compression) whose values are protocol
buffers: the key ``""`` holds a BundleHeaderProto, every other one, a variable's name, a BundleEntryProto with the
element type, the shape and where the raw little-endian values lie in the data file. Nothing in it is ever run.

Sources: TensorFlow's ``tensor_bundle.proto`` and LevelDB's ``table_format.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_FLOAT = 1  # DT_FLOAT of TensorFlow's types.proto
_MOST_DIMENSIONS = 8
_LONGEST_NAME = 1024  # bytes of a key: each may repeat the one before it, which a few bytes could make endless


class CheckpointError(ValueError):
    """The bytes are no such checkpoint; the message says where they stop being one."""


@dataclass(frozen=True)
class _Entry:
    """Where one variable lies in the data file."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read_checkpoint(index: bytes, data: bytes | memoryview) -> dict[str, Array]:
    """All float32 variables by their names; those of other types (step counters) are left out.

    Args:
        index: the bytes of ``model.index``.
        data: the bytes of ``model.data-00000-of-00001``; the arrays look into it without copying it.

    Raises:
        CheckpointError: they are no checkpoint, or something in them lies outside.
    """
    found: dict[str, Array] = {}
    for key, value in _table(index):
        if not key:
            continue  # the header: number of shards and byte order
        entry = _entry(value)
        if entry.kind != _FLOAT:
            continue
        count = math.prod(entry.shape)
        if entry.shard or not count or entry.size != 4 * count or entry.offset + entry.size > len(data):
            raise CheckpointError(f"the values of {key!r} lie outside the data file")
        values = np.frombuffer(data, "<f4", count, entry.offset)
        found[key.decode("utf-8", "replace")] = values.reshape(entry.shape)
    return found


def _table(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a LevelDB table, in order."""
    if len(table) < _FOOTER or int.from_bytes(table[-8:], "little") != _MAGIC:
        raise CheckpointError("it is no index of a checkpoint")
    footer = table[-_FOOTER:-8]
    _, at = _varint(footer, 0)  # the block of meta data: unused
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    end = 0
    for _, handle in _block(table, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        if start < end:  # each is read once, so that a small file is never long work
            raise CheckpointError("two blocks of the index lie in one place")
        end = start + length
        yield from _block(table, start, length)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if offset + size + 5 > len(table) or size < 4:
        raise CheckpointError("a block of the index lies outside")
    if table[offset + size]:
        raise CheckpointError("the index is compressed, which checkpoints never are")
    block = table[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # the restart points stand behind the entries
    if end < 0:
        raise CheckpointError("a block of the index is broken")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or shared + own > _LONGEST_NAME or at + own + length > end:
            raise CheckpointError("an entry of the index is broken")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _entry(value: bytes) -> _Entry:
    fields = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    for number, content in _fields(value):
        if number == 2 and isinstance(content, bytes):
            shape = tuple(_dimension(size) for kind, size in _fields(content) if kind == 2 and isinstance(size, bytes))
        elif number in fields and isinstance(content, int):
            fields[number] = content
    if len(shape) > _MOST_DIMENSIONS:
        raise CheckpointError("a variable has too many dimensions")
    return _Entry(fields[1], shape, fields[3], fields[4], fields[5])


def _dimension(message: bytes) -> int:
    return next((size for number, size in _fields(message) if number == 1 and isinstance(size, int)), 0)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: numbers and what they hold (sub-messages as bytes)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise CheckpointError("an entry of the index is of an unknown kind")
        if at + length > len(message):
            raise CheckpointError("an entry of the index is cut off")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to ten bytes of seven bits each, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise CheckpointError("a number of the index is broken")
