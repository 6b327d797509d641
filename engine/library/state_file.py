"""Small JSON files that carry a checksum, so that what was altered or is half there counts as absent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from engine.files import read_json, write_json

_CHECK = "check"


def read_checked(path: Path, unchecked_format: int, *, to_change: bool = False) -> dict[str, Any] | None:
    """The same for what :func:`write_checked` wrote; None where the checksum does not match.

    Files whose ``format`` is ``unchecked_format`` or less come from before there were checksums, and need none.
    ``to_change`` as :func:`engine.files.read_json` has it.
    """
    data = read_json(path, to_change=to_change)
    if data is None:
        return None
    check = data.pop(_CHECK, None)
    version = data.get("format")
    if check is None and type(version) is int and version <= unchecked_format:
        return data
    return data if check == _checksum(data) else None


def write_checked(path: Path, data: dict[str, Any]) -> None:
    """Keep ``data`` (plain types) with its checksum, whole or not at all. Raises OSError."""
    write_json(path, {**data, _CHECK: _checksum(data)})


def _checksum(data: dict[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
