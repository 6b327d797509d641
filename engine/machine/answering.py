"""A warm child's side of the talk with its parent (:mod:`engine.machine.frames`, :mod:`engine.machine.warm_child`)."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from typing import IO, Any

from engine.machine import frames
from engine.machine.frames import AHEAD, END, MORE, PIECE, REQUEST, STOP, Frame


class Stopped(Exception):
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
        """Send a piece, once there is room for it. Raises Stopped where it is not wanted."""
        while not self._heard.empty() or not self._room:
            frame = self._heard.get()
            if frame.request == self._request:
                self._room += frame.kind == MORE
                if frame.kind == STOP:
                    raise Stopped
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


def private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, out of reach of libraries that print: what they say goes to the standard error."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return incoming, outgoing
