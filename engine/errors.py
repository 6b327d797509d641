"""Errors whose text is one clear sentence for the user that says what to do."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from engine.text import printable

_TOO_SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's words for a disk that took less than all


class RestoreError(Exception):
    """Base of all errors that are meant to be read by the user. The message is a whole sentence.

    It quotes names, files and other programs, so that it is made safe to print here, once for all of them.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(RestoreError):
    """The user asked for something that cannot be done as asked (exit code 2)."""


class SongError(RestoreError):
    """One song cannot be worked on; the others go on."""


class DecodeError(SongError):
    """The source cannot be decoded."""


class UnreadableError(DecodeError):
    """The source cannot be read, whatever decodes it: it hangs, or changes while it is read."""


class OutputError(SongError):
    """A result cannot be written."""


class NotPossibleError(RestoreError):
    """A stage cannot run on this machine (a missing model or library)."""


class NotRegularError(SongError, OSError):
    """What should be a file is something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{printable(str(path))} is no file but a pipe, a device or a folder: it cannot be read.")


class OutsideError(SongError):
    """Something would have been written or removed outside of the folder it was meant for."""

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(
            f"{printable(str(path))} does not lie in {printable(str(folder))}, so it was not touched: look for a link "
            "that leads out of it."
        )


def explain_os_error(error: OSError, what: str) -> str:
    """One sentence for an operating system error that happened while doing ``what`` (a noun phrase)."""
    if isinstance(error, RestoreError):
        return str(error)
    if error.errno is None and _TOO_SHORT.search(str(error)):
        return explain_os_error(OSError(errno.ENOSPC, ""), what)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full, so {what} could not be written: free some space and run again."
        case errno.EROFS:
            return f"The disk is read-only, so {what} could not be written: choose another folder with --out."
        case errno.EACCES | errno.EPERM:
            return f"Permission denied for {what}: check who may access it, or choose another folder with --out."
        case errno.ENOENT:
            return f"{what[:1].upper()}{what[1:]} is not there: it may have been moved or its drive unplugged."
        case errno.ENAMETOOLONG:
            return f"The name of {what} is too long for this disk: choose a folder with a shorter path (--out)."
        case errno.EISDIR | errno.ENOTDIR | errno.ENOTEMPTY | errno.EEXIST:
            return f"Something else lies where {what} should be{_at(error)}: move it away and run again."
        case errno.EIO:
            return f"The disk reports an error for {what}: check the drive."
        case _:
            return f"The system refused {what}: {error.strerror or error}."


def _at(error: OSError) -> str:
    """Where, as far as the system says it: the last of the names is what it wanted to make."""
    name = error.filename2 or error.filename
    return f" ({printable(os.fsdecode(name))})" if isinstance(name, str | bytes | os.PathLike) else ""
