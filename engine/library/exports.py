"""What an export wrote into a folder, as a list that lies there: copies of favourites, never songs of their own."""

from __future__ import annotations

from pathlib import Path

from engine.files import read_json, write_json

_NAME, _FORMAT = ".mp3restore-export.json", 2


def read_exports(folder: Path) -> dict[str, str]:
    """The hashes of what was exported into ``folder``, by path below it; empty where nothing was."""
    data = read_json(folder / _NAME) or {}
    files = data.get("files")
    if data.get("format") != _FORMAT or not isinstance(files, dict):
        return {}
    return {str(name): str(sha256) for name, sha256 in files.items()}


def write_exports(folder: Path, files: dict[str, str]) -> None:
    """Keep the list. Raises OSError."""
    write_json(folder / _NAME, {"format": _FORMAT, "files": files})
