"""What makes a run cheap enough to be disturbed ten thousand times, and nothing of what is tried.

Children are forked and not started anew, what analysing a song's sound takes is computed once, and a separator of a
line takes songs apart, in chunks of a tenth of a second.
"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from engine.analysis import damage, song
from engine.audio import decode, decode_process
from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.library import state_index
from engine.machine import priority, warm_child
from engine.models import separators
from engine.models.runtime import device as devices
from engine.run import publish
from tests.torture import shim

SEPARATOR = "halves"
_GEOMETRY = ChunkGeometry(5000, 400, 100)
_SETTLED = 20_000_000  # nanoseconds; a file system in memory tells times by the kernel's ticks of 1 to 10 ms


class ForkedChild:
    """As :class:`subprocess.Popen` of the process that reads songs: a copy of this one, which has all that it loads."""

    _spare: ClassVar[list[tuple[int, int, int, int]]] = []

    @classmethod
    def prepare(cls) -> None:
        """Have one ready, from before there were threads: what is forked beside others may find a lock held for ever."""
        cls._spare.append(cls._forked())

    @staticmethod
    def _forked() -> tuple[int, int, int, int]:
        asked, asks = os.pipe()
        answers, answer = os.pipe()
        said, says = os.pipe()
        child = os.fork()
        if not child:
            _be_the_child(asked, answer, says)
        for theirs in (asked, answer, says):
            os.close(theirs)
        return child, asks, answers, said

    def __init__(self, *_: Any, **__: Any) -> None:
        self.returncode: int | None = None
        self.pid, asks, answers, said = self._spare.pop() if self._spare else self._forked()
        self.stdin: io.BufferedWriter = os.fdopen(asks, "wb")
        self.stdout, self.stderr = os.fdopen(answers, "rb"), os.fdopen(said, "rb")

    def poll(self) -> int | None:
        if self.returncode is None:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (timeout if timeout is not None else 60.0)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("child", timeout or 0.0)
            time.sleep(0.001)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _be_the_child(asked: int, answer: int, says: int) -> None:
    try:
        shim.disarm()
        for number, handle in enumerate((asked, answer, says)):
            os.dup2(handle, number)
        os.closerange(3, 1024)
        decode_process.main()
    finally:
        os._exit(1)


class _Meter(damage.DamageMeter):
    """Measures what it has not measured before."""

    _known: ClassVar[dict[Any, damage.Damage]] = {}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._digest, self._blocks = hashlib.sha256(repr(arguments).encode()), []  # type: ignore[var-annotated]

    def process(self, block: Audio) -> None:
        self._digest.update(block.tobytes())
        self._blocks.append(block)

    def result(self, cutoff: float | None, *others: Any) -> damage.Damage:
        key = self._digest.digest(), cutoff
        if key not in self._known:
            for block in self._blocks:
                super().process(block)
            self._known[key] = super().result(cutoff, *others)
        return self._known[key]


def _halves(tell_device: bool) -> separators.Separator:
    def prepare(song: Callable[[], Iterable[Audio]], device: str, tell: Callable[[str], None]) -> separators.Work:
        def half(windows: list[Audio]) -> list[Audio]:
            return devices.with_oom_fallback(_taken_apart, windows, device, tell)

        return half

    return separators.Separator(
        key=SEPARATOR, title="Halves", stems=("vocals", "other"), rate=44100, geometry=_GEOMETRY, cost=0.01,
        neural=tell_device, slow_without_gpu=False, unavailable_reason=lambda: "", fingerprint=lambda: "1",
        prepare=prepare, batch=lambda device: 2,
    )  # fmt: skip


GPU: list[Callable[[int, devices.Attempt], None]] = []  # asked before so many pieces are worked on; may raise


def _taken_apart(windows: list[Audio], how: devices.Attempt) -> list[Audio]:
    for ask in GPU:
        ask(len(windows), how)
    made = []
    for window in windows:
        own = window[_GEOMETRY.context : len(window) - _GEOMETRY.context]
        made.append(np.concatenate([own * np.float32(0.5), own * np.float32(0.25)], axis=1))
    return made


def make_quick() -> None:
    """Change this process."""
    warm_child.subprocess = _Forking  # type: ignore[assignment]
    song.DamageMeter = _Meter  # type: ignore[misc]
    priority._NICE = 0
    publish._MOST_AT_ONCE = 1  # so that the order of operations is always the same
    state_index._SETTLED = _SETTLED
    separators.SEPARATORS[SEPARATOR] = _halves(tell_device=False)
    devices.release = lambda device: None
    decode._children._sweeping = True  # nobody need watch over idle ones


def end_children() -> None:
    """Let the children of this process go, and the threads that listened to them: only then may it be forked."""
    decode._children.close()
    end = time.monotonic() + 20.0
    while threading.active_count() > 1:
        if time.monotonic() > end:
            raise TimeoutError(f"there are still {threading.enumerate()}")
        time.sleep(0.001)


class _Forking:
    Popen = ForkedChild
    PIPE = subprocess.PIPE
    TimeoutExpired = subprocess.TimeoutExpired
