"""What an export wrote into a folder, as a list that lies there: copies of favourites, never songs of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.files import write_json

_NAME, _FORMAT = ".mp3restore-export.json", 2


def read_exports(folder: Path) -> dict[str, str]:
    """The hashes of what was exported into ``folder``, by path below it; empty where nothing was."""
    try:
        data: Any = json.loads((folder / _NAME).read_text("utf-8"))
        is_known = data["format"] == _FORMAT
        return {str(name): str(sha256) for name, sha256 in data["files"].items()} if is_known else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_exports(folder: Path, files: dict[str, str]) -> None:
    """Keep the list. Raises OSError."""
    write_json(folder / _NAME, {"format": _FORMAT, "files": files})
