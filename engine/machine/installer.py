"""Runs a command that installs packages (uv or pip): progress, an orderly end when cancelled, errors in one sentence.

Both tools fetch everything first and then put it into the environment, which takes seconds. Cancelled while they
fetch, they are ended, and the environment is as it was; cancelled while they install, they are let finish.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from engine.errors import RestoreError
from engine.text import printable, strip_ansi

Phase = Literal["looking", "fetching", "installing"]
_TICK = 0.25  # seconds between two looks at what arrived
_PAUSES = (2.0, 8.0)  # seconds before it is tried again after the connection broke
_LINES = 40  # kept to find the reason in
_UNITS = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ANNOUNCED = re.compile(r"^\s*Downloading \S+ \((?P<size>[\d.]+) ?(?P<unit>[kKMG]?i?B)\)")
_INSTALLING = re.compile(r"^\s*(Prepared \d|Uninstalled \d|Installed \d|Installing collected|Audited \d)")
_FAILED = re.compile(r"^\s*(error\b|×|Traceback|WARNING: Retrying)", re.IGNORECASE)  # from here on, it is about that
_BROKEN = (
    "error sending request", "failed to fetch", "failed to download", "connection", "timed out", "dns error",
    "name resolution", "network is unreachable", "decoding response body", "incomplete", "unexpected eof",
)  # fmt: skip
_INDEX = re.compile(r"/whl/(cpu|cu\d+|rocm[\d.]+|xpu)/")  # how the places of PyTorch's own builds end


class InstallError(RestoreError):
    """Installing failed; the environment is as it was, or tells by itself that something is missing."""


class BrokenConnectionError(InstallError):
    """The connection broke, again and again."""


class IndexUnreachableError(BrokenConnectionError):
    """The place where PyTorch keeps its builds cannot be reached, whatever else can."""


class CancelledError(RestoreError):
    """The user ended it; the environment is as it was before, or finished."""


@dataclass(frozen=True)
class Progress:
    """How far it is. ``received`` of ``expected`` bytes; ``expected`` is 0 until it is known."""

    phase: Phase
    received: int = 0
    expected: int = 0


def install(
    command: list[str], folder: Path, tell: Callable[[Progress], None], cancelled: threading.Event,
    pauses: tuple[float, ...] = _PAUSES,
) -> None:  # fmt: skip
    """Run ``command`` until it has succeeded, and again where the connection broke: what was fetched is kept.

    Args:
        folder: where the command runs; settings of other projects must not lie there.
        tell: hears how far it is, some times a second, on this thread.
        cancelled: ends it, from any thread.
        pauses: seconds to wait before each further try.

    Raises:
        CancelledError, BrokenConnectionError, InstallError.
    """
    for pause in (*pauses, None):
        error = _Run(command, folder, tell, cancelled).finish()
        if error is None:
            if cancelled.is_set():
                raise CancelledError("Stopped; what was being installed is complete.")
            return
        if pause is None or not isinstance(error, BrokenConnectionError) or isinstance(error, IndexUnreachableError):
            raise error
        if cancelled.wait(pause):
            raise CancelledError(_NOTHING_CHANGED)


_NOTHING_CHANGED = "Stopped; nothing was changed. What was fetched is kept for the next time."


class _Run:
    """One run of the command."""

    def __init__(
        self, command: list[str], folder: Path, tell: Callable[[Progress], None], cancelled: threading.Event
    ) -> None:
        self._tell, self._cancelled = tell, cancelled
        self._phase: Phase = "looking"
        self._expected = 0.0
        self._before = _received()
        self._kept: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = self._start(command, folder)
        threading.Thread(target=self._read, name="installer", daemon=True).start()

    @staticmethod
    def _start(command: list[str], folder: Path) -> subprocess.Popen[str]:
        # A group of its own: Ctrl-C in the terminal is for us to hand on, at a moment that does no harm.
        own_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        quiet = {"NO_COLOR": "1", "PIP_PROGRESS_BAR": "off", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        try:
            return subprocess.Popen(
                command, cwd=folder, env={"UV_HTTP_TIMEOUT": "60", **os.environ, **quiet}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
                start_new_session=os.name == "posix", creationflags=own_group,
            )  # fmt: skip
        except OSError as error:
            raise InstallError(f"{printable(command[0])} could not be started: {error.strerror or error}.") from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def finish(self) -> InstallError | None:
        """None where it succeeded, else what went wrong. Raises CancelledError."""
        try:
            while (line := self._next()) is not None:
                self._heard(line)
                if self._cancelled.is_set() and self._phase != "installing":
                    raise CancelledError(_NOTHING_CHANGED)
        except KeyboardInterrupt:
            self._cancelled.set()
            if self._phase != "installing":
                raise CancelledError(_NOTHING_CHANGED) from None
            while self._next() is not None:
                pass
        finally:
            self._end()
        if self._process.returncode == 0:
            return None
        return _explained(self._kept, began=self._phase != "looking")

    def _next(self) -> str | None:
        """The next line, "" after a while without one, None at the end."""
        try:
            return self._lines.get(timeout=_TICK)
        except queue.Empty:
            return ""

    def _heard(self, line: str) -> None:
        line = printable(strip_ansi(line).rstrip())
        if line:
            self._kept = [*self._kept[1 - _LINES :], line]
        if found := _ANNOUNCED.match(line):
            self._phase = "fetching"
            self._expected += float(found["size"]) * _UNITS[found["unit"]]
        elif _INSTALLING.match(line):
            self._phase = "installing"
        # What came in over the network since it began: neither tool tells a program how far it is.
        received = min(_received() - self._before, self._expected) if self._phase == "fetching" else self._expected
        self._tell(Progress(self._phase, max(0, round(received)), round(self._expected)))

    def _end(self) -> None:
        """Leave no process behind: an interrupt as from the keyboard, and an end where that is not heard."""
        if self._process.poll() is None and self._phase != "installing":
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGINT)
                try:
                    self._process.wait(3)
                except subprocess.TimeoutExpired:
                    os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()


def _received() -> int:
    """Bytes that this machine has received."""
    counters = psutil.net_io_counters()
    return int(counters.bytes_recv) if counters is not None else 0


def _explained(lines: list[str], *, began: bool) -> InstallError:
    """One sentence for what the tool said last; ``began``: it had begun to fetch or to install."""
    first = next((n for n, line in enumerate(lines) if _FAILED.match(line)), max(0, len(lines) - 5))
    text = "\n".join(lines[first:])
    small = text.lower()
    if "no space left" in small or "os error 112" in small or "not enough space" in small:
        return InstallError("The disk is full: make room, then run 'mp3restore setup' again.")
    if "certificate" in small:
        return InstallError(
            "The connection is not trusted (a company's proxy, perhaps): set SSL_CERT_FILE to its certificate."
        )
    if any(sign in small for sign in _BROKEN):
        if _INDEX.search(text) and not began:
            return IndexUnreachableError("The place where PyTorch keeps its builds cannot be reached from here.")
        return BrokenConnectionError("The connection broke: try again; what was fetched is kept.")
    if "no solution found" in small or "no matching distribution" in small:
        return InstallError(f"There is no build that fits this Python and this system: {_reason(lines[first:])}")
    if any(sign in small for sign in ("access is denied", "permission denied", "being used by another process")):
        return InstallError("A file is in use or may not be written: close all windows of mp3restore and try again.")
    return InstallError(f"Installing failed: {_reason(lines[first:])}")


def _reason(lines: list[str]) -> str:
    """The line that says why, as far as can be told."""
    telling = [line for line in lines if "because" in line.lower()] or lines[:1] or ["the tool said nothing."]
    return telling[0].strip(" ╰─▶×").removeprefix("error: ").removeprefix("ERROR: ")
