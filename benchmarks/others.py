"""Programs that do the work of one of ours, beside it: processor seconds of both, on the same sound, in turn."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine.commands.demo import RATE, compose

_ROOT = Path(__file__).resolve().parents[1]
_TURNS = 3
_IN_BACKGROUND = (
    "import os, sys\nfrom engine.machine.priority import work_in_background\n"
    "work_in_background()\nos.execv(sys.argv[1], sys.argv[1:])"
)
_FAT_LLAMA = (
    "import sys\nfrom fat_llama_fftw.audio_fattener.feed import upscale\n"
    "upscale(sys.argv[2], sys.argv[1] + '.flac', 'mp3')"
)
_AUDIOSR_AGAIN = ("UNet", "VAE decoder", "vocoder in tiles")  # parts that are in others, or done twice
TAKEN_APART = 'format = 1\n[variants.04_stems]\nchain = ["decode", {{ stage = "separate", model = "{model}" }}]\n'


class NotHere(Exception):
    """Why the other program was not measured."""


@dataclass(frozen=True)
class Other:
    """``measure`` gives (seconds of sound, our processor seconds, the other's seconds). Raises NotHere."""

    work: str
    name: str
    measure: Callable[[Material], tuple[float, float, float]]


@dataclass(frozen=True)
class Material:
    """A folder to work in, and how long the pieces are (seconds); ``full``: networks of full size, not tiny ones."""

    folder: Path
    seconds: float = 20.0
    full: bool = False

    def song(self) -> Path:
        """An MP3 of 128 kbit/s."""
        path = self.folder / f"piece {self.seconds:g}.mp3"
        if not path.exists():
            write_song(path, self.seconds)
        return path


def write_song(path: Path, seconds: float) -> None:
    """An MP3 of that length, of 128 kbit/s."""
    piece = compose(min(30.0, seconds))
    with soundfile.SoundFile(path, "w", RATE, 2, format="MP3", bitrate_mode="CONSTANT", compression_level=0.65) as file:
        for _ in range(max(1, round(seconds / 30))):
            file.write(np.asarray(piece))


def need(package: str) -> None:
    """Raise NotHere where a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise NotHere(f"{package} is not installed")


def taken(command: list[str], out: Path, models: Path) -> tuple[float, float]:
    """(seconds by the clock, processor seconds) of a program that writes into ``out``, with all that it starts.

    It gets the low priority that ours gives itself, and threads that wait for each other do not spin, which on a busy
    machine would count as work of one or the other by chance. Raises NotHere: it failed.
    """
    shutil.rmtree(out, ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "MP3RESTORE_MODELS": str(models), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-c", _IN_BACKGROUND, *command], env=environment, cwd=_ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise NotHere(f"it failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:100]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, processor


def _in_turn(ours: Callable[[], object], theirs: Callable[[], object], turns: int = _TURNS) -> tuple[float, float]:
    """The least processor seconds of each."""
    seconds: list[list[float]] = [[], []]
    for _ in range(turns):
        for kept, work in zip(seconds, (ours, theirs), strict=True):
            began = time.process_time()
            work()
            kept.append(time.process_time() - began)
    return min(seconds[0]), min(seconds[1])


def _ffmpeg(material: Material) -> tuple[float, float, float]:
    from engine.audio.readers import Decoder, stream

    song = material.song()

    def decoded(decoder: Decoder) -> int:
        return sum(len(block) for block in stream(song, decoder)[1])

    return material.seconds, *_in_turn(lambda: decoded("libsndfile"), lambda: decoded("ffmpeg"))


def _pyloudnorm(material: Material) -> tuple[float, float, float]:
    import pyloudnorm

    from engine.audio.loudness import LoudnessMeter
    from engine.audio.readers import BLOCK

    audio, rate = soundfile.read(material.song(), dtype="float32", always_2d=True)

    def ours() -> float:
        meter = LoudnessMeter(rate, audio.shape[1])
        for at in range(0, len(audio), BLOCK):
            meter.process(audio[at : at + BLOCK])
        return meter.integrated()

    return material.seconds, *_in_turn(ours, lambda: pyloudnorm.Meter(rate).integrated_loudness(audio))


def _fat_llama(material: Material) -> tuple[float, float, float]:
    need("fat_llama_fftw")
    song, out = material.song(), material.folder / "fat"
    ours = [sys.executable, "-m", "engine", "--no-tui", "--variants", "11_offline", "--out", str(out), str(song)]
    theirs = [sys.executable, "-c", _FAT_LLAMA, str(out), str(song)]
    return material.seconds, *_programs_in_turn(ours, theirs, out, material.folder)


def _programs_in_turn(ours: list[str], theirs: list[str], out: Path, models: Path) -> tuple[float, float]:
    rounds = [(taken(ours, out, models)[1], taken(theirs, out, models)[1]) for _ in range(_TURNS)]
    return min(one for one, _ in rounds), min(other for _, other in rounds)


def demucs_commands(out: Path, song: Path, models: Path) -> tuple[list[str], list[str]]:
    """(ours, the package's) to take a song apart into ``out`` with the ``htdemucs`` of random weights in ``models``."""
    recipe = models / "htdemucs.toml"
    recipe.write_text(TAKEN_APART.format(model="htdemucs"), "utf-8")
    ours = [sys.executable, "-m", "engine", "--no-tui", "--device", "cpu", "--recipe", str(recipe)]
    ours += ["--variants", "04", "--out", str(out), str(song)]  # by name: however long it takes
    theirs = [sys.executable, "-m", "demucs", "-n", "random", "--repo", str(models), "-d", "cpu", "--int24"]
    return ours, [*theirs, "-o", str(out), str(song)]


def _demucs(material: Material) -> tuple[float, float, float]:
    need("demucs")
    from benchmarks import random_models

    models = material.folder / "models"
    random_models.htdemucs(models, tiny=not material.full)
    out = material.folder / "apart"
    return material.seconds, *_programs_in_turn(*demucs_commands(out, material.song(), models), out, models)


def _audiosr(material: Material) -> tuple[float, float, float]:
    need("audiosr")
    from benchmarks.audiosr import SAMPLES, compare

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        parts = compare(tiny=not material.full, samples=SAMPLES)
    once = [seconds for name, (_, *seconds) in parts.items() if name not in _AUDIOSR_AGAIN]
    return SAMPLES / 48000, sum(own for _, own in once), sum(other for other, _ in once)


OTHERS = (
    Other("an MP3 decoded", "FFmpeg (PyAV)", _ffmpeg),
    Other("loudness (BS.1770)", "pyloudnorm", _pyloudnorm),
    Other("an MP3 given a top, as FLAC, start included", "fat-llama-fftw", _fat_llama),
    Other("stems by Demucs, start included", "the demucs command", _demucs),
    Other("AudioSR, 5 steps, by the clock", "the package audiosr", _audiosr),
)
