"""The layer under every file operation (``shim.c``): compiled, loaded, and told what to do. Linux with a C compiler."""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_LOADED = "MP3RESTORE_TORTURE_SHIM"


class On(enum.IntFlag):
    """Kinds of operations, as in ``shim.c``."""

    CREATE, WRITE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, LINK, TRUNCATE, TIMES = (1 << bit for bit in range(10))
    OPEN, READ, LOOK, LIST, LOCK = (1 << bit for bit in range(10, 15))


CHANGES = On.CREATE | On.WRITE | On.SYNC | On.RENAME | On.UNLINK | On.MKDIR | On.RMDIR | On.LINK | On.TRUNCATE
LOOKS = On.OPEN | On.READ | On.LOOK | On.LIST
ALL = CHANGES | LOOKS


class Do(enum.IntEnum):
    """What happens at the operation that is meant, as in ``shim.c``."""

    COUNT, KILL, KILL_IN_WRITE, REFUSE, REFUSE_ON, SHORT, CALL, SHIFT, REFUSE_SOME = range(9)


@dataclass(frozen=True)
class Fault:
    """``do`` at the ``at``-th operation ``on`` files: refused with ``code`` where it is refused."""

    do: Do
    at: int
    on: On = CHANGES
    code: int = errno.EIO


def why_not() -> str:
    """Empty, or why there can be no shim here."""
    if sys.platform != "linux":
        return "puts faults under the C library as Linux has it"
    return "" if shutil.which("cc") else "needs a C compiler (cc)"


def is_loaded() -> bool:
    """Whether this process runs on the shim."""
    return bool(os.environ.get(_LOADED))


def begin_again(folder: Path, arguments: list[str]) -> None:
    """Begin Python again with the shim, which is compiled into ``folder``, before the C library."""
    library = folder / "shim.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), _LOADED: str(library)}
    os.execve(sys.executable, [sys.executable, *arguments], environment)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ[_LOADED])
    library.torture_done.restype = library.torture_met.restype = ctypes.c_long
    return library


def watch(folders: Iterable[Path]) -> None:
    """Look at what is asked of files below these."""
    _library().torture_watch_nothing()
    for folder in folders:
        _library().torture_watch(os.fsencode(folder))


def arm(fault: Fault | None, calls: tuple[int, int] = (-1, -1)) -> None:
    """From now on count this process's operations, and let ``fault`` happen; ``calls``: whom ``CALL`` tells and waits for."""
    fault = fault or Fault(Do.COUNT, 0)
    where = ctypes.c_long(fault.at)
    _library().torture_arm(int(fault.do), where, fault.code, int(fault.on), *calls)


def disarm() -> None:
    """Leave this process alone."""
    _library().torture_disarm()


def count() -> int:
    """Operations since this process was armed."""
    return int(_library().torture_done())


def met() -> int:
    """How many of them met the fault."""
    return int(_library().torture_met())


def one_in(often: int, code: int) -> int:
    """The code of a fault that refuses some operations, chosen by its ``at``."""
    return often << 8 | code


def log_to(handle: int) -> None:
    """Tell of all changes to this file."""
    _library().torture_log(handle)
