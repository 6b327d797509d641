"""The kinds of faults: what each is, how often it is tried, and what must be so afterwards.

After every fault the deed is done again, undisturbed, and has to end in the very bytes that it ends in where nothing
ever went wrong.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from engine.library.layout import LISTENING
from tests.hostile.texts import unsafe
from tests.torture import shim
from tests.torture.deeds import DEEDS, Deed, Done, done_quietly, prepared
from tests.torture.places import Place, Snapshot, differences, half_written, meaning, stray
from tests.torture.power import Told, after_a_cut, read_log
from tests.torture.processes import Ended, forked
from tests.torture.shim import ALL, CHANGES, LOOKS, Do, Fault, On

_UNCLEAR = re.compile(r"Traceback|unexpected|\[Errno|Error\b(?! for)|Exception|object at 0x|None\b|\(code|report this")


@dataclass(frozen=True)
class Kind:
    """``cases`` gives all that there are; ``attempt`` tries one: how many faults were met, and what is wrong, or nothing."""

    name: str
    what: str
    cases: Callable[[], list[Any]]
    attempt: Callable[[Any], tuple[int, str]]


KINDS: dict[str, Kind] = {}
EVERY_ONE: list[str] = []  # not empty: operations are not thinned


@dataclass(frozen=True)
class Base:
    """A place before a deed and after it. ``operations`` of each of the kinds that were asked for."""

    place: Place
    deed: Deed
    snapshot: Snapshot
    before: dict[str, Any]
    wanted: dict[str, Any]
    done: Done


@cache
def here() -> Place:
    """The place of this process."""
    return _place(os.getpid())


@cache
def _place(process: int) -> Place:
    return Place(Path(tempfile.gettempdir()) / f"place-{process}")


@cache
def _base(process: int, name: str) -> Base:
    place, deed = _place(process), DEEDS[name]
    shim.watch([place.root])
    prepared(deed, place)
    snapshot = place.snapshot()
    ended = undisturbed(place, deed)
    if ended.raised or ended.found.problems:
        raise RuntimeError(f"{name} does not work at all: {ended}")
    return Base(place, deed, snapshot, meaning(snapshot), meaning(place.snapshot()), ended.found)


def base(name: str) -> Base:
    """What this process knows of a deed; its place is as before it."""
    found = _base(os.getpid(), name)
    shim.watch([found.place.root])
    found.place.live_here()
    found.place.restore(found.snapshot)
    return found


def undisturbed(place: Place, deed: Deed) -> Ended:
    return forked(lambda: done_quietly(deed, place))


@cache
def operations(name: str, on: On) -> int:
    """How many there are in a deed."""
    found = base(name)
    return forked(lambda: done_quietly(found.deed, found.place), Fault(Do.COUNT, 0, on)).operations


# --- what must be so ------------------------------------------------------------------------------------------


def try_fault(name: str, fault: Fault | None, called: Callable[[Base, int], None] | None = None, *,
              mend: Callable[[Base], None] = lambda _: None, songs_lost: int = 1, empty_too: bool = True) -> tuple[int, str]:  # fmt: skip
    """Do a deed under a fault; how often that was met, and what is wrong then, or after the deed was done again.

    ``called`` is what happens meanwhile, ``mend`` what a user does between.
    """
    at = base(name)
    ended = forked(
        lambda: done_quietly(at.deed, at.place), fault,
        (lambda child: called(at, child)) if called is not None else None,
    )  # fmt: skip
    return ended.met, wrong_at_once(at, ended, songs_lost) or wrong_after(at, mend, empty_too=empty_too)


def wrong_at_once(at: Base, ended: Ended, songs_lost: int) -> str:
    """Empty, or what is wrong with how a disturbed deed ended, and with what it left."""
    if ended.raised:
        return f"it raised {ended.raised[-1500:]}"
    if not ended.signal:
        if bad := next(filter(None, map(unclear, ended.found.problems)), ""):
            return bad
        if at.done.songs and ended.found.failed > songs_lost:
            return f"{ended.found.failed} songs failed: {ended.found.problems}"
    found = at.place.snapshot()
    return half_written(found, at.before, at.wanted) or lost(at, found)


def wrong_after(at: Base, mend: Callable[[Base], None] = lambda _: None, *, empty_too: bool = True) -> str:
    """Empty, or what is wrong when the deed is done again; ``empty_too``: with folders that are empty.

    What is pruned is not looked for again: an empty folder may stay of it.
    """
    empty_too = empty_too and at.deed.name != "prune"
    mend(at)
    again = undisturbed(at.place, at.deed)
    if again.raised or again.signal or again.found.problems or again.found.failed:
        return f"done again, it ended with {again.raised[-1500:] or again.found or again.signal}"
    found = at.place.snapshot()
    if os.environ.get("MP3RESTORE_TORTURE_LOOK"):
        print(
            {
                n: (meaning(found).get(n), w)
                for n, w in at.wanted.items()
                if meaning(found).get(n) != w and n.endswith("json")
            }
        )
    wrong = differences(meaning(found), at.wanted, empty_too=empty_too) or stray(found, temporary_too=empty_too)
    return f"done again: {wrong}" if wrong else ""


def unclear(text: str) -> str:
    """What is wrong with a sentence for the user; empty: nothing."""
    if _UNCLEAR.search(text) or unsafe(text) or not text.rstrip(")").endswith((".", "?")):
        return f"not a clear sentence: {text!r}"
    return ""


def lost(at: Base, found: Snapshot) -> str:
    """Empty, or what of the listener's own decisions is nowhere any more."""
    there = [_decided(data[0]) for name, data in found.items() if data is not None and LISTENING in Path(name).parts]
    for name, data in at.snapshot.items():
        if data is None or LISTENING not in Path(name).parts:
            continue
        old = _decided(data[0])
        became = at.wanted.get(name)
        new = became if isinstance(became, dict) else {}
        if not any(_is_kept(old, one, new) for one in there):
            return f"{name} is lost: {old}"
    return ""


