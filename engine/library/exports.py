"""What an export wrote into a folder, as a list that lies there: copies of favourites, never songs of their own."""

from __future__ import annotations

from pathlib import Path, PurePath

from engine.files import read_json, write_json

_NAME, _FORMAT = ".mp3restore-export.json", 2


def read_exports(folder: Path) -> dict[str, str]:
    """The hashes of what was exported into ``folder``, by path below it; empty where nothing was."""
    data = read_json(folder / _NAME) or {}
    files = data.get("files")
    if data.get("format") != _FORMAT or not isinstance(files, dict):
        return {}
    return {name: str(sha256) for name, sha256 in files.items() if _is_below(name)}


def _is_below(name: str) -> bool:
    """Whether it is the path of a file in the folder, and none that leads elsewhere."""
    path = PurePath(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts and "\0" not in name


def write_exports(folder: Path, files: dict[str, str]) -> None:
    """Keep the list. Raises OSError."""
    write_json(folder / _NAME, {"format": _FORMAT, "files": files})
