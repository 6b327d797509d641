"""The whole campaign, its table, and one case again."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.watched import Case, Outcome, run
from tests.torture import shim

_LIMIT = 200.0  # seconds that are a hang
_ROOT = Path(__file__).resolve().parents[2]
_TABLE = _ROOT / "docs" / "torture.md"
_KEPT = _ROOT / "build" / "torture.jsonl"  # what was tried, so that a campaign that was broken off goes on
_BEGIN, _END = "<!-- made by make torture -->", "<!-- end -->"


@dataclass(frozen=True)
class Tried:
    """What came of a case, and how many faults it ``met``."""

    outcome: Outcome
    met: int


def main() -> None:
    """The campaign, or a share of it, of its kinds or of the deeds that are disturbed; ``KIND NUMBER``: one case.

    A whole campaign that was broken off goes on where it was, unless it is begun ``--afresh``; it writes its table.
    Operations are thinned to what half an hour takes; ``--every`` one of them takes some hours.
    """
    if why := shim.why_not():
        sys.exit(f"There can be no torture here: it {why}.")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="torture-", dir=memory if memory.is_dir() else None) as folder:
        tempfile.tempdir = folder
        sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    from tests.torture import deeds, faults, gpu, harm, meanwhile, quick  # noqa: F401  (they tell of their kinds)

    quick.make_quick()
    if len(arguments) == 2 and arguments[1].isdigit():
        met, wrong = faults.try_case(arguments[0], int(arguments[1]))
        print(faults.all_cases(arguments[0])[int(arguments[1])], f"{met} faults:", wrong or "nothing is wrong")
        return bool(wrong)
    reader = ArgumentParser(prog="python -m tests.torture", description=main.__doc__)
    reader.add_argument("--share", type=float, default=1.0)
    reader.add_argument("--afresh", action="store_true")
    reader.add_argument("--every", action="store_true")
    reader.add_argument("--deeds", nargs="+", choices=deeds.DEEDS)
    reader.add_argument("--kinds", nargs="+", choices=faults.KINDS, default=list(faults.KINDS))
    wanted = reader.parse_args(arguments)
    if wanted.afresh:
        _KEPT.unlink(missing_ok=True)
    faults.EVERY_ONE.extend(["--every"] if wanted.every else [])
    for deed in list(deeds.DEEDS) if wanted.deeds else []:
        if deed not in wanted.deeds:
            del deeds.DEEDS[deed]
    names, share = wanted.kinds, wanted.share
    keep = share == 1.0 and not wanted.every and not wanted.deeds
    found = _kept() if keep else {}
    counts = {name: len(faults.all_cases(name)) for name in names}
    chosen = [Case(name, number) for name in names for number in _some(counts[name], share)]
    todo = sorted((case for case in chosen if case not in found), key=lambda case: case.number / counts[case.kind])
    print(f"{sum(counts.values())} cases, {len(todo)} to be tried", flush=True)
    began = time.monotonic()
    try:
        for done, outcome in enumerate(run(iter(todo), _try, _hands(), _LIMIT), 1):
            met = _met(outcome.case)
            found[outcome.case] = Tried(outcome, met)
            if keep:
                _keep(outcome, met)
            if outcome.failure:
                case = faults.all_cases(outcome.case.kind)[outcome.case.number]
                last = " | ".join(outcome.failure.strip().splitlines()[-4:])[-700:]
                print(f"{outcome.case.kind} {outcome.case.number} {case}: {last}", flush=True)
            if done % 500 == 0:
                print(f"{done} of {len(todo)} in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    except KeyboardInterrupt:
        print("Broken off: the same command goes on from here.")
    of_these = {case: one for case, one in found.items() if case.kind in names}
    print("\n".join(_table(of_these, sum(counts.values()))))
    if keep and {case.kind for case in found} >= set(faults.KINDS):
        before, _, rest = _TABLE.read_text("utf-8").partition(_BEGIN)
        after = rest.partition(_END)[2]
        whole = sum(len(faults.all_cases(name)) for name in faults.KINDS)
        _TABLE.write_text("\n".join([f"{before}{_BEGIN}", *_table(found, whole), f"{_END}{after}"]), "utf-8")
    return bool(_failed(list(of_these.values())))


def _hands() -> int:
    return int(os.environ.get("MP3RESTORE_TORTURE_HANDS", "0")) or os.cpu_count() or 1


def _try(case: Case) -> str:
    from tests.torture import faults

    met, wrong = faults.try_case(case.kind, case.number)
    _note(case).write_text(str(met))
    return wrong


def _note(case: Case) -> Path:
    """Where a process that tried a case says how many faults it met."""
    return Path(tempfile.gettempdir()) / f"{case.kind}-{case.number}.met"


def _met(case: Case) -> int:
    try:
        met = int(_note(case).read_text())
    except FileNotFoundError:  # it did not come to it
        return 0
    _note(case).unlink()
    return met


def _some(count: int, share: float) -> Iterator[int]:
    """The numbers of so many cases, from all of them."""
    wanted = min(count, max(1, round(share * count)))
    return (number * count // wanted for number in range(wanted))


def _kept() -> dict[Case, Tried]:
    """What was tried before, and went well."""
    if not _KEPT.is_file():
        return {}
    rows = [json.loads(line) for line in _KEPT.read_text("utf-8").splitlines()]
    tried = [Tried(Outcome(Case(r["kind"], r["number"]), r["failure"], r["seconds"], 0), r["met"]) for r in rows]
    return {one.outcome.case: one for one in tried if not one.outcome.failure}


def _keep(outcome: Outcome, met: int) -> None:
    _KEPT.parent.mkdir(parents=True, exist_ok=True)
    row = {**vars(outcome.case), "failure": outcome.failure, "seconds": round(outcome.seconds, 3), "met": met}
    with _KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _table(found: dict[Case, Tried], of: int) -> Iterator[str]:
    from tests.torture import faults

    by_kind: defaultdict[str, list[Tried]] = defaultdict(list)
    for case, one in found.items():
        by_kind[case.kind].append(one)
    yield "| fault | what happens | cases | faults | failures | seconds a case |"
    yield "|---|---|---|---|---|---|"
    for name in faults.KINDS:
        if some := by_kind[name]:
            mean = sum(one.outcome.seconds for one in some) / len(some)
            yield f"| {name} | {faults.KINDS[name].what} | {len(some)} | {_sum(some)} | {_failed(some)} | {mean:.2f} |"
    whole = list(found.values())
    minutes = sum(one.outcome.seconds for one in whole) / 60
    tried = f"{len(whole)} of {of}" if len(whole) < of else str(of)
    yield f"| **all** | in {minutes:.0f} minutes of work | {tried} | **{_sum(whole)}** | **{_failed(whole)}** | |"


def _sum(some: list[Tried]) -> int:
    return sum(one.met for one in some)


def _failed(some: list[Tried]) -> int:
    return sum(bool(one.outcome.failure) for one in some)
