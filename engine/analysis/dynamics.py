"""How much louder the loud is than the quiet: loudness range, peak to loudness, crest factor.

Sources: EBU Tech 3342 (loudness range); AES TD1004.1.15-10 (peak to loudness ratio, PLR).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WINDOW = 30  # steps of 100 ms: the short-term loudness of EBU Tech 3341
_ABSOLUTE = -70.0  # LUFS
_RELATIVE = 20.0  # LU below the mean of what is louder than that
_LOW, _HIGH = 0.10, 0.95  # of the loudnesses that are left


def loudness_range(steps: npt.NDArray[np.float64]) -> float:
    """LRA in LU (0 or more) from the K-weighted mean square of every 100 ms; 0 for less than three seconds of sound."""
    if len(steps) < _WINDOW:
        return 0.0
    blocks = np.convolve(steps, np.full(_WINDOW, 1 / _WINDOW), "valid")
    level = -0.691 + 10 * np.log10(np.maximum(blocks, 1e-20))
    heard = level >= _ABSOLUTE
    if not heard.any():
        return 0.0
    gate = -0.691 + 10 * np.log10(blocks[heard].mean()) - _RELATIVE
    low, high = np.quantile(level[level >= max(_ABSOLUTE, gate)], [_LOW, _HIGH])
    return round(float(high - low), 2)
