"""Pairs of an original and what LAME left of it, as the network sees them.

A pair is a folder of arrays: ``bins`` uint8 ``(time / EVERY, channels, 2, BINS)``, powers of the decoded and of the
original in steps of half a dB; ``moments``, ``loudness`` and ``song`` as :mod:`engine.models.restorer.features`
makes them; ``error`` ``(time, channels)``, power of what the encoder changed; ``pair.json`` with what else is known.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from engine.analysis.cutoff import LongTermSpectrum, find_cutoff, steepest_drop
from engine.audio.mpeg import read_facts
from engine.audio.resample import output_rate, resample, resampled_length
from engine.dsp.spectrum import FFT, HANN, HOP, power, stft
from engine.models.restorer import features
from training.augment import augment, ended, transcoded
from training.render import RATE, Audio, Dice, material
from training.sources import Track

SECONDS = 8.0
BIN_STEP, BIN_ZERO = 0.5, -76.0  # dB
EVERY = 6  # of so many spectra one is kept bin by bin
_RENDERED = 60.0  # seconds of a track that are rendered at most
_MARGIN = 600.0  # Hz by which lossy originals are believed less than they reach
_ENDED_PIECES, _ENDED_CODINGS = 2, 2
_UNKNOWN = 0.3  # share of pairs that are heard as a decoded file of which nothing is known
#: LAME's options, as often as they are worth it: the bitrates that people have come first.
SETTINGS = (
    *(("-b", rate) for rate in ("64", "64", "96", "96", "112", "128", "128", "128", "160", "192", "192")),
    *(("-b", rate) for rate in ("24", "32", "40", "48", "48", "56", "80", "224", "256", "320")),
    *(("-V", level) for level in ("0", "2", "2", "4", "5", "5", "5", "7", "9")),
)
#: Those whose low-pass lies high enough to show where the music itself ends.
GENEROUS = (
    *(("-b", rate) for rate in ("96", "112", "128", "128", "160", "160", "192", "192", "192", "224", "224")),
    *(("-V", level) for level in ("1", "2", "2", "3", "4", "5")),
)
#: For decoded files: other programs keep the sample rate where LAME's own would lower it, and pay for it in holes.
KEPT_RATE = tuple(
    ("-b", rate, "--resample", "44.1") for rate in ("24", "32", "40", "48", "48", "56", "64", "64", "80", "96", "128")
)


@dataclass(frozen=True)
class Pair:
    """What is told beside the arrays. ``believed`` is the Hz up to which the original can be trusted."""

    name: str
    package: str
    setting: str
    rate: int
    cutoff: float
    bitrate: float | None
    believed: float
    held_out: bool


def encode(audio: Audio, options: tuple[str, ...], folder: Path) -> Path:
    """An MP3 by the command-line LAME."""
    source, made = folder / "original.wav", folder / "coded.mp3"
    soundfile.write(source, audio, RATE, subtype="PCM_16")
    subprocess.run(["lame", "--quiet", *options, source, made], check=True)
    return made


def excerpts(track: Track, soundfonts: list[Path], loops: list[Path], count: int, dice: Dice) -> list[Audio]:
    """``count`` pieces of :data:`SECONDS` of a track; fewer where there is too little sound in it."""
    frames = int(SECONDS * RATE)
    found = []
    for _ in range(count):
        soundfont = soundfonts[int(dice.integers(len(soundfonts)))]
        longest = _RENDERED if track.kind in ("midi", "module") else 20.0
        piece = material(track, soundfont, loops, float(dice.uniform(SECONDS, longest)), dice)[-frames:]
        if len(piece) > frames // 2 and float(np.sqrt((piece**2).mean())) > 1e-3:
            found.append(piece)
    return found


def believed_up_to(audio: Audio, lossless: bool) -> float:
    """Hz up to which a piece is an original."""
    if lossless:
        return RATE / 2
    spectrum = LongTermSpectrum(RATE)
    spectrum.process(audio)
    frequency, _ = steepest_drop(*spectrum.decibels())
    return min(frequency, 20000.0) - _MARGIN


def make_pair(audio: Audio, made: Path, known: bool) -> tuple[Pair, dict[str, npt.NDArray[np.generic]]] | None:
    """The pair of an original and its MP3 at ``made``; None where nothing was cut off. Not ``known``: no header."""
    decoded, own = soundfile.read(made, dtype="float32", always_2d=True)
    with made.open("rb") as file:
        facts = read_facts(file)
    assert facts is not None
    rate = output_rate(own) if known else RATE
    heard = resample(decoded, own, rate)
    if not known:
        heard = _rounded(heard)
    spectrum = LongTermSpectrum(own if known else rate)
    spectrum.process(decoded if known else heard)
    tag = facts.lame.lowpass if known and facts.lame is not None else 0
    cutoff = find_cutoff(spectrum, tag)[0].hz
    if cutoff is None:
        return None
    original = _at_rate(_rounded(audio), rate)
    frames = min(len(heard), len(original)) // HOP * HOP
    heard, original = heard[:frames], original[:frames]
    first, second = stft(heard, HANN), stft(original, HANN)
    powers, wanted = power(first), power(second)
    scale = float((first.conj() * second).real.sum() / max(1e-9, float(powers.sum(dtype=np.float64))))
    bitrate = facts.bitrate / 1000 if facts.bitrate > 1000 else float(facts.bitrate)
    meter = features.SongMeter(cutoff, rate)
    meter.process(powers[2:-2])
    moments = features.moments(powers, cutoff, rate)
    bins = np.stack([_stored(powers[::EVERY]), _stored(wanted[::EVERY])], axis=2)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "bins": bins,
        "moments": moments.values.astype(np.float16),
        "loudness": moments.loudness[..., 0].astype(np.float16),
        "song": meter.facts(bitrate if known else None),
        "error": power(first * np.float32(scale) - second).sum(axis=-1).astype(np.float32),
    }
    return Pair("", "", "", rate, cutoff, bitrate if known else None, 0.0, False), arrays


def _at_rate(audio: Audio, rate: int) -> Audio:
    """At another rate without the slope of a resampler below half of it: that is no part of the original."""
    if rate == RATE:
        return audio
    from scipy.signal import resample as resample_whole

    return np.asarray(resample_whole(audio, resampled_length(len(audio), RATE, rate), axis=0), np.float32)


def _rounded(audio: Audio) -> Audio:
    """As 16-bit files hold it."""
    return np.asarray(np.clip(np.round(audio * 32768), -32768, 32767) / 32768, np.float32)


def _stored(powers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    level = 10 * np.log10(powers + np.float32(1e-10))
    return np.clip(np.round((level - BIN_ZERO) / BIN_STEP), 0, 255).astype(np.uint8)


def write_pairs(
    track: Track, soundfonts: list[Path], loops: list[Path], folder: Path, pieces: int, codings: int, seed: int
) -> int:
    """Make the pairs of one track below ``folder``; how many there are. The same seed makes the same pairs."""
    dice = _dice(track, seed)
    with _workshop(track, folder) as work:
        count = 0
        for number, excerpt in enumerate(excerpts(track, soundfonts, loops, pieces, dice)):
            audio = transcoded(augment(excerpt, dice), work, dice)
            for index in dice.permutation(len(SETTINGS))[:codings]:
                known = bool(dice.random() > _UNKNOWN)
                setting = SETTINGS[int(index)] if known else KEPT_RATE[int(index) % len(KEPT_RATE)]
                count += _write_pair(track, excerpt, audio, setting, known, str(number), work, dice)
        return count


def write_ended_pairs(track: Track, soundfonts: list[Path], loops: list[Path], folder: Path, seed: int) -> int:
    """As :func:`write_pairs`, few of them: every other piece ends by itself, and the MP3 mostly shows it."""
    dice = _dice(track, seed, 1)
    with _workshop(track, folder) as work:
        count = 0
        for number, excerpt in enumerate(excerpts(track, soundfonts, loops, _ENDED_PIECES, dice)):
            audio = augment(excerpt, dice)
            if dice.random() < 0.5:
                audio = ended(audio, dice)
            for index in dice.permutation(len(GENEROUS))[:_ENDED_CODINGS]:
                count += _write_pair(track, excerpt, audio, GENEROUS[int(index)], True, f"{number}e", work, dice)
        return count


def _dice(track: Track, *seeds: int) -> Dice:
    return np.random.default_rng([*seeds, int.from_bytes(f"{track.package}/{track.name}".encode()) % (1 << 62)])


def _label(track: Track) -> str:
    return f"{track.package}-{track.name.replace('/', '_')}"[-120:]


@contextmanager
def _workshop(track: Track, folder: Path) -> Iterator[Path]:
    """A folder for what is made on the way."""
    work = folder / f"{_label(track)}.work"
    work.mkdir(parents=True, exist_ok=True)
    yield work
    shutil.rmtree(work)


def _write_pair(
    track: Track,
    excerpt: Audio,
    audio: Audio,
    setting: tuple[str, ...],
    known: bool,
    number: str,
    work: Path,
    dice: Dice,
) -> int:
    """1 for a pair that was written, 0 where nothing was cut off."""
    options = (*setting, "-m", str(dice.choice(["j", "j", "s"])))
    made = make_pair(audio, encode(audio, options, work), known)
    if made is None:
        return 0
    pair, arrays = made
    place = work.parent / f"{_label(track)}-{number}-{''.join(setting)}"
    place.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array)
    told = asdict(pair) | {
        "name": track.name,
        "package": track.package,
        "setting": " ".join(options),
        "believed": believed_up_to(excerpt, track.lossless),
        "held_out": track.held_out,
    }
    (place / "pair.json").write_text(json.dumps(told))
    return 1


assert FFT == 2048  # what the stored bins mean
