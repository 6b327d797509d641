"""What an export wrote into a folder, as a list that lies there: copies of favourites, never songs of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath

from engine.files import read_json, write_json

_NAME, _FORMAT = ".mp3restore-export.json", 2


@dataclass
class Exports:
    """By path below the folder: the hashes of the ``files``, those of files that were about to replace them
    (``coming``), and of what each was made that is no plain copy (``made_of``)."""

    files: dict[str, str] = field(default_factory=dict)
    coming: dict[str, str] = field(default_factory=dict)
    made_of: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Of all files that an export wrote, or was about to."""
        return {*self.files, *self.coming}

    def wrote(self, name: str, sha256: str) -> bool:
        """Whether an export wrote the file of that name that has this hash."""
        return sha256 in (self.files.get(name), self.coming.get(name))

    def forget(self, name: str) -> None:
        """There is no such file any more."""
        for names in (self.files, self.coming, self.made_of):
            names.pop(name, None)


def read_exports(folder: Path) -> Exports:
    """What was exported into ``folder``; nothing where there is no list that can be read."""
    data = read_json(folder / _NAME) or {}
    if data.get("format") != _FORMAT:
        return Exports()
    return Exports(*(_texts(data.get(name)) for name in ("files", "coming", "made_of")))


def _texts(found: object) -> dict[str, str]:
    return {name: str(text) for name, text in found.items() if _is_below(name)} if isinstance(found, dict) else {}


def _is_below(name: str) -> bool:
    """Whether it is the path of a file in the folder, and none that leads elsewhere."""
    path = PurePath(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts and "\0" not in name


def write_exports(folder: Path, exports: Exports) -> None:
    """Keep the list. Raises OSError."""
    told = {"files": exports.files, "coming": exports.coming, "made_of": exports.made_of}
    write_json(folder / _NAME, {"format": _FORMAT, **{name: one for name, one in told.items() if one}})
