"""Work in warm processes under watch: what hangs is ended, what dies is known, what takes memory is measured."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

_FORK = multiprocessing.get_context("fork")
_RENEWED = 3000  # cases after which a process is replaced
_REFUSED = ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn", "webbrowser.open")


@dataclass(frozen=True)
class Case:
    """A kind of input and its number, which is its seed."""

    kind: str
    number: int


@dataclass(frozen=True)
class Outcome:
    """What came of a case: ``failure`` is empty where all went well; ``peak`` in bytes, of the worst process."""

    case: Case
    failure: str
    seconds: float
    peak: int


class _Worker:
    def __init__(self, work: Callable[[Case], str]) -> None:
        self.connection, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_answer, args=(theirs, work), daemon=False)
        self.process.start()
        theirs.close()
        self.case: Case | None = None
        self.began, self.done = 0.0, 0

    def give(self, case: Case) -> None:
        self.case, self.began = case, time.monotonic()
        self.connection.send(case)

    def end(self, patience: float = 5.0) -> None:
        with suppress(OSError):
            self.connection.send(None)
        self.connection.close()
        self.process.join(patience)
        with suppress(ProcessLookupError):  # it leads a group of its own
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


def run(cases: Iterator[Case], work: Callable[[Case], str], hands: int, limit: float) -> Iterator[Outcome]:
    """The outcomes of ``cases`` as they come, from ``hands`` processes; ``limit`` seconds are a hang.

    ``work`` gives what is wrong (empty: nothing); what it raises is a failure too. This process must have no threads.
    """
    workers = [_Worker(work) for _ in range(hands)]
    waiting = True
    try:
        while True:
            for place, worker in enumerate(workers):
                if worker.case is None and waiting:
                    if worker.done >= _RENEWED:
                        worker.end()
                        workers[place] = _Worker(work)
                    case = next(cases, None)
                    waiting = case is not None
                    if case is not None:
                        workers[place].give(case)
            busy = [worker for worker in workers if worker.case is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy], 0.5)
            for place, worker in enumerate(workers):
                if worker.case is None:
                    continue
                failure, peak, took = "", 0, time.monotonic() - worker.began
                if worker.connection in ready:
                    try:
                        failure, took, peak = worker.connection.recv()
                    except EOFError:
                        worker.process.join(5)
                        failure = f"it died (code {worker.process.exitcode})"
                elif took > limit:
                    failure = f"it hung for {limit:.0f} s"
                else:
                    continue
                yield Outcome(worker.case, failure, took, peak)
                worker.case, worker.done = None, worker.done + 1
                if failure.startswith(("it died", "it hung")):
                    worker.end(0.0)
                    workers[place] = _Worker(work)
    finally:
        for worker in workers:
            worker.end()


def _answer(connection: Connection, work: Callable[[Case], str]) -> None:
    """A worker's side: cases until there are no more."""
    os.setsid()
    said = Path(tempfile.gettempdir()) / f"said-{os.getpid()}"
    out = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(out, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in _REFUSED else None)
    try:
        while True:
            if (case := connection.recv()) is None:
                break
            os.ftruncate(out, 0)
            ran.clear()
            _forget_peaks()
            began = time.monotonic()
            try:
                failure = work(case)
            except BaseException:
                failure = traceback.format_exc()
            took = time.monotonic() - began
            sys.stdout.flush()
            sys.stderr.flush()
            if not failure and ran:
                failure = f"it ran {', '.join(ran)}"
            if not failure and (text := said.read_bytes()):
                failure = f"it printed {text[-2000:]!r}" if b"Traceback" in text or b"\x1b" in text else ""
            connection.send((failure, took, _peak()))
    finally:
        said.unlink(missing_ok=True)


# --- memory ----------------------------------------------------------------------------------------------------


def _family() -> list[int]:
    """This process and its children."""
    found = [os.getpid()]
    for task in Path("/proc/self/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def _forget_peaks() -> None:
    for process in _family():
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes that this process or one of its children held at most since the peaks were forgotten (0: not known)."""
    most = 0
    for process in _family():
        try:
            found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text())
        except OSError:
            continue
        most = max(most, int(found[1]) << 10 if found else 0)
    return most
