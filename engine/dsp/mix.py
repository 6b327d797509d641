"""Gain and balance of a stem in a mix: the same rule for the remix on disk and for the mixer that is heard."""

from __future__ import annotations

import numpy as np

from engine.audio.readers import Audio


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
