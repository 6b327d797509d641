"""Files of weights: where they lie, how they get here, and whether they are what they were.

They lie in one folder (MP3RESTORE_MODELS, or the user's data folder), where the user may put them by hand. A
download goes on where it broke off, is checked before it gets its name, and its SHA-256 is kept beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

from engine.errors import NotPossibleError, UsageError, explain_os_error
from engine.files import file_hash, write_json
from engine.text import printable, short_path, size

State = Literal["verified", "damaged", "missing"]
Progress = Callable[[int, int], None]
_BLOCK = 1 << 16
_TRIES = 5
_TIMEOUT = 30
_SPARE = 200_000_000  # bytes that a download leaves free


@dataclass(frozen=True)
class Weights:
    """One file. ``size`` in bytes is about right until it was downloaded; ``sha256`` is empty where it is not known
    beforehand: then what the first download brought, and what passed the model's own check, is remembered."""

    key: str
    filename: str
    url: str
    size: int
    sha256: str = ""


def folder() -> Path:
    """Where weights lie."""
    given = os.environ.get("MP3RESTORE_MODELS")
    return Path(given) if given else user_data_path("mp3restore", appauthor=False) / "models"


def path_of(weights: Weights) -> Path:
    """Where the file lies or would lie."""
    return folder() / weights.filename


def find(weights: Weights) -> Path | None:
    """The file, where it is here."""
    path = path_of(weights)
    return path if path.is_file() else None


def verify(weights: Weights) -> State:
    """Whether the file is here and still what it was, by its SHA-256. Reads all of it."""
    path = find(weights)
    if path is None:
        return "missing"
    expected = weights.sha256 or _remembered(weights)
    if not expected:
        return "verified" if path.stat().st_size else "damaged"  # the user's own file: it is what it is
    try:
        return "verified" if file_hash(path) == expected else "damaged"
    except OSError:
        return "damaged"


def _record(weights: Weights) -> Path:
    return path_of(weights).with_name(f"{weights.filename}.json")


def _remembered(weights: Weights) -> str:
    try:
        return str(json.loads(_record(weights).read_text("utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remove(weights: Weights) -> bool:
    """Delete the file and what is known of it; False where there was none. Raises UsageError."""
    path = path_of(weights)
    was_there = path.is_file()
    try:
        for item in (path, _record(weights), _part(weights)):
            item.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(explain_os_error(error, printable(str(path)))) from error
    return was_there


def _part(weights: Weights) -> Path:
    return path_of(weights).with_name(f"{weights.filename}.part")


def get(
    weights: Weights, check: Callable[[Path], None], *, progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> Path:  # fmt: skip
    """Download the file unless it is here; ``check(path)`` raises where it is not the model.

    ``progress(bytes, of)`` is called now and then; ``cancelled`` ends it, and what has come is kept for the next
    time.

    Raises:
        UsageError: it did not come, or is not what it should be; the message says what to do.
    """
    path, part = path_of(weights), _part(weights)
    if find(weights) is not None and verify(weights) == "verified":
        return path
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(part.parent).free < weights.size + _SPARE:
            raise UsageError(
                f"There is no room for {size(weights.size)} in {short_path(part.parent)}: free some space."
            )
        _fetch(weights, part, progress, cancelled)
        digest = file_hash(part)
        expected = weights.sha256 or _remembered(weights)
        if expected and digest != expected:
            part.unlink()
            raise UsageError(f"{weights.filename} came with a wrong hash and was thrown away: try again later.")
        try:
            check(part)
        except NotPossibleError as error:
            part.unlink()
            raise UsageError(f"What came is not {weights.filename}: it was thrown away; try again later.") from error
        write_json(_record(weights), {"sha256": digest, "size": part.stat().st_size, "url": weights.url})
        part.replace(path)
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the model in {short_path(part.parent)}")) from error
    return path


def _fetch(weights: Weights, part: Path, progress: Progress | None, cancelled: threading.Event | None) -> None:
    """Download into ``part``, from where it broke off; a broken connection is taken up again a few times."""
    problem = ""
    for _ in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_once(weights, part, progress, cancelled):
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is nothing beyond what has come: it was whole, or another file
                part.unlink(missing_ok=True)
                continue
            raise UsageError(f"The server does not give {weights.filename} ({error.code}): try again later.") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", error))
        if not (part.exists() and part.stat().st_size > before):
            break
    raise UsageError(
        f"{weights.filename} could not be downloaded ({problem}). Check the network and try again, or put the file "
        f"into {short_path(folder())}."
    )


def _fetch_once(weights: Weights, part: Path, progress: Progress | None, cancelled: threading.Event | None) -> bool:
    """One connection; True where the file is whole."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(weights.url, headers={"User-Agent": "mp3restore"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if start and answer.status != 206:  # the server begins anew
            start = 0
        length = answer.headers.get("Content-Length")
        whole = start + int(length) if length is not None else 0
        done = start
        with part.open("ab" if start else "wb") as file:
            while block := answer.read(_BLOCK):
                if cancelled is not None and cancelled.is_set():
                    raise UsageError("The download was stopped; the next one goes on from here.")
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, whole or weights.size)
            file.flush()
            os.fsync(file.fileno())
    return not whole or done >= whole
