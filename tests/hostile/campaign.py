"""The whole campaign, its table, and one case again."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.hostile import by_hand, libraries, songs, weights  # noqa: F401  (they tell of their kinds)
from tests.hostile.entries import all_entries
from tests.hostile.kinds import KINDS, try_one
from tests.hostile.watched import Case, Outcome, run

LIMIT = 90.0  # seconds that are a hang, whatever the machine is busy with
MOST_MEMORY = 1 << 30  # bytes
_SONGS = 100  # that go through the entry points
_TABLE = Path(__file__).resolve().parents[2] / "docs" / "hostile.md"
_BEGIN, _END = "<!-- made by make hostile -->", "<!-- end -->"


def cases(share: float, names: tuple[str, ...] = ()) -> Iterator[Case]:
    """So much of each kind, the kinds in turn."""
    for name in names or KINDS:
        count = KINDS[name][0]
        yield from (Case(name, number) for number in range(min(count, max(1, round(share * count)))))


def judged(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same, in which more memory than is allowed is a failure."""
    for outcome in outcomes:
        too_much = f"it took {outcome.peak >> 20} MB" if outcome.peak > MOST_MEMORY else ""
        yield Outcome(outcome.case, outcome.failure or too_much, outcome.seconds, outcome.peak)


def main() -> None:
    """``[--share SHARE] [KIND...]``: the campaign, or so much of it; ``KIND NUMBER``: one case, in this process.

    The whole campaign ends with the entry points, and writes its table.
    """
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[1].isdigit():
        print(try_one(Case(arguments[0], int(arguments[1]))) or "nothing is wrong")
        return
    share = float(arguments.pop(1)) if arguments[:1] == ["--share"] else 1.0
    names = tuple(name for name in arguments if name != "--share")
    began = time.monotonic()
    found: defaultdict[str, list[Outcome]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        tempfile.tempdir = folder  # of the processes too, which may not live to tidy up
        for outcome in judged(run(cases(share, names), try_one, os.cpu_count() or 1, LIMIT)):
            found[outcome.case.kind].append(outcome)
            if outcome.failure:
                last = outcome.failure.strip().splitlines()
                print(f"{outcome.case.kind} {outcome.case.number}: {' | '.join(last[-4:])[:600]}", flush=True)
        tempfile.tempdir = None
    lines = list(_table(found, time.monotonic() - began))
    failed = any(outcome.failure for some in found.values() for outcome in some)
    if share == 1.0 and not names:
        entries, wrong = _entries()
        lines, failed = [*lines, "", *entries], failed or wrong
    print("\n".join(lines))
    if share == 1.0 and not names:
        before, _, rest = _TABLE.read_text("utf-8").partition(_BEGIN)
        after = rest.partition(_END)[2]
        _TABLE.write_text("\n".join([f"{before}{_BEGIN}", *lines, f"{_END}{after}"]), "utf-8")
    sys.exit(failed)


def _entries() -> tuple[list[str], bool]:
    """Lines about the worst songs through the real commands, and whether anything was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        tried = list(all_entries(Path(folder), _SONGS))
    wrong = {name: what for name, what in tried if what}
    for name, what in wrong.items():
        print(f"{name}: {what}".encode("utf-8", "backslashreplace").decode(), flush=True)
    asked = ", ".join(name for name, _ in tried if not name.startswith("refused"))
    return [
        f"{_SONGS} of these songs under the worst names, given to the program itself: {asked}; and "
        f"{sum(name.startswith('refused') for name, _ in tried)} times arguments that are no songs: {len(wrong)} failures."
    ], bool(wrong)


def _table(found: dict[str, list[Outcome]], seconds: float) -> Iterator[str]:
    yield "| input | what is wrong with it | cases | failures | slowest | most memory |"
    yield "|---|---|---|---|---|---|"
    for name, some in found.items():
        what = (KINDS[name][1].__doc__ or "").partition("\n")[0].rstrip(".")
        failed = sum(bool(outcome.failure) for outcome in some)
        slowest, most = max(o.seconds for o in some), max(o.peak for o in some)
        yield f"| {name} | {what} | {len(some)} | {failed} | {slowest:.1f} s | {most >> 20} MB |"
    whole = [outcome for some in found.values() for outcome in some]
    failed = sum(bool(outcome.failure) for outcome in whole)
    yield f"| **all** | in {seconds / 60:.0f} minutes | **{len(whole)}** | **{failed}** | | |"
