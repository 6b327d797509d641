"""Opening audio files, whatever bytes their names are made of and whatever stands behind them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import OutputError
from engine.files import open_regular
from engine.text import printable

_ITS_PREFIX = re.compile(r"^Error (opening .*)?: ", re.S)


def open_sound(path: Path, *arguments: Any, **options: Any) -> Any:
    """``soundfile.SoundFile`` of ``path``.

    soundfile encodes names as strict UTF-8, but on POSIX a name may hold any bytes: it is given as bytes there.
    Raises what soundfile raises; OSError where it is to be read and the system does not give it.
    """
    import soundfile

    name = os.fsencode(path) if os.name == "posix" else os.fspath(path)
    try:
        return soundfile.SoundFile(name, *arguments, **options)
    except soundfile.SoundFileError:
        if arguments[:1] != ("w",):
            open_regular(path).close()  # libsndfile only says "System error" where this says which
        raise


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """A result of ours, opened to be read. Raises OSError, or OutputError (while it is read, too): it cannot be."""
    import soundfile

    try:
        with open_sound(path) as file:
            yield file
    except soundfile.SoundFileError as error:
        raise OutputError(
            f"{printable(str(path))}, which it starts from, could not be read: check its drive, and run again."
        ) from error


def in_words(error: BaseException) -> str:
    """What libsndfile says of an error, without what it says before it: the name of a temporary file, perhaps."""
    return _ITS_PREFIX.sub("", str(error)).rstrip(".")


def is_whole(path: Path) -> bool:
    """Whether the last of the samples that a file promises can be read; what lies before it is not looked at."""
    import soundfile

    try:
        with open_sound(path) as file:
            file.seek(max(0, file.frames - 1))
            return len(file.read(1)) == min(1, file.frames)
    except (OSError, soundfile.SoundFileError):
        return False
