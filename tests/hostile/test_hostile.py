"""Some of the campaign (``make hostile``), as its own command tries it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures as Linux does")


@pytest.mark.slow
def test_some_of_every_kind_of_hostile_input():
    command = [sys.executable, "-m", "tests.hostile", "--share", "0.004"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[2],
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **all** |" in done.stdout and done.stdout.count("\n| ") > 15


_WORK = """
import os, sys, time
from tests.hostile.campaign import judged
from tests.hostile.watched import Case, run

def work(case):
    match case.kind:
        case "hang": time.sleep(60)
        case "die": os.abort()
        case "memory": bytearray(1 << 30).count(1)
        case "code": os.system("true")
        case "escape": print("\\x1b[2J")
        case "exception": raise ValueError("no")
    return ""

kinds = ("good", "hang", "die", "memory", "code", "escape", "exception", "good")
for outcome in judged(run((Case(kind, 0) for kind in kinds), work, 2, 3.0)):
    print(outcome.case.kind, outcome.failure.strip().replace(chr(10), " ")[-60:], sep=": ")
"""


@pytest.mark.slow
def test_what_goes_wrong_is_seen():
    done = subprocess.run([sys.executable, "-c", _WORK], capture_output=True, text=True, timeout=60, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert told["good"] == "" and done.stdout.count("good") == 2
    assert "hung for 3 s" in told["hang"] and "died (code -6)" in told["die"] and "it took 1" in told["memory"]
    assert (
        "it ran os.system" in told["code"] and "it printed" in told["escape"] and "ValueError: no" in told["exception"]
    )
