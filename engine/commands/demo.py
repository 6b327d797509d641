"""A short piece of music of our own, as an MP3: for a first run, and where tests need a song."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 44100
_BEAT = 0.375
_CHORDS = ((57, 60, 64, 69), (53, 57, 60, 65), (48, 55, 60, 64), (55, 59, 62, 67))
_Mono = npt.NDArray[np.float64]


def compose(seconds: float = 12.0, seed: int = 7) -> npt.NDArray[np.float32]:
    """Plucked chords, bass, kick and hi-hat: stereo float32 ``(frames, 2)`` at 44.1 kHz, full bandwidth."""
    rng = np.random.default_rng(seed)
    frames = int(seconds * RATE)
    mix = np.zeros((frames + 4 * RATE, 2))
    for beat in range(int(seconds / _BEAT)):
        at = int(beat * _BEAT * RATE)
        chord = _CHORDS[beat // 8 % len(_CHORDS)]
        _add(mix, at, _pluck(chord[beat % 4] + 12 * (beat % 8 == 5), 1.6, rng), 0.30, -0.5 + beat % 4 / 3)
        _add(mix, at, _hat(rng, 0.25 if beat % 4 == 2 else 0.06), 0.16, 0.3)
        if beat % 4 == 0:
            _add(mix, at, _kick(), 0.7, 0.0)
            _add(mix, at, _pluck(chord[0] - 24, 1.4, rng), 0.5, 0.0)
    mix = mix[:frames] * np.minimum(1, np.arange(frames, 0, -1) / RATE)[:, None]
    return (0.8 * mix / np.abs(mix).max()).astype(np.float32)


def _add(mix: npt.NDArray[np.float64], at: int, sound: _Mono, level: float, pan: float) -> None:
    angle = (pan + 1) * np.pi / 4
    part = mix[at : at + len(sound)]
    part += sound[: len(part), None] * level * np.array([np.cos(angle), np.sin(angle)])


def _pluck(note: int, seconds: float, rng: np.random.Generator) -> _Mono:
    """A plucked string (Karplus and Strong 1983)."""
    from scipy.signal import lfilter

    period = round(RATE / (440 * 2 ** ((note - 69) / 12)))
    burst = np.zeros(int(seconds * RATE))
    burst[:period] = rng.uniform(-1, 1, period)
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -0.498, -0.498
    sound: _Mono = lfilter([1.0], feedback, burst)
    return sound * np.minimum(1, np.arange(len(sound), 0, -1) / 2000)


def _hat(rng: np.random.Generator, decay: float) -> _Mono:
    from scipy.signal import butter, sosfilt

    time = np.arange(int(decay * 3 * RATE)) / RATE
    noise = sosfilt(butter(4, 6000, "high", fs=RATE, output="sos"), rng.standard_normal(len(time)))
    return np.asarray(noise * np.exp(-time / decay * 3))


def _kick() -> _Mono:
    time = np.arange(int(0.35 * RATE)) / RATE
    phase = 2 * np.pi * (45 * time + 90 * 0.03 * (1 - np.exp(-time / 0.03)))
    return np.asarray(np.sin(phase) * np.exp(-time / 0.12))


def write_demo(folder: Path, seconds: float = 12.0) -> Path:
    """Write the piece as ``Demo Song.mp3`` (160 kbit/s, tagged) into ``folder``. Raises OSError."""
    import soundfile
    from mutagen.id3 import ID3, TALB, TIT2, TPE1

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Demo Song.mp3"
    soundfile.write(path, compose(seconds), RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.6)
    tags = ID3()
    for frame in (TIT2(text="Demo Song"), TPE1(text="mp3restore"), TALB(text="First Run")):
        tags.add(frame)
    tags.save(path)
    return path
