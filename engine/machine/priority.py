"""Work that may wait steps back for what the user presses and hears."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

_NICE = 5
_THREAD_PRIORITY_BELOW_NORMAL = -1  # winbase.h


def work_in_background() -> None:
    """Lower the priority of the calling thread, where the system can do that for a single thread."""
    with suppress(OSError, AttributeError):
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        elif sys.platform == "win32":
            import ctypes

            kernel = ctypes.windll.kernel32
            kernel.SetThreadPriority(kernel.GetCurrentThread(), _THREAD_PRIORITY_BELOW_NORMAL)
