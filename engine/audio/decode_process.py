"""The process that reads files nobody trusts: ``python -m engine.audio.decode_process`` (see :mod:`engine.machine`).

A crash in a C library, a file that shrinks while it is mapped, a drive that hangs: all of that ends or holds this
process and costs one song. It takes requests (:mod:`engine.machine.frames`) until its standard input ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from engine.errors import DecodeError, explain_os_error
from engine.machine import frames
from engine.machine.frames import AHEAD, END, MORE, PIECE, REQUEST, STOP, Frame

_MOST_MEMORY = 2 << 30  # bytes; the largest tag there can be needs half of it


class _Stopped(Exception):
    """The rest of the answer is not wanted."""


class Conversation:
    """The child's side of the pipes. A thread of its own listens, so that the parent's end is seen in any work."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._heard: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._request, self._room = 0, 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (frame := frames.read(self._incoming)) is not None:
            self._heard.put(frame)
        os._exit(0)  # whatever is in work, nobody waits for it

    def requests(self) -> Iterator[dict[str, Any]]:
        """The requests, one after the other; what was said about earlier ones is left out."""
        while True:
            frame = self._heard.get()
            if frame.kind == REQUEST:
                request = json.loads(frame.payload)
                self._request, self._room = frame.request, request.get("ahead", AHEAD)
                yield request

    def piece(self, payload: bytes) -> None:
        """Send a piece, once there is room for it. Raises _Stopped where it is not wanted."""
        while not self._heard.empty() or not self._room:
            frame = self._heard.get()
            if frame.request == self._request:
                self._room += frame.kind == MORE
                if frame.kind == STOP:
                    raise _Stopped
        self._room -= 1
        self._send(PIECE, payload)

    def end(self, **outcome: Any) -> None:
        """Send the end of the answer."""
        self._send(END, json.dumps(outcome).encode())

    def _send(self, kind: bytes, payload: bytes) -> None:
        try:
            frames.write(self._outgoing, Frame(kind, self._request, payload))
        except OSError:
            os._exit(0)


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
    talk = Conversation(*_private_pipes())
    for request in talk.requests():
        try:
            _WORK[request["do"]](talk, request)
            talk.end(error="")
        except _Stopped:
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


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, out of reach of libraries that print: what they say goes to the standard error."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return incoming, outgoing


if __name__ == "__main__":
    main()
