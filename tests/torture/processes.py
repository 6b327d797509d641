"""Work in a fork of this process, which may be killed, called from in its middle, or come back with what it found."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine import files
from tests.torture import shim
from tests.torture.quick import ForkedChild, end_children

_LONG = 60.0  # seconds; a hang


@dataclass(frozen=True)
class Ended:
    """How it ended: with ``found``, or (``signal``) killed; ``operations`` were counted, so many ``met`` the fault; ``raised`` is a traceback."""

    found: Any = None
    operations: int = 0
    met: int = 0
    raised: str = ""
    signal: int = 0
    called: bool = False


def forked(
    work: Callable[[], Any], fault: shim.Fault | None = None, called: Callable[[int], None] | None = None,
    log: int = -1,
) -> Ended:  # fmt: skip
    """Have ``work`` done by a fork of this process as if it had just been started, under ``fault``.

    ``called`` is what a fault that calls has done here meanwhile, and is given the fork's number.
    """
    end_children()
    result, giving = os.pipe()
    asked, asking = os.pipe()
    answer, answering = os.pipe()
    child = os.fork()
    if not child:
        for ours in (result, asked, answering):
            os.close(ours)
        _work(work, fault, giving, (asking, answer), log)
    for theirs in (giving, asking, answer):
        os.close(theirs)
    try:
        data, was_called = _listen(child, result, asked, answering, called)
    finally:
        for ours in (result, asked, answering):
            os.close(ours)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if data:
        found, operations, met, raised = pickle.loads(data)
        return Ended(found, operations, met, raised, called=was_called)
    return Ended(
        met=1, signal=-code if code < 0 else 0, raised="" if code < 0 else f"it ended with {code}", called=was_called
    )


def _listen(
    child: int, result: int, asked: int, answering: int, called: Callable[[int], None] | None
) -> tuple[bytes, bool]:
    data, was_called, open_ends = b"", False, {result, asked}
    while result in open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], _LONG)
        if not ready:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"it hung for {_LONG:.0f} s")
        for end in ready:
            piece = os.read(end, 1 << 16)
            if not piece:
                open_ends.discard(end)
            elif end == result:
                data += piece
            else:
                was_called = True
                if called is not None:
                    called(child)
                os.write(answering, b"x")
    return data, was_called


def _work(work: Callable[[], Any], fault: shim.Fault | None, giving: int, calls: tuple[int, int], log: int) -> None:
    """The fork's side."""
    files._swept.clear()
    files._in_work.clear()
    found, raised = None, ""
    ForkedChild.prepare()
    shim.log_to(log)
    shim.arm(fault, calls)
    try:
        found = work()
    except BaseException:
        raised = traceback.format_exc()
    operations, met = shim.count(), shim.met()
    shim.disarm()
    try:
        data = pickle.dumps((found, operations, met, raised))
        while data:
            data = data[os.write(giving, data) :]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
