"""A library in a folder of its own, what lies there, and whether that is what should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import soundfile
from mutagen.id3 import APIC, ID3, TALB, TIT2

from engine.audio.encode import _is_closed
from engine.audio.sound_hash import flac_md5
from engine.commands.demo import RATE, compose
from engine.library.layout import CHUNK_ENDING, CHUNKS, LOGS, REPORT
from engine.library.results import samples_md5
from engine.library.sound_index import _entry
from engine.library.state_file import _checksum
from tests.torture.quick import SEPARATOR

_HOMES = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
_FRAMES = 13230  # 0.3 s
_VARYING = ("check", "seconds", "when", "started", "modified", "start")  # what two equal runs tell differently
RECIPE = f"""
format = 1
title = "tortured"
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.02_low]
chain = ["decode", {{ stage = "lowpass", cutoff_hz = 9000 }}, {{ stage = "width", high = 0.5 }}]
[variants.04_stems]
chain = ["decode", {{ stage = "separate", model = "{SEPARATOR}" }}]
suffix = ""
[variants.05_stems_enhanced]
from = ["04_stems"]
chain = [{{ each = {{ vocals = [{{ stage = "lowpass", cutoff_hz = 9000 }}] }} }}]
suffix = ".enhanced"
[variants.06_remixed]
from = ["05_stems_enhanced", "04_stems"]
chain = [{{ stage = "remix", fit = false }}]
suffix = ".remix"
"""
Snapshot = dict[str, tuple[bytes, int] | None]  # by path: bytes and time, or None for a folder


class Place:
    """A folder with ``music``, ``out``, the listener's ``home`` and what is ``exported``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.music, self.out, self.home = root / "music", root / "out", root / "home"
        self.exported, self.recipe = root / "exported", root / "tortured.toml"

    def live_here(self) -> None:
        """Settings and caches of this process are those of the place."""
        for name in _HOMES:
            os.environ[name] = str(self.home)

    def snapshot(self) -> Snapshot:
        """All that lies here."""
        found: Snapshot = {}
        for folder, _, names in os.walk(self.root):
            if folder != str(self.root):
                found[os.path.relpath(folder, self.root)] = None
            for name in names:
                path = Path(folder, name)
                found[str(path.relative_to(self.root))] = path.read_bytes(), path.stat().st_mtime_ns
        return found

    def restore(self, snapshot: Snapshot) -> None:
        """Have here what lay here then, and nothing else."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        for name, content in snapshot.items():
            if content is None:
                (self.root / name).mkdir(parents=True, exist_ok=True)
                continue
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[0])
            os.utime(path, ns=(content[1], content[1]))


@cache
def _sound(level: float) -> bytes:
    import io

    written = io.BytesIO()
    soundfile.write(written, compose(1.0)[-_FRAMES:] * level, RATE, format="MP3")
    return written.getvalue()


def write_song(path: Path, level: float, title: str) -> None:
    """A song of 0.3 s: its sound goes by its level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_sound(level))
    tags = ID3()
    tags.add(TIT2(encoding=3, text=[title]))
    tags.add(TALB(encoding=3, text=["Faults"]))
    tags.add(APIC(encoding=0, mime="image/png", type=3, desc="", data=hashlib.sha256(title.encode()).digest() * 8))
    tags.save(path)


def new_library(place: Place) -> None:
    """Two songs that nothing was made of."""
    write_song(place.music / "Artist" / "One.mp3", 1.0, "One")
    write_song(place.music / "Two.mp3", 0.6, "Two")
    place.recipe.write_text(RECIPE)
    place.home.mkdir()


# --- what is there --------------------------------------------------------------------------------------------


def told(name: str, data: bytes) -> Any:
    """What a file says, without what two equal runs tell differently."""
    path = Path(name)
    if path.suffix == ".sqlite" or path.name in ("measured.json", ".told"):
        return "is there"
    if path.name == ".sounds":
        return sorted(filter(None, map(_entry, data.decode("utf-8", "replace").split("\n"))))
    if path.name == "comparisons.json":  # a deed that is done again answers again
        data = json.dumps({**json.loads(data), "comparisons": json.loads(data)["comparisons"][:1]}).encode()
    if path.suffix == ".json":
        try:
            return _without(json.loads(data), _VARYING)
        except ValueError:
            return data
    return hashlib.sha256(data).hexdigest()


