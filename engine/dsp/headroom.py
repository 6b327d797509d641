"""Keeping what is added to a song within full scale without touching the song itself."""

from __future__ import annotations

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.channels import least

CEILING = 0.9998
_REACH = 96  # frames (2 ms) on both sides over which the addition is turned down


def duck_addition(song: Audio, added: Audio) -> Audio:
    """``added``, turned down for some milliseconds wherever the sum would clip. Same shape.

    The song's own peaks must not exceed :data:`CEILING`. The gain is the same for all channels and smooth (a
    minimum filter followed by a Hann window of the same width), so there are no clicks, and the level of the
    song never moves.
    """
    from scipy.ndimage import minimum_filter1d
    from scipy.signal import fftconvolve

    total = np.abs(song + added)
    if total.max(initial=0.0) <= CEILING:
        return added
    room = np.maximum(CEILING - np.abs(song), 0)
    allowed = np.where(total > CEILING, room / np.maximum(np.abs(added), 1e-9), 1.0)
    held = minimum_filter1d(np.minimum(least(allowed), 1.0), 2 * _REACH + 1, mode="nearest")
    window = np.hanning(2 * _REACH + 3)[1:-1]
    padded = np.pad(held, _REACH, mode="edge")
    smooth = fftconvolve(padded, window / window.sum(), "valid")
    return np.asarray(added * np.clip(smooth, 0, 1)[:, None], np.float32)
