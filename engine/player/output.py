"""The parent's end of the output process: starts it, starts it again where it crashes, and passes words on.

See :mod:`engine.player.output_process` for what is at the other end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.machine import child_process
from engine.player.output_process import FIELDS

_ANSWER = 8.0  # seconds that the output process may take for an answer
_PAUSE_BEFORE_RESTART = 0.5
_MOST_RESTARTS = 20


class Output:
    """A running output process. ``changed`` and ``restarted`` are called from its own thread.

    ``changed`` says that the device came or went; ``restarted``, that another process has to be told everything.
    ``status`` holds the values of :data:`~engine.player.output_process.FIELDS`, as the process writes them.
    """

    def __init__(self, folder: Path, changed: Callable[[], None], restarted: Callable[[], None]) -> None:
        self._changed, self._restarted = changed, restarted
        self._lock = threading.Lock()
        self._living = threading.Lock()
        self._answers: dict[str, Any] = {}
        self._answered = threading.Condition()
        self._closed = False
        self._gone: subprocess.Popen[bytes] | None = None  # the process that ended last
        self._restarts = 0
        self.device_name = ""
        self.device_latency = 0.0
        self.problem = ""
        self._status_file = folder / "status"
        self._status_file.write_bytes(bytes(8 * len(FIELDS)))
        self.status: npt.NDArray[np.float64] = np.memmap(self._status_file, np.float64, "r", shape=(len(FIELDS),))
        self.child = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        command = child_process.command("engine.player.output_process", os.fspath(self._status_file))
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.HIGH_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW}
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=child_process.environment(), **options,
        )  # fmt: skip
        threading.Thread(target=self._hear, args=(child,), name="player-answers", daemon=True).start()
        return child

    def _hear(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            with suppress(ValueError):
                self._take(json.loads(line))
        with self._answered:  # nobody waits for an answer that cannot come
            self._gone = child
            self._answers.setdefault("rate", 0)
            self._answers.setdefault("devices", [])
            self._answered.notify_all()
        if not self._closed and child is self.child:
            self.device_name, self.problem = "", "the sound driver crashed"
            self._changed()
            time.sleep(_PAUSE_BEFORE_RESTART)
            self._restart()

    def _take(self, answer: dict[str, Any]) -> None:
        match answer["event"]:
            case "opened":
                self.device_name, self.problem = answer["device"], ""
                self.device_latency = float(answer["latency"])
            case "lost" | "unavailable":
                self.device_name, self.problem = "", answer["reason"]
            case "rate" | "devices" as kind:
                with self._answered:
                    self._answers[kind] = answer[kind]
                    self._answered.notify_all()
                return
        self._changed()

    def _restart(self) -> None:
        """The process crashed (some drivers do that): begin another."""
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            self.problem = "the sound driver keeps crashing: choose another device, or start the program again"
            self._changed()
            return
        with self._living:  # either the new process is there to be closed, or it never begins
            if self._closed:
                return
            self.child = self._begin()
        self._restarted()
        self._changed()

    def send(self, do: str, **facts: Any) -> None:
        """Pass a command on; one that cannot arrive is lost."""
        if self.child.stdin is None:
            return
        line = json.dumps({"do": do, **facts}) + "\n"
        with self._lock, suppress(OSError, ValueError):
            self.child.stdin.write(line.encode())
            self.child.stdin.flush()

    def ask(self, do: str, kind: str, **facts: Any) -> Any:
        """Pass a question on and wait for the answer of that kind; None where none came in time."""
        with self._answered:
            if self._gone is self.child:
                return None
            self._answers.pop(kind, None)
            self.send(do, **facts)
            self._answered.wait_for(lambda: kind in self._answers, _ANSWER)
            return self._answers.get(kind)

    def close(self) -> None:
        """End the process."""
        with self._living:
            self._closed = True
        with suppress(OSError):
            if self.child.stdin is not None:
                self.child.stdin.close()
        try:
            self.child.wait(3)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.status = np.zeros(len(FIELDS))
