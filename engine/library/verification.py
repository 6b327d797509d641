"""Whether what was made still is what was written: every finished file read to its end, against its marker.

Disks lose bits, and nobody notices before the file is wanted. State files are read from the disk and not from the
index, which would still tell what they once said; what the index knows brings a damaged one back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from engine.audio.sound_hash import flac_md5
from engine.errors import explain_os_error
from engine.files import read_json, remove
from engine.library.layout import DONE, MARKER_ENDING
from engine.library.records import (
    UNCHECKED_FORMAT,
    Marker,
    Output,
    Song,
    marker_from_json,
    marker_to_json,
    record_from_json,
    record_to_json,
)
from engine.library.results import as_it_is, reads_back, samples_md5
from engine.library.state_file import read_checked, write_checked
from engine.library.store import Store
from engine.text import printable


class Fault(Enum):
    """What is wrong with a file."""

    DAMAGED = "damaged: its bytes are not what was written"
    MISSING = "missing"
    STATE = "a damaged state file: what it told of is not known to be finished"
    REPLACED = "not what was made, but whole: somebody changed it, so it is left as it is"
    CHOICE = "damaged: what you chose of this song cannot be read from it"
    UNREADABLE = "unreadable"


#: What making it again mends.
MADE_AGAIN = (Fault.DAMAGED, Fault.MISSING, Fault.STATE)


@dataclass(frozen=True)
class Finding:
    """What is wrong with the file at ``path``; ``more`` may say what exactly.

    ``variant`` is empty where it is about what is known of the song itself.
    """

    path: Path
    variant: str
    fault: Fault
    more: str = ""

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.more or self.fault.value}"


@dataclass
class Checked:
    """What was read of a song: ``files`` that are whole and their ``size`` in bytes, and what is wrong."""

    files: int
    size: int
    findings: list[Finding]


def verify(store: Store, song: Song) -> Checked:
    """Read all that was finished of ``song`` (at the place of its results). Changes nothing, and raises nothing."""
    checked = Checked(0, 0, [])
    record = store.places.record(song.key)
    if record.exists() and _from_disk(record, record_from_json) is None:
        checked.findings.append(Finding(record, "", Fault.STATE))
    for path in _listed(store.places.song_folder(song.key), f"*{MARKER_ENDING}"):
        marker = _marker(path)
        if marker is None:
            checked.findings.append(Finding(path, path.name.removesuffix(MARKER_ENDING), Fault.STATE))
        elif marker.is_published:
            _check_outputs(store, path, marker, checked)
    for path in _listed(store.places.listening(song.key), "*.json"):
        if read_json(path) is None:
            checked.findings.append(Finding(path, "", Fault.CHOICE))
    return checked


def have_made_again(store: Store, song: Song, findings: list[Finding]) -> None:
    """See to it that the next run makes again what ``findings`` of the song tell of. The folder must be locked.

    A damaged state file is brought back from the index where that knows it. Raises OSError.
    """
    for finding in findings:
        if finding.fault is Fault.STATE:
            _restore_state(store, song, finding)
        elif finding.fault is Fault.DAMAGED:
            store.forget(song.key, finding.variant)


def _check_outputs(store: Store, path: Path, marker: Marker, checked: Checked) -> None:
    for output in marker.outputs:
        fault, more = _fault_of(store.out, output)
        if fault is not None and _marker(path) != marker:
            return  # it is being made anew at this moment
        if fault is None:
            checked.files += 1
            checked.size += output.size
        elif not (fault is Fault.MISSING and marker.pruned):
            checked.findings.append(Finding(store.out / output.path, marker.task, fault, more))


def _fault_of(out: Path, output: Output) -> tuple[Fault | None, str]:
    """What is wrong with a result, read to its end; and a sentence where there is more to say.

    A FLAC file whose samples are what it says itself is none that a disk has damaged.
    """
    path = out / output.path
    try:
        if as_it_is(out, output) is not None:
            return None, ""
        samples = samples_md5(path)
        return (Fault.REPLACED if samples and samples == flac_md5(path) else Fault.DAMAGED), ""
    except FileNotFoundError:
        return Fault.MISSING, ""
    except OSError as error:
        return Fault.UNREADABLE, explain_os_error(error, "it")


def _restore_state(store: Store, song: Song, finding: Finding) -> None:
    if not finding.variant:
        record = store.record_at(song.key)
        if record is not None:
            write_checked(finding.path, record_to_json(record))
            return
    else:
        marker = store.index.read(finding.path, UNCHECKED_FORMAT, marker_from_json)
        if marker is not None and reads_back(store, marker):
            write_checked(finding.path, marker_to_json(marker))
            return
    remove(finding.path, store.out / DONE)


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _marker(path: Path) -> Marker | None:
    marker = _from_disk(path, marker_from_json)
    return marker if isinstance(marker, Marker) and path.name == marker.task + MARKER_ENDING else None


def _from_disk(path: Path, understand: Any) -> Any:
    data = read_checked(path, UNCHECKED_FORMAT)
    return understand(data) if data is not None else None