def _without(data: Any, names: Iterable[str]) -> Any:
    if isinstance(data, dict):
        return {name: _without(value, names) for name, value in data.items() if name not in names}
    return [_without(one, names) for one in data] if isinstance(data, list) else data


def _counts(name: str) -> bool:
    """Whether a file or folder must be as in an undisturbed run: logs need not."""
    parts = Path(name).parts
    return (
        LOGS not in parts
        and not parts[-1].startswith("step-")
        and not (parts[:1] == ("home",) and not name.endswith((".json", ".sqlite", ".toml")))
    )


def meaning(snapshot: Snapshot) -> dict[str, Any]:
    """All that counts of what lies there."""
    return {
        name: None if content is None else told(name, content[0])
        for name, content in snapshot.items()
        if _counts(name) and not name.endswith(".tmp")
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], *, empty_too: bool = True) -> str:
    """Empty, or what is not as it should be. ``empty_too``: nor may an empty folder be left over, nor the note of a
    failure that is over, where the disk refused to take them away."""
    more = (
        name for name in found.keys() - wanted.keys()
        if (empty_too and not name.startswith("out/_done/"))
        or (found[name] is not None and not name.endswith("failed.json"))
    )  # fmt: skip
    gone = (name for name in wanted.keys() - found.keys() if not name.endswith("/.sounds"))  # made when it is needed
    wrong = [f"{name} is missing" for name in gone] + [f"{name} is left over" for name in more]
    for name in wanted.keys() & found.keys():
        if name.endswith("/.sounds") and set(wanted[name]) <= set(found[name]):
            continue  # it also tells of where a sound was
        if wanted[name] != found[name]:
            told = [f"{one!r:.200}" for one in (found[name], wanted[name])] if isinstance(wanted[name], list) else []
            wrong.append(" ".join([f"{name} differs", *told]))
    return "; ".join(sorted(wrong)[:6])


def half_written(snapshot: Snapshot, *whole: Mapping[str, Any]) -> str:
    """Empty, or a file under its final name that is neither what it was nor what it becomes."""
    for name, content in snapshot.items():
        path = Path(name)
        if (
            content is None
            or path.parts[0] == "music"
            or path.suffix == ".tmp"
            or not _counts(name)
            or CHUNKS in path.parts
        ):
            continue
        if path.suffix == ".json":
            if _is_broken(content[0]):
                return f"{name} is half-written: {content[0][:80]!r}"
        elif path.suffix in (".flac", ".mp3", ".toml", ".csv", ".html", ".png") and path.parts[0] != "home":
            known = [content for state in whole for content in state.values()]  # wherever it was on its way
            if told(name, content[0]) not in known and not _is_whole(path, content[0]):
                return f"{name} is neither what it was nor what it becomes ({len(content[0])} bytes)"
    return ""


def _is_whole(path: Path, data: bytes) -> bool:
    """Whether something that an undisturbed run does not make is whole: a report of what there was at a moment, a result
    of the recipe alone where the listener's mix could not be read."""
    if REPORT in path.parts:
        return data.rstrip().endswith(b"</html>") if path.suffix == ".html" else data.endswith(b"\n")
    if path.suffix != ".flac":
        return False
    with tempfile.NamedTemporaryFile(suffix=".flac") as file:
        file.write(data)
        file.flush()
        whole = Path(file.name)
        return _is_closed(whole) and samples_md5(whole) == flac_md5(whole)


def _is_broken(data: bytes) -> bool:
    try:
        found = json.loads(data)
    except ValueError:
        return True
    if isinstance(found, dict) and "check" in found:
        return bool(found.pop("check") != _checksum(found))
    return False


def stray(snapshot: Snapshot, *, temporary_too: bool = True) -> str:
    """Empty, or what is left of work that is over: ``temporary_too``, be it a file that the disk would not give up."""
    for name in snapshot:
        if name.endswith(("-journal", "-wal", CHUNK_ENDING, *((".tmp",) if temporary_too else ()))):
            return f"{name} is left over"
    return ""
