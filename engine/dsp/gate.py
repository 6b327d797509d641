"""Where a song is silent, nothing may be made: models and noise sources fill silence with sound."""

from __future__ import annotations

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.channels import loudest

_SILENT = 10 ** (-90 / 20)
_HOLD = 0.020  # seconds on both sides of a sound that still belong to it
_RAMP = 0.010


def is_silent(song: Audio) -> bool:
    """Whether nothing is heard in any of ``(frames, channels)``: no sample reaches -90 dBFS."""
    return bool(max(song.max(initial=0), -song.min(initial=0)) <= _SILENT)


def activity(song: Audio, rate: int) -> Audio:
    """``(frames, 1)`` gain: 1 where anything is heard in ``(frames, channels)``, 0 in silence, smooth between.

    It is decided by what lies within 30 ms.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import oaconvolve

    heard = loudest(song) > _SILENT
    if heard.all():
        return np.ones((len(song), 1), np.float32)
    hold, ramp = int(_HOLD * rate), int(_RAMP * rate)
    held = maximum_filter1d(heard.astype(np.float32), 2 * hold + 1, mode="constant")
    window = np.hanning(2 * ramp + 3)[1:-1]
    smooth = oaconvolve(np.pad(held, ramp, mode="edge"), window / window.sum(), "valid")
    return np.clip(smooth, 0, 1).astype(np.float32)[:, None]
