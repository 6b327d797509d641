"""What happens beside the program while it works: to the song, to the folder of results, to its children, or by another
process of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.torture.deeds import DEEDS, done_quietly
from tests.torture.faults import (
    Base,
    base,
    every,
    kind,
    lost,
    try_fault,
    unclear,
    undisturbed,
    wrong_after,
)
from tests.torture.places import Place, differences, meaning, write_song
from tests.torture.processes import forked
from tests.torture.shim import ALL, Do, Fault

_RUNS = ("run", "retag", "move", "replace", "recipe", "force")
_YEAR = 365 * 86400


def _moments(deeds: tuple[str, ...], ways: tuple[str, ...], each: int) -> Callable[[], list[Any]]:
    """So many moments of each deed, for each of the ways."""
    return lambda: [(deed, number, way) for deed in deeds for way in ways for number in every(deed, ALL, each)]


# --- the song -------------------------------------------------------------------------------------------------


def _song(place: Place) -> Path:
    """One that is there under the same name before and after every deed."""
    return place.music / "Two.mp3"


def _harm(place: Place, way: str) -> None:
    song = _song(place)
    match way:
        case "deleted":
            song.unlink()
        case "moved":
            song.rename(place.root / "elsewhere.mp3")
        case "cut off":
            os.truncate(song, song.stat().st_size // 2)
        case "emptied":
            os.truncate(song, 0)
        case "written anew":
            song.write_bytes(bytes(len(song.read_bytes())))
        case "replaced":
            song.unlink()
            song.mkdir()


def _source_changed(case: tuple[str, int, str]) -> tuple[int, str]:
    """It is as it was when the deed is done again: the user has found it."""
    name, number, way = case
    whole: dict[str, Any] = {}

    def harm(at: Base, child: int) -> None:
        song = _song(at.place)
        whole.update(data=song.read_bytes(), time=song.stat().st_mtime_ns)
        _harm(at.place, way)

    def found_again(at: Base) -> None:
        song = _song(at.place)
        if song.is_dir():
            song.rmdir()
        (at.place.root / "elsewhere.mp3").unlink(missing_ok=True)
        if whole:
            song.write_bytes(whole["data"])
            os.utime(song, ns=(whole["time"], whole["time"]))

    return try_fault(name, Fault(Do.CALL, number, ALL), harm, mend=found_again)


kind("source", "The song is deleted, moved, cut off, emptied, overwritten or replaced by a folder meanwhile",
     _moments(_RUNS, ("deleted", "moved", "cut off", "emptied", "written anew", "replaced"), 4), _source_changed)  # fmt: skip


def _source_exchanged(case: tuple[str, int, str]) -> tuple[int, str]:
    """Another song takes its place, and stays: then what is there is what a run on that one makes."""
    name, number, _ = case
    at = base(name)
    write_song(_song(at.place), 0.8, "Another")
    undisturbed(at.place, at.deed)
    undisturbed(at.place, at.deed)
    wanted = {path: what for path, what in meaning(at.place.snapshot()).items() if path.endswith(".flac")}
    at = base(name)
    ended = forked(
        lambda: done_quietly(at.deed, at.place), Fault(Do.CALL, number, ALL),
        lambda _: write_song(_song(at.place), 0.8, "Another"),
    )  # fmt: skip
    if wrong := wrong_at_once_but_for_files(ended):
        return ended.met, wrong
    for _ in range(2):  # the first may find the old sound known by another time
        again = undisturbed(at.place, at.deed)
    found = {path: what for path, what in meaning(at.place.snapshot()).items() if path.endswith(".flac")}
    wrong = "; ".join(again.found.problems) or again.raised or differences(found, wanted)
    return ended.met, wrong


def wrong_at_once_but_for_files(ended: Any) -> str:
    """What is wrong with how it ended alone."""
    return ended.raised[-1500:] or next(filter(None, map(unclear, ended.found.problems)), "")


kind("source-exchanged", "Another song takes its place meanwhile", _moments(("run", "retag", "move"), ("",), 10),
     _source_exchanged)  # fmt: skip


# --- the results' folder --------------------------------------------------------------------------------------


def _folder_gone(case: tuple[str, int, str]) -> tuple[int, str]:
    """Unplugged, and plugged in again when the deed is done again."""
    name, number, way = case

    def unplug(at: Base, child: int) -> None:
        if at.place.out.is_dir():
            at.place.out.rename(at.place.root / "unplugged")
        if way == "a file":
            at.place.out.write_text("x")

    def plug_in(at: Base) -> None:
        away = at.place.root / "unplugged"
        if at.place.out.is_file():
            at.place.out.unlink()
        if away.is_dir():
            shutil.rmtree(at.place.out, ignore_errors=True)
            away.rename(at.place.out)

    def attempt() -> tuple[int, str]:
        at = base(name)
        ended = forked(lambda: done_quietly(at.deed, at.place), Fault(Do.CALL, number, ALL), lambda c: unplug(at, c))
        if wrong := wrong_at_once_but_for_files(ended):
            return ended.met, wrong
        plug_in(at)
        return ended.met, wrong_after(at)

    return attempt()


kind("folder-gone", "The folder of results vanishes meanwhile, or a file lies in its place",
     _moments((*_RUNS, "prune", "report", "export"), ("gone", "a file"), 5), _folder_gone)  # fmt: skip


# --- the clock ------------------------------------------------------------------------------------------------


def _clock(case: tuple[str, int, str]) -> tuple[int, str]:
    """It jumps meanwhile, and the times of all files are those of another clock afterwards."""
    name, number, way = case
    seconds = {"an hour on": 3600, "an hour back": -3600, "years on": 5 * _YEAR, "to before": -50 * _YEAR}[way]

    def shift(at: Base) -> None:
        for folder, _, names in os.walk(at.place.out):
            for one in names:
                path = Path(folder, one)
                then = path.stat().st_mtime_ns + seconds * 10**9
                os.utime(path, ns=(then, then))

    return try_fault(name, Fault(Do.SHIFT, number, ALL, seconds), mend=shift)


kind("clock", "The clock jumps an hour or years, on or back, and all files are of another time",
     _moments(tuple(DEEDS), ("an hour on", "an hour back", "years on", "to before"), 3), _clock)  # fmt: skip


# --- other processes ------------------------------------------------------------------------------------------


def _kill_child(case: tuple[str, int, str]) -> tuple[int, str]:
    """The process that reads songs is killed, or does not answer any more until it is given up."""

    def kill(at: Base, child: int) -> None:
        for task in Path(f"/proc/{child}/task").glob("*/children"):
            for one in task.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(one), signal.SIGKILL)

    return try_fault(case[0], Fault(Do.CALL, case[1], ALL), kill)


kind("reader-killed", "The process that reads songs is killed", _moments((*_RUNS, "export"), ("",), 15), _kill_child)


def _two_at_once(case: tuple[str, int, str]) -> tuple[int, str]:
    """A second process comes to the same folder: it is told so, or does what needs no lock, and the first goes on."""
    name, number, way = case
    wrong: list[str] = []

    def second(at: Base, child: int) -> None:
        deed = DEEDS[way]
        ended = forked(lambda: done_quietly(deed, at.place))
        if ended.raised:
            wrong.append(ended.raised[-1500:])
        elif bad := next(filter(None, map(unclear, ended.found.problems)), ""):
            wrong.append(bad)

    at = base(name)
    ended = forked(
        lambda: done_quietly(at.deed, at.place), Fault(Do.CALL, number, ALL), lambda child: second(at, child)
    )
    if wrong or ended.raised:
        return ended.met, "; ".join(wrong) or ended.raised[-1500:]
    if bad := wrong_at_once_but_for_files(ended):
        return ended.met, bad
    if way == "run":
        return ended.met, wrong_after(at)
    undisturbed(at.place, at.deed)
    return ended.met, lost(at, at.place.snapshot())


kind(
    "two-at-once",
    "A second process runs on the same folder meanwhile",
    _moments(_RUNS, ("run", "keep"), 6),
    _two_at_once,
)
