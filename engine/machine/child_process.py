"""Starting one of the engine's own modules as a process, without running anything that lies in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[2]


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with this Python; ``-P`` keeps the current folder off the import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which the engine can be imported from wherever it lies.

    Of an inherited PYTHONPATH only the absolute folders stay: an empty entry means the current folder, which may
    well be one full of music from anywhere.
    """
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [str(_PROJECT), *(folder for folder in inherited if Path(folder).is_absolute())]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"}


def detached() -> dict[str, Any]:
    """Options of :class:`subprocess.Popen` that keep a Ctrl-C in the terminal from reaching the child."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
