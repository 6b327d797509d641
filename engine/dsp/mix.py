"""Gain and balance of stems in a mix: the same rules for the remix on disk and for the mixer that is heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio

LEVELS = (-60.0, 12.0)  # dB that a stem can be set to


@dataclass(frozen=True)
class Strip:
    """How a stem is to be in a mix: ``db`` in :data:`LEVELS`, ``pan`` from -1 (left) to 1 (right)."""

    db: float = 0.0
    pan: float = 0.0
    muted: bool = False
    solo: bool = False


Mix = Mapping[str, Strip]  # by the stems' names; one that is not named is as it was


def in_the_mix(mix: Mix, stem: str) -> bool:
    """Whether the stem is heard at all: not muted, and with the others where one is solo, only if it is, too."""
    strip = mix.get(stem, Strip())
    return not strip.muted and (strip.solo or not any(other.solo for other in mix.values()))


def channel_gains(decibels: float, pan: float) -> tuple[float, float]:
    """Factors for left and right; ``pan`` from -1 (left) to 1 (right) turns down the other side, by a sine.

    In the middle both are as loud as before, so that a mix in which nothing was moved is what it was.
    """
    level = 10 ** (decibels / 20)
    turned = float(np.cos(np.pi / 2 * min(1.0, abs(pan)))) * level
    return (turned, level) if pan > 0 else (level, turned)


def placed(audio: Audio, decibels: float, pan: float) -> Audio:
    """``(frames, channels)`` with gain and, where it is stereo, balance."""
    left, right = channel_gains(decibels, pan)
    if audio.shape[1] != 2:
        return audio * np.float32(10 ** (decibels / 20))
    return audio * np.array([left, right], np.float32)


def described(mix: Mix) -> str:
    """What was changed, in words: ``vocals +3.0 dB, 50% left; drums left out``. Empty where nothing was."""
    solo = [name for name, strip in mix.items() if strip.solo and not strip.muted]
    told = [f"only {' and '.join(solo)}"] if solo else []
    for name, strip in mix.items():
        if strip.muted:
            told.append(f"{name} left out")
        elif in_the_mix(mix, name) and (strip.db or strip.pan):
            level = [f"{strip.db:+.1f} dB"] if strip.db else []
            place = [f"{abs(strip.pan):.0%} {'left' if strip.pan < 0 else 'right'}"] if strip.pan else []
            told.append(f"{name} {', '.join([*level, *place])}")
    return "; ".join(told)
