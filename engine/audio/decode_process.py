"""The process that reads files nobody trusts: ``python -m engine.audio.decode_process`` (see :mod:`engine.machine`).

A crash in a C library, a file that shrinks while it is mapped, a drive that hangs: all of that ends or holds this
process and costs one song. It takes requests (:mod:`engine.machine.frames`) until its standard input ends.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import DecodeError, explain_os_error
from engine.machine.answering import Conversation, Stopped, private_pipes

_MOST_MEMORY = 900 << 20  # bytes; tags that need more are left out


def _decode(talk: Conversation, request: dict[str, Any]) -> None:
    """The format as JSON, then blocks of float32 samples, interleaved."""
    from engine.audio.readers import MAX_CHANNELS, MAX_RATE, in_blocks, stream

    info, blocks = stream(Path(request["path"]), request["decoder"], request["start"])
    if not 1 <= info.channels <= MAX_CHANNELS or not 1000 <= info.rate <= MAX_RATE:
        raise DecodeError(f"it has {info.channels} channels at {info.rate} Hz, which is not supported.")
    talk.piece(json.dumps(info.__dict__).encode())
    for block in in_blocks(blocks):
        talk.piece(block.tobytes())


def _facts(talk: Conversation, request: dict[str, Any]) -> None:
    """The facts of an MP3 file as JSON, null where it is none."""
    from engine.audio.readers import mpeg_facts

    facts = mpeg_facts(Path(request["path"]))
    talk.piece(json.dumps(None if facts is None else facts.to_json()).encode())


def _look(talk: Conversation, request: dict[str, Any]) -> None:
    """The header facts of each of many files as JSON, one piece each."""
    from engine.audio.headers import read_headers

    for path in request["paths"]:
        talk.piece(json.dumps(read_headers(Path(path)).__dict__).encode())


def _sound(talk: Conversation, request: dict[str, Any]) -> None:
    """The hash of what the song sounds like."""
    from engine.audio.sound_hash import sound_hash

    talk.piece(sound_hash(Path(request["path"])).encode())


def _bytes(talk: Conversation, request: dict[str, Any]) -> None:
    """The hash of the whole file."""
    from engine.files import file_hash

    talk.piece(file_hash(Path(request["path"])).encode())


def _tags(talk: Conversation, request: dict[str, Any]) -> None:
    """The tags as JSON, then the data of each picture."""
    from engine.audio.tags import read_tags

    tags, problem = read_tags(Path(request["path"]))
    pictures = [{"mime": p.mime, "kind": p.kind, "description": p.description} for p in tags.pictures]
    talk.piece(json.dumps({"comments": tags.comments, "pictures": pictures, "problem": problem}).encode())
    for picture in tags.pictures:
        talk.piece(picture.data)


_WORK: dict[str, Callable[[Conversation, dict[str, Any]], None]] = {
    "decode": _decode, "facts": _facts, "look": _look, "sound": _sound, "bytes": _bytes, "tags": _tags,
}  # fmt: skip


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    talk = Conversation(*private_pipes())
    for request in talk.requests():
        try:
            _WORK[request["do"]](talk, request)
            talk.end(error="")
        except Stopped:
            talk.end(error="it was not wanted any more.")
        except DecodeError as problem:
            talk.end(error=str(problem))
        except OSError as problem:
            talk.end(error=explain_os_error(problem, "the song"))
        except MemoryError:
            talk.end(error="It needs more memory than any song should: get a new copy of it.")


def _limit_memory() -> None:
    """A small file can say that it unpacks to more than any machine has. Files that are mapped do not count."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = _MOST_MEMORY if most == resource.RLIM_INFINITY else min(_MOST_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


if __name__ == "__main__":
    main()
