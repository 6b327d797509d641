"""Opening audio files, whatever bytes their names are made of and whatever stands behind them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import DecodeError


def open_sound(path: Path, *arguments: Any, **options: Any) -> Any:
    """``soundfile.SoundFile`` of ``path``.

    soundfile encodes names as strict UTF-8, but on POSIX a name may hold any bytes: it is given as bytes there.
    Raises what soundfile raises.
    """
    import soundfile

    name = os.fsencode(path) if os.name == "posix" else os.fspath(path)
    return soundfile.SoundFile(name, *arguments, **options)


def open_source(path: Path) -> BinaryIO:
    """The file at ``path`` for reading. Never waits: opening a pipe would, until somebody writes into it.

    Raises:
        OSError: it cannot be opened.
        DecodeError: it is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DecodeError("This is no file but a pipe, a device or a folder: remove it from the library.")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
