"""The log file of one song."""

from __future__ import annotations

import time
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path

from engine.files import open_regular
from engine.text import printable


class SongLog:
    """The song's log file. It must never be what a song fails for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BufferedWriter | None = None
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
                self._file = open_regular(self.path, append=True)
            self._file.write(lines.encode("utf-8", "replace"))
            self._file.flush()
        except OSError:
            self._broken = True

    def close(self) -> None:
        """End it; a later line would open it again."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
