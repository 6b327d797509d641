"""The process that decodes one file nobody trusts: ``python -m engine.audio.decode_process ...``.

A crash in a C library ends this process and costs one song, and what such libraries print goes to the song's
log. On standard output: a JSON line with the format, then blocks (a little-endian uint32 with the number of
frames, then float32 samples, interleaved), a zero, and a JSON line with the outcome.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    decoder, start, path = arguments
    from engine.audio.readers import MAX_CHANNELS, stream
    from engine.errors import DecodeError

    out = sys.stdout.buffer
    frames = 0
    error = ""
    try:
        info, blocks = stream(Path(path), decoder, int(start))  # type: ignore[arg-type]
        if not 1 <= info.channels <= MAX_CHANNELS or not 1000 <= info.rate <= 768000:
            raise DecodeError(f"it has {info.channels} channels at {info.rate} Hz, which is not supported.")
        out.write(json.dumps(info.__dict__).encode() + b"\n")
        try:
            for block in blocks:
                out.write(struct.pack("<I", len(block)))
                out.write(block.tobytes())
                frames += len(block)
        except DecodeError as problem:
            error = str(problem)
        out.write(struct.pack("<I", 0))
    except DecodeError as problem:
        error = str(problem)
        out.write(b"null\n")
    out.write(json.dumps({"frames": frames, "error": error}).encode() + b"\n")
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
