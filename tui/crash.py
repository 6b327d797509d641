"""The report of a crash, in a file: the terminal is gone when one wants to read it."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from tui.settings import log_folder


def write_crash(error: Exception) -> Path | None:
    """Write the report and give its place; None where the disk does not take it."""
    path = log_folder() / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), "utf-8", "backslashreplace")
    except OSError:
        return None
    return path
