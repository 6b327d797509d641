"""Files that were altered while nobody looked: of a finished library, and of one that is half done."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from random import Random

from engine.errors import UsageError
from engine.library.verification import Fault, have_made_again, verify
from engine.planning import recipes
from tests.torture.deeds import DEEDS, Deed, Done, done_quietly, finished, remember, run, session
from tests.torture.faults import Base, base, kind, lost, operations, unclear, undisturbed, wrong_after
from tests.torture.places import Place, differences, meaning, stray
from tests.torture.processes import forked
from tests.torture.shim import CHANGES, Do
from tests.torture.shim import Fault as FileFault
from tui.settings import load_settings

_WAYS = ("bit", "cut", "empty", "garbage", "zeros", "swapped", "gone", "doubled")
_OFF = "One/05_stems_enhanced.done.json"  # of what is switched off, which is not made again
_HALFWAY = 120


def _prepare(place: Place) -> None:
    finished(place)
    remember(place)


def _again(place: Place) -> Done:
    """Run, and what else reads what the program keeps."""
    load_settings()
    try:
        recipes.load("mine")
    except UsageError as error:
        if bad := unclear(str(error)):
            return Done((bad,))
    return run(place)


DEEDS_ON_FINISHED = Deed("again", _prepare, _again)


def altered(data: bytes, way: str, other: bytes, dice: Random) -> bytes | None:
    """The bytes after something went wrong with them; None: no file."""
    match way:
        case "bit" if data:
            at = dice.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        case "cut":
            return data[: dice.randrange(max(1, len(data)))]
        case "empty":
            return b""
        case "garbage":
            return dice.randbytes(len(data))
        case "zeros":
            return bytes(len(data))
        case "swapped":
            return other
        case "doubled":
            return data + data
        case _:
            return None


@cache
def _files() -> list[str]:
    """What is kept of a finished library: logs say nothing to the program."""
    at = base("again")
    kept = (
        name for name, data in at.snapshot.items() if data is not None and not name.startswith(("music", "out/_logs"))
    )
    return sorted(
        re.sub(r"[^/]*\.sqlite$", "*.sqlite", name)  # it is called by its place
        for name in kept if name != "tortured.toml" and not name.endswith(".lock")
    )  # fmt: skip


def _harm(place: Place, name: str, way: str, dice: Random) -> None:
    path = place.root / name
    alike = [one for one in sorted(path.parent.parent.rglob(f"*{path.suffix}")) if one != path and one.is_file()]
    other = dice.choice(alike).read_bytes() if alike else b"x"
    status = path.stat()
    data = altered(path.read_bytes(), way, other, dice)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
        if dice.random() < 0.5:  # as a disk that rots does it
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _corrupted(case: tuple[str, str]) -> tuple[int, str]:
    name, way = case
    at = base("again")
    (name,) = (str(path.relative_to(at.place.root)) for path in at.place.root.glob(name))
    _harm(at.place, name, way, Random(f"corrupted/{name}/{way}"))
    ended = undisturbed(at.place, at.deed)
    if ended.raised or ended.found.problems or ended.found.failed:
        return 1, ended.raised[-1500:] or str(ended.found)
    found = at.place.snapshot()
    if wrong := lost(at, found) if way != "gone" else "":
        return 1, wrong
    return 1, _wrong_but_for(at, name) or stray(found) or _not_found_by_verify(at, name)


def _not_found_by_verify(at: Base, name: str) -> str:
    """Empty, or what ``mp3restore verify`` and a run after it leave wrong of a result that was altered."""
    if not name.startswith("out/") or not name.endswith(".flac") or _is_as_made(at, name):
        return ""
    one = session(at.place)
    for song in one.songs:
        checked = verify(one.store, one.where(song))
        findings = [finding for finding in checked.findings if finding.path == at.place.root / name]
        if findings and all(finding.fault is Fault.REPLACED for finding in findings):
            return ""  # somebody else's, and whole: it is told, and left
        if findings:
            have_made_again(one.store, one.where(song), findings)
            undisturbed(at.place, at.deed)
            return "" if _is_as_made(at, name) else f"{name} was not made again"
    return f"verify does not find {name}"


def _is_as_made(at: Base, name: str) -> bool:
    return meaning(at.place.snapshot()).get(name) == at.wanted[name]


def _wrong_but_for(at: Base, name: str) -> str:
    """What is not as it was; of what only the listener or a look at its hash could tell, nothing is asked."""
    found, wanted = meaning(at.place.snapshot()), dict(at.wanted)
    path = Path(name)
    if (
        path.parts[0] == "home"
        or "_listening" in path.parts
        or path.name in ("off.json", ".sounds")
        or name.endswith(_OFF)
        or _only_its_hash_tells(name)
    ):
        found.pop(name, None)
        wanted.pop(name, None)
    if path.parts[1:2] == ("_report",):  # a report is made anew where it is missing
        found = {one: what for one, what in found.items() if one != name}
        wanted.pop(name, None)
    return differences(found, wanted)


def _only_its_hash_tells(name: str) -> bool:
    """Finished results are not read again by every run."""
    return name.endswith(".flac")


def _corrupted_cases() -> list[tuple[str, str]]:
    return [(name, way) for way in _WAYS for name in _files()]


DEEDS["again"] = DEEDS_ON_FINISHED
kind("corrupted", f"A file of a finished library is altered: {', '.join(_WAYS)}", _corrupted_cases, _corrupted)


def _halfway(seed: int) -> tuple[int, str]:
    """Killed, and then something that was there is altered."""
    dice = Random(f"halfway/{seed}")
    name = dice.choice(("run", "retag", "move", "replace", "recipe"))
    number = dice.randint(operations(name, CHANGES) // 8, operations(name, CHANGES))
    at = base(name)
    forked(lambda: done_quietly(at.deed, at.place), FileFault(Do.KILL, number))
    there = sorted(
        one for one, data in at.place.snapshot().items()
        if data is not None and one.startswith("out/") and not one.startswith(("out/_logs", "out/_listening"))
        and not one.endswith((".lock", "off.json", ".tmp", _OFF))
        and not (one.endswith(".flac") and "_chunks" not in one)
    )  # fmt: skip
    harmed, way = dice.choice(there), dice.choice(_WAYS[:-1])
    _harm(at.place, harmed, way, dice)
    if os.environ.get("MP3RESTORE_TORTURE_LOOK"):
        print(name, number, harmed, way)
    return 2, wrong_after(at, empty_too=False)


kind(
    "corrupted-halfway",
    "Killed, and then a file of what is half done is altered",
    lambda: list(range(_HALFWAY)),
    _halfway,
)
