"""Once, a run stops when it can; twice, at once, whatever hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
_HANG = """
import sys, time
from engine.commands import cli
from engine.run import song_run
def hang(path, checkpoint):
    print("\\n" * {lines}, "hanging", file=sys.stderr, flush=True)
    {blocked}
    time.sleep(1000)
song_run.analyze = hang
cli.main()
"""


def start(songs, out, blocked="pass", **options):
    code = _HANG.format(lines=0, blocked=blocked)
    return subprocess.Popen(
        [sys.executable, "-c", code, "--no-tui", "--jobs", "1", "--variants", "01", "--out", str(out), str(songs)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], **options,
    )  # fmt: skip


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_leaves_at_once(songs, tmp_path, second):
    child = start(songs, tmp_path / "out")
    assert "hanging" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)
    while "Stopping" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(second)
    assert child.wait(5) == 130
    assert "Traceback" not in child.stderr.read()


def test_a_second_signal_leaves_at_once_when_nobody_reads_what_is_printed(songs, tmp_path):
    fill = "[runner.emit(song_run.SongWarning('Two.mp3', 'x' * 5000)) for _ in range(100)]"
    child = start(
        songs,
        tmp_path / "out",
        f"import gc; runner = next(o for o in gc.get_objects() if type(o).__name__ == 'Runner'); {fill}",
    )
    assert "hanging" in child.stderr.readline()
    time.sleep(1.0)  # the pipe is full by now
    child.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == 130
    assert "Traceback" not in child.stderr.read()
