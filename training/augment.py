"""What the ear of the network must not depend on: level, tilt, width, drive, and where the original itself ends.

Free music is darker than finished records, and nearly all of it is whole. Both would be learnt: hence most excerpts are
given the top of a record, and some an end of their own, be it a low-pass or the encoder that an original came through.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.ndimage import uniform_filter1d

from engine.models.restorer.bands import CENTRES, EDGES
from training.render import RATE, Audio, Dice

_MASTERED, _DRIVEN, _NOISY, _ENDED, _TRANSCODED = 0.75, 0.35, 0.25, 0.15, 0.12  # shares of the excerpts
_HEARD = slice(int(np.searchsorted(CENTRES, 200)), int(np.searchsorted(CENTRES, 11000)))
#: Encoders that an original may have come through: what is sold or shared as lossless has not always been so.
_EARLIER = (("-b", "320"), ("-b", "256"), ("-b", "192"), ("-b", "160"), ("-V", "0"), ("-V", "2"), ("-V", "4"))


def augment(audio: Audio, dice: Dice) -> Audio:
    """One of many ways in which the same music could have been recorded and mastered."""
    audio = audio / max(1e-6, float(np.abs(audio).max(initial=0)))
    audio = _equalised(audio, dice)
    if dice.random() < _DRIVEN:  # a loud master
        drive = np.float32(dice.uniform(1.5, 5.0) / max(1e-6, float(np.abs(audio).max(initial=0))))
        audio = np.tanh(audio * drive) if dice.random() < 0.5 else np.clip(audio * drive, -1, 1)
    audio = _widened(audio, dice)
    if dice.random() < _NOISY:
        audio = audio / max(1e-6, float(np.abs(audio).max(initial=0)))
        audio = audio + dice.standard_normal(audio.shape, np.float32) * np.float32(10 ** (dice.uniform(-90, -60) / 20))
    if dice.random() < _ENDED:
        audio = _low_passed(audio, dice)
    peak = 10 ** (-abs(dice.normal(0, 5.0)) / 20) * 0.98
    return np.asarray(audio / max(1e-6, float(np.abs(audio).max(initial=0))) * peak, np.float32)


def ended(audio: Audio, dice: Dice) -> Audio:
    """With an end of its own, wherever it is, steep or not."""
    return _low_passed(audio, dice, lowest=11000.0)


def transcoded(audio: Audio, folder: Path, dice: Dice) -> Audio:
    """Some of the excerpts as another encoder left them, before they are the original of a pair."""
    if dice.random() >= _TRANSCODED:
        return audio
    source = folder / "earlier.wav"
    soundfile.write(source, audio, RATE, subtype="PCM_16")
    if dice.random() < 0.5:
        made, how = folder / "earlier.ogg", float(dice.uniform(0.2, 0.8))
        soundfile.write(made, audio, RATE, format="OGG", subtype="VORBIS", compression_level=how)
    else:
        made = folder / "earlier.mp3"
        options = _EARLIER[int(dice.integers(len(_EARLIER)))]
        subprocess.run(["lame", "--quiet", *options, source, made], check=True)
    decoded, _ = soundfile.read(made, dtype="float32", always_2d=True)
    return np.asarray(decoded[: len(audio)], np.float32)


def _widened(audio: Audio, dice: Dice) -> Audio:
    width = 0.0 if dice.random() < 0.06 else dice.uniform(0.3, 1.4)
    middle, side = audio.mean(axis=1), (audio[:, 0] - audio[:, 1]) / 2 * width
    return np.stack([middle + side, middle - side], axis=1).astype(np.float32)


def _equalised(audio: Audio, dice: Dice) -> Audio:
    """A tilt of the whole spectrum; mostly the top of a finished record, sometimes a soft roll-off."""
    frequency, spectrum = np.fft.rfftfreq(len(audio), 1 / RATE), np.fft.rfft(audio, axis=0)
    gain = dice.uniform(-2.0, 2.0) * np.log2(np.maximum(frequency, 40) / 1000)
    if dice.random() < _MASTERED:
        power = (np.abs(spectrum) ** 2).sum(axis=1) * 10 ** (gain / 10)
        gain += np.interp(frequency, CENTRES, _to_a_record(frequency, power, dice))
    elif dice.random() < 0.5:
        gain -= dice.uniform(1.0, 8.0) * np.maximum(0, frequency - dice.uniform(6000, 16000)) / 1000
    return np.fft.irfft(spectrum * (10 ** (gain / 20))[:, None], len(audio), axis=0).astype(np.float32)


def _to_a_record(
    frequency: npt.NDArray[np.floating], power: npt.NDArray[np.floating], dice: Dice
) -> npt.NDArray[np.float64]:
    """dB per band that bring the top to where finished records have it, as far as there is something to bring."""
    sums = np.concatenate([[0.0], np.cumsum(power)])
    edges = np.searchsorted(frequency, EDGES)
    level = 10 * np.log10(np.diff(sums[edges]) / np.maximum(1, np.diff(edges)) + 1e-12)
    loud = 10 * np.log10(np.mean(10 ** (level[_HEARD] / 10)))
    slope = min(dice.normal(-1.6, 0.8), -0.2)  # dB per kHz, up to where most records become flatter
    kilohertz = CENTRES / 1000
    wanted = dice.normal(-19, 6.0) + slope * (np.minimum(kilohertz, 16) - 8)
    wanted = wanted + slope * dice.uniform(0.1, 1.5) * np.maximum(0, kilohertz - 16)
    change = uniform_filter1d(np.clip(wanted - (level - loud), -15, 30), 7, mode="nearest")
    return np.asarray(change * np.clip((kilohertz - 3) / 4, 0, 1) * dice.uniform(0.6, 1.0))


def _low_passed(audio: Audio, dice: Dice, lowest: float = 12000.0) -> Audio:
    """An end between ``lowest`` and 20,500 Hz, steep or not."""
    frequency = np.fft.rfftfreq(len(audio), 1 / RATE)
    end, width = dice.uniform(lowest, 20500), 10 ** dice.uniform(2, 3.5)
    gain = -100 * np.clip((frequency - end) / width, 0, 1)
    spectrum = np.fft.rfft(audio, axis=0) * (10 ** (gain / 20))[:, None]
    return np.fft.irfft(spectrum, len(audio), axis=0).astype(np.float32)
