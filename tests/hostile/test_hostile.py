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
