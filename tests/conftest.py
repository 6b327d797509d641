"""Shared material: real songs where they are at hand, else a piece of our own; encoders; a run in one call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Before anything that counts cores is loaded: several tests run at a time, each with processes of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import soundfile

from engine.commands.demo import RATE, compose, write_demo
from engine.run.events import Event
from engine.run.session import Session
from tests.player.soundcard import SoundCard, why_no_sound_card

_SLOW = [
    entry for entry in Path(__file__).with_name("slow.txt").read_text("utf-8").splitlines() if not entry.startswith("#")
]
MUSIC = Path(__file__).resolve().parents[2] / "shared" / "music"


def is_slow(test: str) -> bool:
    """Whether a test, by its node's name, was measured to take long (``slow.txt``)."""
    return any(
        test.startswith(entry) if entry.endswith(("/", ".py")) else test.partition("[")[0] == entry for entry in _SLOW
    )


def pytest_collection_modifyitems(items):
    for item in items:
        if is_slow(item.nodeid):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """What is measured here, and models that lie on this machine, are none of the tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HF_HOME", raising=False)
        yield


@pytest.fixture(scope="session")
def music() -> Path:
    """The folder of real songs and encodings; tests that need it are skipped without it."""
    if not MUSIC.is_dir():
        pytest.skip("needs the folder of real songs (shared/music beside the checkout)")
    return MUSIC


@pytest.fixture(scope="session")
def piece() -> np.ndarray:
    """Six seconds of stereo music at 44.1 kHz, full bandwidth."""
    return compose(6.0)


@pytest.fixture(scope="session")
def repeated(tmp_path_factory, piece) -> Callable[[int], Path]:
    """``repeated(times)``: an MP3 of the piece so many times over (12: three chunks of the restorer), to be copied."""
    folder = tmp_path_factory.mktemp("repeated")

    @cache
    def encoded(times: int) -> Path:
        path = folder / f"{times}.mp3"
        soundfile.write(path, np.tile(piece, (times, 1)), RATE, format="MP3")
        return path

    return encoded


@pytest.fixture(scope="session")
def demo_mp3(tmp_path_factory) -> Path:
    """A short tagged MP3 of our own."""
    return write_demo(tmp_path_factory.mktemp("demo"), 6.0)


@pytest.fixture
def songs(tmp_path, demo_mp3) -> Path:
    """A library with two songs in folders."""
    (tmp_path / "lib" / "Artist").mkdir(parents=True)
    shutil.copy(demo_mp3, tmp_path / "lib" / "Artist" / "One.mp3")
    another_song(demo_mp3, tmp_path / "lib" / "Two.mp3")
    return tmp_path / "lib"


@pytest.fixture
def sound_card(tmp_path, monkeypatch):
    """A sound card that the player finds as the default one."""
    if why := why_no_sound_card():
        pytest.skip(why)
    folder = tmp_path / "card"
    folder.mkdir()
    card = SoundCard(folder, 48000)
    for name, value in card.environment.items():
        monkeypatch.setenv(name, value)
    yield card
    card.unplug()


def vorbis(folder, audio, level):
    """As a Vorbis file of this ``compression_level`` of libsndfile (0 to 1: fine to coarse) has it."""
    path = folder / f"{level}.ogg"
    with soundfile.SoundFile(path, "w", RATE, 2, format="OGG", subtype="VORBIS", compression_level=level) as file:
        for start in range(0, len(audio), RATE):  # at once, libsndfile runs out of stack
            file.write(audio[start : start + RATE])
    return soundfile.read(path, dtype="float32")[0]


def write_mp3(path: Path, audio: np.ndarray, rate: int = RATE, mode: str = "CONSTANT", level: float = 0.7) -> Path:
    """Encode with the LAME that libsndfile carries."""
    soundfile.write(path, audio, rate, format="MP3", bitrate_mode=mode, compression_level=level)
    return path


def another_song(source: Path, path: Path) -> Path:
    """A copy of an MP3 that is not the same song: its seek table, which no decoder needs, tells of its place."""
    data = bytearray(source.read_bytes())
    table = max(data.find(b"Info"), data.find(b"Xing")) + 16  # behind the flags, frames and bytes
    data[table + 90 : table + 94] = zlib.crc32(os.fsencode(path)).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def frame_bytes(path: Path) -> bytes:
    """An MP3 without its ID3v2 tag."""
    data = path.read_bytes()
    size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
    return data[10 + size :]


def execute(session: Session, **options) -> list[Event]:
    """Run to the end and give all events."""
    events: list[Event] = []
    session.subscribe(events.append)
    session.start(jobs=options.pop("jobs", 1), **options).join()
    return events


def mp3restore(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it."""
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False,
        cwd=Path(__file__).resolve().parents[1], **options,
    )  # fmt: skip
