"""How much memory a program held at its worst."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak() -> int:
    """Bytes that this program held at most, since it was started.

    By Linux's own count for the program: ``ru_maxrss`` begins with what the process that forked it held (getrusage(2)).
    """
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text("ascii"))
        if found is not None:
            return int(found[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
