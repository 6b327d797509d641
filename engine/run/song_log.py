"""The log file of one song."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine.text import printable


class SongLog:
    """The song's log file. It must never be what a song fails for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._broken = False

    def line(self, text: str) -> None:
        """Append ``text`` with the time, escaped line by line."""
        if self._broken:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = "".join(f"{stamp} {printable(part)}\n" for part in text.splitlines())
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(self._file, lines.encode("utf-8", "replace"))
        except OSError:
            self._broken = True

    def close(self) -> None:
        """End it; a later line would open it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
