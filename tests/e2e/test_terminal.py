"""The real program in a pseudo-terminal: open, run, pause, go on, quit, open again."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from pathlib import Path

import pytest
import soundfile

pty = pytest.importorskip("pty")
pyte = pytest.importorskip("pyte")

ROOT = Path(__file__).resolve().parents[2]


class Terminal:
    """A program in a terminal of 110 x 34, and what is on its screen."""

    def __init__(self, arguments, home):
        self.screen = pyte.Screen(110, 34)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = {
            **os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": str(home), "COLUMNS": "110", "LINES": "34",
            "XDG_CONFIG_HOME": str(home / "c"), "XDG_STATE_HOME": str(home / "s"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        environment.pop("NO_COLOR", None)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "tui", *map(str, arguments)], environment)
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 34, 110, 0, 0))

    def read(self, seconds=0.1):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([self.fd], [], [], left)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self._stream.feed(data)

    @property
    def text(self):
        return "\n".join(self.screen.display)

    def wait_for(self, *words, seconds=90.0):
        end = time.monotonic() + seconds
        while not all(word in self.text for word in words):
            assert time.monotonic() < end, f"{words} did not appear:\n{self.text}"
            self.read()

    def press(self, keys):
        self.read(0.5)  # as a person would: what is seen has come to rest
        os.write(self.fd, keys.encode())

    def exit_code(self, seconds=90.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.read(0.5)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it did not end:\n{self.text}")


@pytest.fixture
def library(tmp_path, repeated):
    folder = tmp_path / "Music"
    folder.mkdir()
    shutil.copy(repeated(60), folder / "Long song.mp3")
    (tmp_path / "r.toml").write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.11_offline]\nchain = ["decode", "restore"]\n'
    )
    return folder


def test_a_whole_evening(library, tmp_path):
    arguments = [library, "--recipe", tmp_path / "r.toml", "--jobs", "1"]
    terminal = Terminal(arguments, tmp_path)
    terminal.wait_for("Long song.mp3", "Press s to start")
    terminal.press("s")
    terminal.wait_for("running", "chunk 1/")
    terminal.press("p")
    terminal.wait_for("paused")
    terminal.press("p")
    terminal.wait_for("running")
    terminal.press("q")
    terminal.wait_for("A run is in progress. What now?")
    terminal.press("2")
    code = terminal.exit_code()
    assert code == 130, terminal.text
    assert b"Stopped. Nothing finished is lost" in terminal.raw
    assert b"\x1b[?1049l" in terminal.raw  # the screen was given back
    assert not (library.parent / "AI_Restored_Variants/11_offline/Long song.offline.flac").exists()

    terminal = Terminal(arguments, tmp_path)
    terminal.wait_for("Long song.mp3", "0/1 done")
    terminal.press("s")
    terminal.wait_for("1/1 done", "1 of 1 song done")
    terminal.press("q")
    assert terminal.exit_code() == 0
    assert (library.parent / "AI_Restored_Variants/11_offline/Long song.offline.flac").is_file()

    terminal = Terminal(arguments, tmp_path)
    terminal.wait_for("Long song.mp3", "1/1 done")
    terminal.press("q")
    assert terminal.exit_code() == 0


def test_keep_going_without_the_dashboard(library, tmp_path):
    terminal = Terminal([library, "--recipe", tmp_path / "r.toml"], tmp_path)
    terminal.wait_for("Press s to start")
    terminal.press("s")
    terminal.wait_for("running")
    terminal.press("q")
    terminal.wait_for("Keep going here")
    terminal.press("1")
    assert terminal.exit_code() == 0
    assert (library.parent / "AI_Restored_Variants/11_offline/Long song.offline.flac").is_file()


def test_a_lost_terminal_does_not_end_the_run(library, tmp_path):
    import signal

    terminal = Terminal([library, "--recipe", tmp_path / "r.toml"], tmp_path)
    terminal.wait_for("Press s to start")
    terminal.press("s")
    terminal.wait_for("running")
    os.kill(terminal.pid, signal.SIGHUP)
    os.close(terminal.fd)
    end = time.monotonic() + 90
    while not os.waitpid(terminal.pid, os.WNOHANG)[0]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert (library.parent / "AI_Restored_Variants/11_offline/Long song.offline.flac").is_file()


def test_play_and_leave_without_a_trace(tmp_path, piece):
    import glob
    import tempfile

    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", piece, 44100)
    terminal = Terminal(["play", tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path)
    terminal.wait_for("a.wav", "b.wav", "LUFS", "2 files")
    folders = glob.glob(f"{tempfile.gettempdir()}/mp3restore-player-{terminal.pid}-*")  # noqa: PTH207
    assert len(folders) == 1
    terminal.press("2")
    terminal.wait_for("2 b.wav")
    terminal.press("q")
    assert terminal.exit_code() == 0
    assert not Path(folders[0]).exists() and b"\x1b[?1049l" in terminal.raw


def test_a_terminal_that_says_it_knows_sixel_gets_pixels(tmp_path, piece):
    soundfile.write(tmp_path / "a.wav", piece, 44100)

    class Sixel(Terminal):
        def read(self, seconds=0.1):
            before = len(self.raw)
            super().read(seconds)
            if b"\x1b[c" in self.raw[before:]:
                os.write(self.fd, b"\x1b[?62;4;6c")
            if b"\x1b[16t" in self.raw[before:]:
                os.write(self.fd, b"\x1b[6;20;10t")

    terminal = Sixel(["play", tmp_path / "a.wav"], tmp_path)
    terminal.wait_for("a.wav", "LUFS")
    end = time.monotonic() + 60
    while b"\x1bP" not in terminal.raw:
        assert time.monotonic() < end, "no picture came"
        terminal.read()
    terminal.press("q")
    assert terminal.exit_code() == 0
