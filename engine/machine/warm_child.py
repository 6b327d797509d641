"""Child processes that are kept for the next request: what starting one costs is paid once, not per song.

A child works on one request at a time and belongs to whoever borrowed it until it is given back. It dies with its
file at worst: it is replaced then. One that is silent for too long is given up, one that nobody needed for some
seconds is let go, and all end with this process, however it ends, as their standard input does.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from engine.machine import child_process, frames
from engine.machine.frames import END, MORE, REQUEST, STOP, Frame

_IDLE = 5.0  # seconds after which a child that nobody needs is let go
_REQUESTS = 2000  # after which a child is replaced: C libraries leak
_STOPPING = 2.0  # seconds within which a child must give up a request that is not wanted any more
_DYING = 2.0  # seconds within which a process ends that has to
_SAID = 50  # lines of its standard error that are kept


class ChildGone(Exception):
    """The child is gone: ``code`` as :attr:`subprocess.Popen.returncode`, None where it was silent for too long."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class WarmChild:
    """One running child. ``said`` holds what it wrote to its standard error during the latest request."""

    def __init__(self, module: str) -> None:
        self.niceness = _niceness()
        self.requests = 0
        self.idle_since = 0.0
        self.said: deque[str] = deque(maxlen=_SAID)
        self._waiting = False  # for the rest of an answer
        self._process = subprocess.Popen(
            child_process.command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=child_process.environment(), **child_process.detached(),
        )  # fmt: skip
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin = self._process.stdin
        for target, pipe in ((self._receive, self._process.stdout), (self._overhear, self._process.stderr)):
            threading.Thread(target=target, args=(pipe,), name=f"child-{self._process.pid}", daemon=True).start()

    def _receive(self, pipe: IO[bytes]) -> None:
        """Read on a thread of its own, as a pipe cannot be waited for with a deadline on every system."""
        with pipe, suppress(OSError, ValueError):
            while (frame := frames.read(pipe)) is not None:
                self._inbox.put(frame)
        self._inbox.put(None)

    def _overhear(self, pipe: IO[bytes]) -> None:
        with pipe, suppress(OSError, ValueError):
            while line := pipe.readline(1000):
                if text := line.decode("utf-8", "replace").strip():
                    self.said.append(text)

    @property
    def usable(self) -> bool:
        """Whether it can take another request."""
        return not self._waiting and self.requests < _REQUESTS and self._process.poll() is None

    def ask(self, request: dict[str, Any], patience: float) -> Generator[Frame, None, None]:
        """Send a request and give the frames of its answer: pieces, and one that is its end.

        Where they are not read to the end, the child is told to stop once the iterator is closed. ``patience`` is
        how many seconds it may be silent.

        Raises:
            ChildGone: while iterating; it died or was silent for too long, and cannot be used again.
        """
        self.requests += 1
        self.said.clear()
        self._waiting = True
        self._send(REQUEST, json.dumps(request).encode())
        return self._answer(patience)

    def _answer(self, patience: float) -> Generator[Frame, None, None]:
        try:
            while (frame := self._next(patience)).kind != END:
                yield frame
                self._send(MORE)
            self._waiting = False
            yield frame
        finally:
            if self._waiting:
                self._give_up()

    def _next(self, patience: float) -> Frame:
        """The next frame of this request."""
        while True:
            try:
                frame = self._inbox.get(timeout=patience)
            except queue.Empty:
                self.close()
                raise ChildGone(None) from None
            if frame is None:
                self._inbox.put(None)
                raise ChildGone(self._end(_DYING))
            if frame.request == self.requests:
                return frame

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        with suppress(OSError, ValueError):  # where it is gone, reading says so, and why
            frames.write(self._stdin, Frame(kind, self.requests, payload))

    def _give_up(self) -> None:
        """Have the child stop what it does, or end it where it does not."""
        self._send(STOP)
        limit = time.monotonic() + _STOPPING
        with suppress(ChildGone):
            while (left := limit - time.monotonic()) > 0:
                if self._next(left).kind == END:
                    self._waiting = False
                    return
        self.close()

    def close(self) -> None:
        """End it: it does so by itself when its standard input ends, unless it hangs."""
        with suppress(OSError, ValueError):
            self._stdin.close()
        self._end(0.0 if self._waiting else _DYING)

    def _end(self, patience: float) -> int | None:
        """Wait for its end, and bring that about where it does not come. Gives its exit code."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience)
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # a process that waits for a dead drive cannot even be killed
            return self._process.wait(_DYING)
        return None


class Pool:
    """Idle children of one module, for whoever needs one. Thread-safe."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._idle: list[WarmChild] = []
        self._lock = threading.Lock()
        self._sweeping = False
        atexit.register(self.close)

    @contextmanager
    def borrow(self, *, fresh: bool = False) -> Iterator[WarmChild]:
        """A child for one thread at a time; ``fresh``: one that has done nothing yet. Raises OSError."""
        child = (None if fresh else self._take()) or WarmChild(self._module)
        try:
            yield child
        finally:
            if child.usable:
                self._give_back(child)
            else:
                child.close()

    def _take(self) -> WarmChild | None:
        """An idle child with the priority of the calling thread (it has inherited that of the one that began it)."""
        niceness = _niceness()
        with self._lock:
            child = next((child for child in reversed(self._idle) if child.niceness == niceness), None)
            if child is None:
                return None
            self._idle.remove(child)
        if child.usable:
            return child
        child.close()  # it died while nobody looked
        return None

    def _give_back(self, child: WarmChild) -> None:
        child.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(child)
            if self._sweeping:
                return
            self._sweeping = True
        threading.Thread(target=self._sweep, name="idle-children", daemon=True).start()

    def _sweep(self) -> None:
        """Let children go that were idle for long, until there are none."""
        while True:
            time.sleep(_IDLE / 4)
            limit = time.monotonic() - _IDLE
            with self._lock:
                old = [child for child in self._idle if child.idle_since < limit]
                self._idle = [child for child in self._idle if child.idle_since >= limit]
                self._sweeping = bool(self._idle)
                going_on = self._sweeping
            for child in old:
                child.close()
            if not going_on:
                return

    def close(self) -> None:
        """End the children that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()


def _niceness() -> int:
    """The priority of the calling thread, where threads have one of their own and children inherit it."""
    return os.getpriority(os.PRIO_PROCESS, 0) if sys.platform == "linux" else 0
