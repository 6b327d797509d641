"""What is done to vocals, measured on voices of which everything is known.

``python -m benchmarks.vocals [--speech FILE]``. Pitch: voices of our own (pulses through formants) that are sung beside
their notes with vibrato; how far their notes are off before and after, and how deep the vibrato is, both by the phase
of the fundamental alone. Denoise: the same voices, or clean speech from a file, with white noise; signal-to-noise ratio
before and after for each engine and limit, and the same for the clean voice (what is lost).
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from rich.console import Console
from rich.table import Table

from engine.audio.readers import Audio
from engine.audio.resample import resample
from engine.dsp import pitch
from engine.dsp.psola import bent
from engine.stages.denoise import ENGINES, Denoise, DenoiseParams, denoised
from engine.stages.pitch import PitchParams, plan

_TUNE = ((0, 0.6), (2, 0.5), (4, 0.7), (5, 0.4), (7, 1.2), (4, 0.5))
_VIBRATO = 5.5  # Hz, of the voices
_EDGE = 0.08  # seconds at the ends of a note that are its way to the next
_RATE = 48000  # Hz

_voices = importlib.import_module("tests.voices")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="clean speech to measure the denoiser with")
    speech = parser.parse_args().speech
    console = Console()
    console.print(_pitch())
    voice = _read(speech) if speech else _sung(57, 0, 40)[0]
    console.print(_denoise(resample(voice[:, None], _voices.RATE, _RATE)))


def _read(path: Path) -> Audio:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(audio.mean(axis=1, keepdims=True), rate, _voices.RATE)[:, 0]


def _sung(lowest: int, off: float, vibrato: float) -> tuple[Audio, npt.NDArray[np.float64]]:
    """A tune ``off`` cents beside its notes, and the pitch that it should have."""
    tune = [(lowest + step, seconds) for step, seconds in _TUNE]
    formants = _voices.MALE if lowest < 56 else _voices.FEMALE
    return _voices.sung(_voices.melody(tune, off, vibrato), formants, breath=0.05), _voices.melody(tune)


def _pitch() -> Table:
    table = Table("voice", "off by (cents)", "vibrato", "after: median", "after: worst note", "vibrato after", "cost")
    for lowest, name in ((43, "bass, G2"), (52, "tenor, E3"), (57, "alto, A3"), (64, "mezzo, E4"), (72, "soprano, C5")):
        for off, vibrato in ((20, 0), (45, 40), (-45, 70)):
            voice, right = _sung(lowest, off, vibrato)
            begun = time.perf_counter()
            track = pitch.track(resample(voice[:, None], _voices.RATE, pitch.RATE)[:, 0])
            bends, _ = plan(track, _voices.RATE, len(voice), PitchParams(strength=1.0))
            out = np.concatenate(list(bent([voice[:, None]], bends)))[:, 0]
            cost = (time.perf_counter() - begun) * _voices.RATE / len(voice)
            notes = list(_notes(_voices.cents_between(out.astype(np.float64), right)))
            errors = [abs(centre) for centre, _ in notes]
            depth = float(np.median([depth for _, depth in notes]))
            table.add_row(
                name, f"{off:+d}", f"{vibrato}", f"{np.median(errors):.1f}", f"{max(errors):.1f}", f"{depth:.0f}",
                f"{cost:.3f}",
            )  # fmt: skip
    return table


def _notes(cents: npt.NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """(centre, depth of the vibrato) of every note, in cents."""
    at = 0.0
    for _, seconds in _TUNE:
        within = np.arange(int((at + _EDGE) * _voices.RATE), int((at + seconds - _EDGE) * _voices.RATE))
        at += seconds
        phase = 2 * np.pi * _VIBRATO * within / _voices.RATE
        parts = np.stack([np.ones(len(within)), np.sin(phase), np.cos(phase)], axis=1)
        centre, sine, cosine = np.linalg.lstsq(parts, cents[within], rcond=None)[0]
        yield float(centre), float(np.hypot(sine, cosine))


def _denoise(voice: Audio) -> Table:
    table = Table("engine", "limit (dB)", "clean: lost at", "5 dB: gain", "15 dB: gain", "25 dB: gain", "cost")
    noise = np.random.default_rng(0).standard_normal(voice.shape).astype(np.float32)
    noise *= np.float32(np.sqrt(np.square(voice).mean() / np.square(noise).mean()))
    for engine in ENGINES:
        if Denoise().unavailable_reason(DenoiseParams(engine=engine)):
            continue
        for limit in (6.0, 12.0):
            params = DenoiseParams(engine=engine, attenuation_limit_db=limit)
            begun = time.perf_counter()
            gains = [_ratio(voice, denoised(voice, params))]
            cost = (time.perf_counter() - begun) * _RATE / len(voice)
            for level in (5, 15, 25):
                noisy = voice + noise * np.float32(10 ** (-level / 20))
                gains.append(_ratio(voice, denoised(noisy, params)) - _ratio(voice, noisy))
            table.add_row(engine, f"{limit:g}", *(f"{gain:.1f}" for gain in gains), f"{cost:.3f}")
    return table


def _ratio(clean: Audio, audio: Audio) -> float:
    """dB by which what is not ``clean`` lies below it."""
    return float(10 * np.log10(np.square(clean).sum() / np.square(audio - clean).sum()))


if __name__ == "__main__":
    main()
