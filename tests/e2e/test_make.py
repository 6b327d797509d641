"""``make install`` sets the environment up once, and renews it when the program has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
STAND_IN = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *--editable*) exit "${FAILS:-0}";;
esac
"""


@pytest.fixture
def install(tmp_path):
    """``install(**environment)``: what Python was asked to do by ``make install``, and the result of make."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").write_text("one")
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(STAND_IN)
    python.chmod(0o755)

    def run(target="install", **more):
        log.write_text("")
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
        done = subprocess.run(
            ["make", target, f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**environment, "LOG": str(log), **more},
        )  # fmt: skip
        return log.read_text().splitlines(), done

    return run


def test_the_environment_is_made_once_and_renewed_when_the_program_changed(install, tmp_path):
    asked, done = install()
    assert done.returncode == 0 and any("-m venv" in line for line in asked) and "--editable ." in asked[-1]
    assert install()[0] == []
    for text in ("two", "three"):
        (tmp_path / "pyproject.toml").write_text(text)
        os.utime(tmp_path / "pyproject.toml", (1, 1))  # unpacked from an archive: older than what is there
        asked, done = install()
        assert len(asked) == 1 and "--editable ." in asked[0] and "-m venv" not in asked[0], asked
        assert "PyTorch and models stay" in done.stdout and install()[0] == []


def test_where_it_cannot_be_renewed_what_is_there_is_used_and_it_is_tried_again(install, tmp_path):
    install()
    (tmp_path / "pyproject.toml").write_text("two")
    asked, done = install(FAILS="1")
    assert done.returncode == 0 and len(asked) == 1 and "tried again" in done.stdout
    assert len(install()[0]) == 1 and install()[0] == []


def test_a_first_start_that_failed_begins_again(install, tmp_path):
    _, done = install(FAILS="1")
    assert done.returncode != 0 and not (tmp_path / ".venv/.ready").exists()
    assert any("-m venv" in line for line in install()[0])


def test_the_tools_for_development_follow(install, tmp_path):
    assert any("--group dev" in line for line in install(".venv/.ready-dev")[0])
    assert install(".venv/.ready-dev")[0] == []
    os.utime(tmp_path / ".venv/.ready-dev", (1, 1))
    (tmp_path / "pyproject.toml").write_text("two")
    assert any("--group dev" in line for line in install(".venv/.ready-dev")[0])
