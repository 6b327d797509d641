"""Some of the campaign (``make torture``), as its own command tries it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import shim

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not())]


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.torture", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MP3RESTORE_TORTURE_HANDS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment,
                          cwd=Path(__file__).parents[2])  # fmt: skip


def test_some_of_the_faults():
    kinds = (
        "killed",
        "killed-in-write",
        "disk-full-once",
        "read-error",
        "killed-again",
        "flaky",
        "power-cut",
        "gpu-memory",
    )
    done = torture("--share", "0.01", "--deeds", "run", "keep", "--kinds", *kinds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **all** |" in done.stdout and all(f"| {kind} |" in done.stdout for kind in kinds)


_WRONG = """
import sys, tempfile
from pathlib import Path
from tests.torture import shim
if not shim.is_loaded():
    shim.begin_again(Path(tempfile.mkdtemp()), ["-c", sys.argv[1], sys.argv[1]])
tempfile.tempdir = tempfile.mkdtemp()
from engine.files import write_json
from tests.torture import faults
from tests.torture.deeds import DEEDS, Deed, Done

def write_in_place(place):
    (place.root / "out").mkdir(exist_ok=True)
    with (place.root / "out" / "x.json").open("w") as file:
        for part in ('{"a"', ': 1', '}'):
            file.write(part)
            file.flush()
    return Done()

def write_well(place):
    write_json(place.root / "out" / "x.json", {"a": 1})
    return Done()

for name, act in (("badly", write_in_place), ("well", write_well)):
    DEEDS.clear()
    DEEDS[name] = Deed(name, lambda place: None, act)
    for kind in ("killed", "disk-full-once", "power-cut"):
        cases = faults.KINDS[kind].cases()
        if kind == "power-cut":
            cases = [(name, moment, seed) for name, moment, _ in cases for seed in range(8)]
        wrong = [faults.KINDS[kind].attempt(case)[1] for case in cases]
        print(name, kind, len(wrong), next(filter(None, wrong), ""))
"""


def test_what_writes_badly_is_seen():
    done = subprocess.run([sys.executable, "-c", _WRONG, _WRONG], capture_output=True, text=True, timeout=120, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    told = {tuple(line.split()[:2]): line.split(maxsplit=3)[2:] for line in done.stdout.splitlines()}
    assert len(told) == 6, done.stdout
    for kind in ("killed", "disk-full-once", "power-cut"):
        if kind != "disk-full-once":  # Python writes what was refused when it closes the file
            assert int(told["badly", kind][0]) >= 4 and "half-written" in told["badly", kind][1], told
        assert int(told["well", kind][0]) >= 4 and len(told["well", kind]) == 1, told
