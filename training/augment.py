"""What the ear of the network must not depend on: level, tilt, width, drive, and where the original itself ends."""

from __future__ import annotations

import numpy as np

from training.render import RATE, Audio, Dice


def augment(audio: Audio, dice: Dice) -> Audio:
    """One of many ways in which the same music could have been recorded and mastered."""
    audio = audio / max(1e-6, float(np.abs(audio).max(initial=0)))
    if dice.random() < 0.25:
        drive = np.float32(dice.uniform(1.5, 5.0))
        audio = np.tanh(audio * drive)  # a loud master
    audio = _filtered(audio, dice)
    audio = _widened(audio, dice)
    peak = 10 ** (-abs(dice.normal(0, 5.0)) / 20) * 0.98
    return np.asarray(audio / max(1e-6, float(np.abs(audio).max(initial=0))) * peak, np.float32)


def _widened(audio: Audio, dice: Dice) -> Audio:
    width = 0.0 if dice.random() < 0.06 else dice.uniform(0.3, 1.4)
    middle, side = audio.mean(axis=1), (audio[:, 0] - audio[:, 1]) / 2 * width
    return np.stack([middle + side, middle - side], axis=1).astype(np.float32)


def _filtered(audio: Audio, dice: Dice) -> Audio:
    """A tilt of the whole spectrum, a soft roll-off of the top, an end between 12 and 20 kHz, or none of it."""
    frequency = np.fft.rfftfreq(len(audio), 1 / RATE)
    octaves = np.log2(np.maximum(frequency, 40) / 1000)
    gain = np.zeros(len(frequency))
    if dice.random() < 0.7:
        gain += dice.uniform(-2.0, 2.0) * octaves
    if dice.random() < 0.3:
        gain -= dice.uniform(1.0, 8.0) * np.maximum(0, frequency - dice.uniform(6000, 16000)) / 1000
    if dice.random() < 0.3:
        end, width = dice.uniform(12000, 20500), 10 ** dice.uniform(2, 3.3)
        gain -= 100 * np.clip((frequency - end) / width, 0, 1)
    spectrum = np.fft.rfft(audio, axis=0) * (10 ** (gain / 20))[:, None]
    return np.fft.irfft(spectrum, len(audio), axis=0).astype(np.float32)
