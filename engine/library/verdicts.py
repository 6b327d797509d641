"""What was decided about a song: a favourite and a note. Kept with the results, as plain JSON."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.files import read_json, write_json
from engine.text import printable

_FILE = "verdict.json"
_LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Verdict:
    """``favourite`` is a candidate's key (empty: none yet).

    ``is_proposed``: it was chosen from what the listener chose of other songs, not by the listener.
    """

    favourite: str = ""
    note: str = ""
    is_proposed: bool = False


def read_verdict(folder: Path, *, to_change: bool = False) -> Verdict:
    """The verdict in ``folder``; an empty one where there is none, or a broken one.

    ``to_change``: raises OSError where there is one that cannot be read.
    """
    return _verdict(read_json(folder / _FILE, to_change=to_change) or {})


def verdict_for_sure(folder: Path) -> Verdict | None:
    """The verdict in ``folder``, for what cannot be undone; None where there is a broken one, or it cannot be read."""
    try:
        data = read_json(folder / _FILE, to_change=True)
    except OSError:
        return None
    return _verdict(data or {}) if data is not None or not os.path.lexists(folder / _FILE) else None


def _verdict(data: dict[str, Any]) -> Verdict:
    is_proposed = data.get("is_proposed") is True
    favourite, note = (printable(str(data.get(name, ""))) for name in ("favourite", "note"))
    return Verdict(favourite, note[:_LONGEST_NOTE], is_proposed)


def change_verdict(
    folder: Path, *, favourite: str | None = None, note: str | None = None, is_proposed: bool = False
) -> Verdict:
    """Change what is given and keep it. ``is_proposed`` is said of the favourite. Raises OSError."""
    verdict = read_verdict(folder, to_change=True)
    if favourite is not None:
        verdict = replace(verdict, favourite=favourite, is_proposed=is_proposed and bool(favourite))
    if note is not None:
        verdict = replace(verdict, note=note[:_LONGEST_NOTE])
    write_json(folder / _FILE, asdict(verdict))
    return verdict
