"""Filling the holes that an encoder leaves below its cutoff.

Where bits run short an MP3 encoder sets whole bands of a granule to zero; in the spectrum these are holes,
heard as a watery chirp. They are filled with noise below the level of their surroundings, as perceptual noise
substitution does (Herre and Schulz 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.dsp.spectrum import FLOOR, Power

_TIME = 31  # spectra (0.36 s) over which the surroundings are averaged
_NEAR = 25  # bins (540 Hz) of the surroundings
_WIDE = 401  # bins (8.6 kHz) that tell how loud the moment is
_ATTACK_MARGIN = 3.0  # power by which the surroundings may stand above the moment
_LOWEST_BIN = 14  # 300 Hz: below, spectra are lines and the gaps between them are music
_QUIET = 0.4e-3 * FLOOR


@dataclass(frozen=True)
class HoleFill:
    """A bin ``depth`` dB below its surroundings is a hole; it is filled to ``level`` dB below them."""

    depth: float
    level: float


def fill_gains(powers: Power, top: int, how: HoleFill) -> Power:
    """Amplitude of white noise of variance one to add, per bin below ``top``: ``(time, channels, top)``.

    Before a loud attack the time average of the surroundings is too high: it is scaled down to what the whole
    spectrum of the moment allows, so that no noise is heard ahead of the attack.
    """
    from scipy.ndimage import uniform_filter, uniform_filter1d

    below = powers[:, :, :top]
    around = uniform_filter(below, size=(_TIME, 1, _NEAR), mode="nearest")
    moment = uniform_filter1d(below, _WIDE, axis=2, mode="nearest")
    usual = uniform_filter1d(moment, _TIME, axis=0, mode="nearest")
    around *= np.minimum(1.0, _ATTACK_MARGIN * np.maximum(moment, _QUIET) / np.maximum(usual, _QUIET))
    hole = (below < around * 10 ** (-how.depth / 10)) & (around > _QUIET)
    hole[:, :, :_LOWEST_BIN] = False
    missing = np.maximum(around * np.float32(10 ** (-how.level / 10)) - below, 0)
    return np.asarray(np.sqrt(missing) * hole, np.float32)
