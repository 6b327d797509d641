"""What a warm child and its parent say to each other: frames with a kind, the number of the request, and a payload."""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

#: From the parent: a request (JSON), room for one more piece, the rest is not wanted.
REQUEST, MORE, STOP = b"Q", b"M", b"S"
#: From the child: one piece of the answer, and its end (JSON: ``{"value": …}`` or ``{"error": …}``).
PIECE, END = b"P", b"E"

#: Pieces that a child may have sent before the first of them was used.
AHEAD = 2

_HEAD = struct.Struct("<cII")
_LONGEST = 64 << 20  # bytes; more is no frame of ours


class Frame(NamedTuple):
    """One frame: its kind, the number of the request that it belongs to, and what it carries."""

    kind: bytes
    request: int
    payload: bytes


def write(pipe: IO[bytes], frame: Frame) -> None:
    """Send one frame. Raises OSError (BrokenPipeError) where nobody listens any more."""
    pipe.write(_HEAD.pack(frame.kind, frame.request, len(frame.payload)))
    pipe.write(frame.payload)
    pipe.flush()


def read(pipe: IO[bytes]) -> Frame | None:
    """Wait for the next frame. None where the other side is gone or does not speak in frames."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, request, length = _HEAD.unpack(head)
    if length > _LONGEST:
        return None
    payload = pipe.read(length)
    return Frame(kind, request, payload) if len(payload) == length else None
