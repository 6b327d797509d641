"""Decoding in a process of its own, block by block."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.audio.readers import Audio, Decoder, StreamInfo
from engine.errors import DecodeError
from engine.machine import child_process


@dataclass
class DecodedStream:
    """A song being decoded. ``error`` and ``messages`` are complete once ``blocks`` has run out."""

    info: StreamInfo
    blocks: Iterator[Audio]
    error: str = ""
    messages: list[str] = field(default_factory=list)


@contextmanager
def open_decoder(path: Path, decoder: Decoder = "libsndfile", start: int = 0) -> Iterator[DecodedStream]:
    """Decode ``path`` in a child process; blocks are float32 ``(frames, channels)`` at the file's own rate.

    What the decoder could not read after the first block does not raise but is told in ``error``: the caller
    decides what a partial result is worth.

    Raises:
        DecodeError: not even the first block can be decoded, or the decoder crashed.
    """
    command = child_process.command("engine.audio.decode_process", decoder, str(start), os.fspath(path))
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=child_process.environment(),
            **_detached(),
        )  # fmt: skip
        assert child.stdout is not None
        try:
            header = child.stdout.readline()
            if not header:
                raise DecodeError(_crashed(child))
            values = json.loads(header)
            if values is None:
                raise DecodeError(json.loads(child.stdout.readline())["error"])
            decoded = DecodedStream(StreamInfo(**values), iter(()))
            decoded.blocks = _read_blocks(child, child.stdout, decoded)
            yield decoded
            stderr.seek(0)
            text = stderr.read(20000).decode("utf-8", "replace")
            decoded.messages.extend(line for line in text.splitlines() if line.strip())
        finally:
            child.stdout.close()
            child.kill()
            child.wait()


def _detached() -> dict[str, Any]:
    """Keeps a Ctrl-C in the terminal from reaching the child: the chunk in work is finished first."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _read_blocks(child: subprocess.Popen[bytes], pipe: IO[bytes], decoded: DecodedStream) -> Iterator[Audio]:
    channels = decoded.info.channels
    while True:
        head = pipe.read(4)
        if len(head) < 4:
            decoded.error = _crashed(child)
            return
        frames = struct.unpack("<I", head)[0]
        if not frames:
            decoded.error = json.loads(pipe.readline())["error"]
            return
        data = pipe.read(frames * channels * 4)
        if len(data) < frames * channels * 4:
            decoded.error = _crashed(child)
            return
        yield np.frombuffer(data, np.float32).reshape(frames, channels)


def _crashed(child: subprocess.Popen[bytes]) -> str:
    return f"the decoder crashed on it (code {child.wait()})."
