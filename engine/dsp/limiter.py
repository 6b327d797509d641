"""A look-ahead true-peak limiter that streams.

The gain is found on the four times oversampled signal (ITU-R BS.1770-4 Annex 2), held over the look-ahead,
released exponentially and smoothed with a Hann window of the look-ahead's width, so that it is complete when
the peak arrives and has no corners. All channels get the same gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.channels import loudest

_OVERSAMPLING = 4
_PHASE_TAPS = 64  # per phase, on both sides of a sample together; fewer would be deaf to the top of the band
_RELEASE_MEMORY = 1 << 14  # frames over which the release is computed at once


class Limiter:
    """Limits blocks to a true peak of ``ceiling`` (amplitude).

    Args:
        lookahead, release: seconds.
    """

    def __init__(self, rate: int, ceiling: float, lookahead: float = 0.003, release: float = 0.08) -> None:
        from scipy.signal import firwin

        self._ceiling = ceiling
        self._reach = max(8, round(lookahead * rate))
        self._fall = float(np.exp(-1 / (release * rate))) ** np.arange(1, _RELEASE_MEMORY + 1)
        taps = firwin(_OVERSAMPLING * _PHASE_TAPS + 1, 1 / _OVERSAMPLING, window=("kaiser", 8.0))
        self._phases = [_OVERSAMPLING * taps[p::_OVERSAMPLING] for p in range(_OVERSAMPLING)]
        window = np.hanning(self._reach + 2)[1:-1]
        self._smooth = window / window.sum()

    def process(self, blocks: Iterable[Audio], gain: float) -> Iterator[Audio]:
        """The blocks times ``gain``, limited; as many frames come out as go in."""
        margin = self._reach + _PHASE_TAPS
        held: Audio | None = None  # the margin before what is worked on, and what is worked on
        reduction = 0.0
        for block in _chain_silence(blocks, margin):
            scaled = block * np.float32(gain)
            if held is None:
                held = np.concatenate([np.zeros((margin, block.shape[1]), np.float32), scaled])
            else:
                held = np.concatenate([held, scaled])
            count = len(held) - 2 * margin
            if count <= 0:
                continue
            need = self._needed(held)
            released, reduction = self._release(need[: count + 2 * margin], reduction, count)
            yield held[margin : margin + count] * released[:, None]
            held = held[count:]

    def _needed(self, audio: Audio) -> npt.NDArray[np.float64]:
        """Gain reduction in nepers that each frame needs by its true peak, over all channels."""
        from scipy.signal import oaconvolve

        peak = loudest(audio).astype(np.float64)
        if peak.max() > self._ceiling / 2:  # otherwise not even the space between samples can be too high
            for taps in self._phases:
                between = oaconvolve(audio, taps[:, None], mode="same", axes=0)
                peak = np.maximum(peak, loudest(between))
        return np.log(np.maximum(peak / self._ceiling, 1.0))

    def _release(
        self, need: npt.NDArray[np.float64], before: float, count: int
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Gain for the ``count`` frames in the middle, and the state of the release at their end."""
        from scipy.ndimage import maximum_filter1d

        margin = self._reach + _PHASE_TAPS
        half = self._reach // 2 + 1
        # Held so long that the smoothing window always lies within the hold of a peak.
        hold = maximum_filter1d(need, 2 * half + 1, mode="constant")
        start = margin - half
        wanted = hold[start : start + count + 2 * half]
        out = np.empty_like(wanted)
        last = before
        for at in range(0, len(wanted), _RELEASE_MEMORY):
            part = wanted[at : at + _RELEASE_MEMORY]
            fall = self._fall[: len(part)]
            falling = np.maximum(np.maximum.accumulate(part / fall), last) * fall
            out[at : at + len(part)] = falling
            last = float(falling[-1])
        state = float(out[count - 1])
        smooth = np.convolve(out, self._smooth, "same")[half : half + count]
        return np.exp(-smooth).astype(np.float32), state


def _chain_silence(blocks: Iterable[Audio], frames: int) -> Iterator[Audio]:
    """The blocks and then ``frames`` of silence, so that the last frames leave the look-ahead."""
    channels = 0
    for block in blocks:
        channels = block.shape[1]
        if len(block):
            yield block
    if channels:
        yield np.zeros((frames, channels), np.float32)
