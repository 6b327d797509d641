"""Killed at random moments and started again: the same bytes, and no finished chunk made twice.

MP3RESTORE_KILLS sets how often (the default keeps the suite short).
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.models import deepfilternet

KILLS = int(os.environ.get("MP3RESTORE_KILLS", "5"))


def start(out, library):
    command = [sys.executable, "-m", "engine", "--no-tui", "--jobs", "2", "--out", str(out), str(library)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )


def digests(out):
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*.flac")}


@pytest.mark.slow
def test_killed_and_restarted_gives_the_same_bytes(tmp_path, piece):
    library = tmp_path / "lib"
    library.mkdir()
    repeats = 6 if deepfilternet.unavailable_reason() else 4
    for name, level in (("a", 1.0), ("b", 0.7)):
        soundfile.write(
            library / f"{name}.mp3",
            np.tile(piece * level, (repeats * (1 + (name == "a")), 1)),
            44100,
            format="MP3",
        )
    began = time.monotonic()
    assert start(tmp_path / "whole", library).wait() == 0
    whole_run = time.monotonic() - began
    dice = random.Random(11)
    killed = 0
    while killed < KILLS:
        child = start(tmp_path / "killed", library)
        try:
            child.wait(0.8 + dice.uniform(0, whole_run / 4))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            killed += 1
            continue
        break
    assert killed >= min(KILLS, 3)
    assert start(tmp_path / "killed", library).wait() == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert [p for p in (tmp_path / "killed").rglob("*") if p.suffix in (".tmp", ".chunk")] == []
    for log in (tmp_path / "killed/_logs").rglob("*.log"):
        computed = re.findall(r"(\w+: chunk \d+) of \d+$", log.read_text(), re.M)
        assert len(computed) == len(set(computed)), log.name
