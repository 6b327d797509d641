"""What the listener decided about a song: a favourite and a note. Kept with the results, as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.files import read_json, write_json

_FILE = "verdict.json"
_LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Verdict:
    """``favourite`` is a candidate's key (empty: none yet)."""

    favourite: str = ""
    note: str = ""


def read_verdict(folder: Path) -> Verdict:
    """The verdict in ``folder``; an empty one where there is none, or a broken one."""
    data = read_json(folder / _FILE) or {}
    return Verdict(str(data.get("favourite", "")), str(data.get("note", ""))[:_LONGEST_NOTE])


def change_verdict(folder: Path, *, favourite: str | None = None, note: str | None = None) -> Verdict:
    """Change what is given and keep it. Raises OSError."""
    verdict = read_verdict(folder)
    if favourite is not None:
        verdict = replace(verdict, favourite=favourite)
    if note is not None:
        verdict = replace(verdict, note=note[:_LONGEST_NOTE])
    write_json(folder / _FILE, asdict(verdict))
    return verdict