def _decided(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if name not in ("check", "format")}


def _is_kept(old: dict[str, Any], now: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether every decision is the one that it was, or the one that it becomes."""
    if isinstance(old.get("comparisons"), list):
        return isinstance(now.get("comparisons"), list) and all(row in now["comparisons"] for row in old["comparisons"])
    return all(name in now and now[name] in (value, new.get(name, value)) for name, value in old.items())


# --- the kinds ------------------------------------------------------------------------------------------------


def every(name: str, on: On, most: int) -> Iterator[int]:
    """The numbers of a deed's operations, evenly thinned to ``most`` unless all are asked for."""
    count = operations(name, on)
    step = max(1.0, count / most) if not EVERY_ONE else 1.0
    number = 1.0
    while number <= count:
        yield int(number)
        number += step


def kind(name: str, what: str, cases: Callable[[], list[Any]], attempt: Callable[[Any], tuple[int, str]]) -> None:
    """There is such a kind."""
    KINDS[name] = Kind(name, what, cases, attempt)


def _on_operations(
    name: str, what: str, do: Do, on: On, code: int = errno.EIO, *, whole: int, part: int, lasting: bool = False
) -> None:
    """A kind that meets each operation: at most ``whole`` of a short deed, ``part`` of one that computes. One that is
    ``lasting`` is one fault, however many operations it refuses."""

    def cases() -> list[tuple[str, int]]:
        found = []
        for deed in DEEDS:
            if not (lasting and deed == "prune"):  # which makes the room that there is not
                found += [(deed, number) for number in every(deed, on, part if deed in _LONG else whole)]
        return found

    kills = do in (Do.KILL, Do.KILL_IN_WRITE)

    def attempt(case: tuple[str, int]) -> tuple[int, str]:
        met, wrong = try_fault(
            case[0], Fault(do, case[1], on, code), songs_lost=_ALL_SONGS if lasting else 1, empty_too=kills
        )
        return min(met, 1), wrong

    kind(name, what, cases, attempt)


_LONG = ("run", "replace", "recipe", "force")  # deeds that compute much
_MAKES = On.CREATE | On.WRITE | On.MKDIR | On.RENAME | On.LINK | On.SYNC
_ALL_SONGS = 99

_on_operations("killed", "Killed before an operation that changes something", Do.KILL, CHANGES, whole=150, part=80)
_on_operations("killed-in-write", "Killed in the middle of a write", Do.KILL_IN_WRITE, On.WRITE, whole=25, part=20)
_on_operations(
    "disk-full-once", "The disk is full for one operation", Do.REFUSE, _MAKES, errno.ENOSPC, whole=40, part=25
)
_on_operations("disk-full", "The disk fills in the middle of a write and stays full", Do.SHORT, _MAKES, errno.ENOSPC,
               whole=30, part=20, lasting=True)  # fmt: skip
_on_operations(
    "write-error", "An error for one operation that changes something", Do.REFUSE, CHANGES, whole=40, part=25
)
_on_operations("read-error", "An error for one look, opening or reading", Do.REFUSE, LOOKS, whole=35, part=25)
_on_operations("read-only", "The disk is read-only from some moment on", Do.REFUSE_ON, CHANGES & ~On.SYNC, errno.EROFS,
               whole=20, part=15, lasting=True)  # fmt: skip


# --- many faults, one after the other -------------------------------------------------------------------------

_MOST_KILLS = 30


def _kill_again_and_again(case: tuple[str, int]) -> tuple[int, str]:
    """Killed soon after every start, until it gets through: each time it has to be a little further."""
    name, seed = case
    most = operations(name, CHANGES) // 6 + 2
    at, dice, killed = base(name), Random(f"again/{name}/{seed}"), 0
    while killed < _MOST_KILLS:
        fault = Fault(dice.choice((Do.KILL, Do.KILL, Do.KILL_IN_WRITE)), dice.randint(1, most))
        ended = forked(lambda: done_quietly(at.deed, at.place), fault)
        if wrong := wrong_at_once(at, ended, 0):
            return killed, wrong
        if not ended.signal:
            break
        killed += 1
    return killed, wrong_after(at)


def _flaky(case: tuple[str, int]) -> tuple[int, str]:
    """One in so many operations is refused."""
    name, seed = case
    dice = Random(f"flaky/{name}/{seed}")
    often, on = dice.choice((15, 25, 50, 150)), dice.choice((ALL, CHANGES, LOOKS))
    code = shim.one_in(often, dice.choice((errno.EIO, errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR)))
    return try_fault(
        name, Fault(Do.REFUSE_SOME, dice.randint(1, 1 << 30), on, code), songs_lost=_ALL_SONGS, empty_too=False
    )


def _of_all_deeds(name: str, what: str, attempt: Callable[[Any], tuple[int, str]], each: int) -> None:
    """A kind of ``each`` cases of every deed, which only differ by their seeds."""
    kind(name, what, lambda: [(deed, seed) for seed in range(each) for deed in DEEDS], attempt)


_of_all_deeds(
    "killed-again", f"Killed up to {_MOST_KILLS} times in a row, soon after every start", _kill_again_and_again, 4
)
_of_all_deeds("flaky", "One in 15 to 150 operations is refused", _flaky, 100)


# --- power cuts -----------------------------------------------------------------------------------------------


@cache
def _recorded(process: int, name: str) -> tuple[list[Told], dict[int, str]]:
    """All changes of a deed, and the numbers of the files that were there before."""
    at = base(name)
    numbers = {(at.place.root / one).stat().st_ino: one for one, data in at.snapshot.items() if data is not None}
    with tempfile.TemporaryFile() as log:
        forked(lambda: done_quietly(at.deed, at.place), Fault(Do.COUNT, 0), log=log.fileno())
        log.seek(0)
        return read_log(log.read()), numbers


def _power_cut(case: tuple[str, int, int]) -> tuple[int, str]:
    name, moment, seed = case
    at, (log, numbers) = base(name), _recorded(os.getpid(), name)
    at.place.restore(at.snapshot)
    dice = Random(f"power/{name}/{moment}/{seed}")
    found = after_a_cut(at.place, at.snapshot, numbers, log, min(moment, len(log)), dice)
    at.place.restore(found)
    found = at.place.snapshot()
    return 1, half_written(found, at.before, at.wanted) or lost(at, found) or wrong_after(at, empty_too=False)


def _power_cuts() -> list[tuple[str, int, int]]:
    found = []
    for deed in DEEDS:
        found += [(deed, moment, 0) for moment in every(deed, CHANGES, 40 if deed in _LONG else 45)]
    return found


kind("power-cut", "The power fails: what was not flushed is lost, or half there", _power_cuts, _power_cut)


def try_case(kind: str, number: int) -> tuple[int, str]:
    """Try the case of that number: how many faults were met, and what is wrong, or empty."""
    return KINDS[kind].attempt(all_cases(kind)[number])


@cache
def all_cases(kind: str) -> list[Any]:
    """The cases of a kind; the same in every process that comes of one that asked."""
    return KINDS[kind].cases()
