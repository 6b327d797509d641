"""Tracks become excerpts of music: float32 ``(frames, 2)`` at 44.1 kHz, full band."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from training.sources import Track

Audio = npt.NDArray[np.float32]
Dice = np.random.Generator

RATE = 44100
_FRAME_BYTES = 8  # two float32


def stream(command: list[str], seconds: float) -> Audio:
    """The first ``seconds`` of the raw float32 stereo audio that a program writes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        data = child.stdout.read(int(seconds * RATE) * _FRAME_BYTES)
        child.kill()
    return np.frombuffer(data[: len(data) // _FRAME_BYTES * _FRAME_BYTES], np.float32).reshape(-1, 2).copy()


def midi(path: Path, soundfont: Path, seconds: float, dice: Dice) -> Audio:
    """Played by FluidSynth through a soundfont, with some reverberation or none."""
    room = ["-R", "yes" if dice.random() < 0.6 else "no", "-C", "yes" if dice.random() < 0.5 else "no"]
    options = ["-ni", "-q", "-r", str(RATE), "-g", "0.5", "-T", "raw", "-O", "float", "-F", "/dev/stdout"]
    return stream(["fluidsynth", *room, *options, str(soundfont), str(path)], seconds)


def module(path: Path, seconds: float) -> Audio:
    """Played by openmpt123."""
    options = ["--quiet", "--batch", "--float", "--samplerate", str(RATE), "--channels", "2", "--stdout"]
    return stream(["openmpt123", *options, str(path)], seconds)


def recording(path: Path, start: float, seconds: float) -> Audio:
    """From a file, at 44.1 kHz, in stereo."""
    with soundfile.SoundFile(path) as file:
        file.seek(min(int(start * file.samplerate), max(0, len(file) - int(seconds * file.samplerate))))
        audio = file.read(int(seconds * file.samplerate), dtype="float32", always_2d=True)
        rate = file.samplerate
    audio = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
    return audio if rate == RATE else np.asarray(soxr.resample(audio, rate, RATE, "VHQ"), np.float32)


def sounds(folder: Path) -> list[Path]:
    """The sounds of a drum kit."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in (".wav", ".flac", ".aiff"))


def rhythm(paths: list[Path], seconds: float, dice: Dice) -> Audio:
    """Some of the sounds at ``paths``, each on a pattern of sixteen steps, panned and played with feeling."""
    out = np.zeros((int(seconds * RATE), 2), np.float32)
    step = 60 / dice.uniform(80, 150) / 4
    chosen = dice.permutation(len(paths))[: int(dice.integers(4, 9))]
    for index in chosen:
        sound = recording(paths[index], 0, 4)
        loud = float(np.abs(sound).max(initial=0))
        if loud < 1e-3:
            continue
        dense = dice.choice([0.1, 0.2, 0.35, 0.8], p=[0.3, 0.35, 0.2, 0.15])
        pattern = dice.random(16) < dense
        strength = 0.4 + 0.6 * dice.random(16)
        pan = dice.uniform(-0.7, 0.7)
        gains = np.array([np.cos((pan + 1) * np.pi / 4), np.sin((pan + 1) * np.pi / 4)])
        level = dice.uniform(0.2, 1.0) / loud
        for number in range(int(seconds / step)):
            if pattern[number % 16]:
                at = int((number * step + abs(dice.normal(0, 0.003))) * RATE)
                piece = sound[: len(out) - at]
                out[at : at + len(piece)] += (piece * gains * level * strength[number % 16]).astype(np.float32)
    return out


def looped(path: Path, seconds: float) -> Audio:
    """A loop, again and again."""
    sound = recording(path, 0, seconds)
    if len(sound) < RATE // 10:
        return np.zeros((int(seconds * RATE), 2), np.float32)
    times = -(-int(seconds * RATE) // len(sound))
    return np.tile(sound, (times, 1))[: int(seconds * RATE)]


def material(track: Track, soundfont: Path, loops: list[Path], seconds: float, dice: Dice) -> Audio:
    """The first minutes of a track, or as much as is asked for of what has no end."""
    if track.kind == "midi":
        return midi(track.path, soundfont, seconds, dice)
    if track.kind == "module":
        return module(track.path, seconds)
    if track.kind == "recording":
        return recording(track.path, float(dice.uniform(0, 60)), seconds)
    if track.kind == "kit":
        drums = rhythm(sounds(track.path), seconds, dice)
        other = looped(loops[int(dice.integers(len(loops)))], seconds)
        return drums + np.float32(dice.uniform(0, 0.5)) * other
    return looped(track.path, seconds)
