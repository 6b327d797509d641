"""A sound card made of software: a PulseAudio null sink that is recorded, so that what is heard can be checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.player.player import Player

_GAP = 32  # frames
NEEDED = ("pulseaudio", "parec", "pactl")


class SoundCard:
    """A private PulseAudio server with one null sink; ``recording()`` gives what comes out of it."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.folder, self.rate = folder, rate
        for name in ("runtime", "home"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "runtime").chmod(0o700)
        self.socket = folder / "socket"
        self.environment = {
            "XDG_RUNTIME_DIR": str(folder / "runtime"), "PULSE_RUNTIME_PATH": str(folder / "runtime"),
            "HOME": str(folder / "home"), "PULSE_SERVER": f"unix:{self.socket}",
        }  # fmt: skip
        (folder / "card.pa").write_text(
            f"load-module module-null-sink sink_name=cap rate={rate} channels=2 format=float32le norewinds=1\n"
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={self.socket}\nset-default-sink cap\n"
        )
        (folder / "home/.asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
        self.process: subprocess.Popen[bytes] = self._start()

    def plug_in(self) -> None:
        """Begin again after :meth:`unplug`."""
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            "pulseaudio", "-n", f"--file={self.folder / 'card.pa'}", "--daemonize=no", "--exit-idle-time=-1",
            "--use-pid-file=no", "--disable-shm=yes", "--realtime=no",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 20
        while subprocess.run(
            ["pactl", "info"], env={**os.environ, **self.environment}, capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < end, "the sound server did not start"
            time.sleep(0.1)
        return process

    def unplug(self) -> None:
        """Take the card out: what plays on it loses its device."""
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    @contextmanager
    def recording(self) -> Iterator[list[npt.NDArray[np.float32]]]:
        """Record all that comes out: the list that is given is filled with one float32 array at the end."""
        raw = self.folder / "recording.raw"
        command = ["parec", "-d", "cap.monitor", "--raw", "--format=float32le", f"--rate={self.rate}", "--channels=2"]
        heard: list[npt.NDArray[np.float32]] = []
        with raw.open("wb") as file:
            recorder = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=file, stderr=subprocess.DEVNULL
            )
            time.sleep(1.5)
            try:
                yield heard
                time.sleep(1.5)
            finally:
                recorder.terminate()
                recorder.wait()
        heard.append(np.fromfile(raw, np.float32).reshape(-1, 2))


def has_gap(heard: npt.NDArray[np.float32]) -> bool:
    """Whether the machine stalled for longer than the device's buffer: a hole of silence within the noise."""
    silent = np.asarray(np.abs(heard).max(axis=1) == 0)
    sounding = np.flatnonzero(~silent)
    if not len(sounding):
        return False
    inner = silent[sounding[0] : sounding[-1]].astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inner, [0]])))
    return bool(len(edges)) and int((edges[1::2] - edges[::2]).max()) >= _GAP


def record(card: SoundCard, player: Player, act: Callable[[], Any]) -> tuple[npt.NDArray[np.float32], Any]:
    """What is heard while ``act`` runs, and what it gives; again (twice at most) where the machine stalled."""
    for _ in range(3):
        before = player.underruns
        with card.recording() as recordings:
            result = act()
        if player.underruns == before and not has_gap(recordings[0]):
            break
    return recordings[0], result


def why_no_sound_card() -> str:
    """Empty, or what is missing for one."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (packages pulseaudio, pulseaudio-utils, libasound2-plugins)"
    try:
        import sounddevice  # noqa: F401
    except OSError:
        return "needs PortAudio (package libportaudio2)"
    return ""


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for ``condition``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
