"""Linear-phase FIR filters and their application to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from engine.audio.readers import Audio

_STOPBAND = 96.0
_TILT_TAPS = 4095
_TILT_PIVOT = 1000.0
_TILT_LOWEST = 20.0


def lowpass(cutoff: float, transition: float, rate: int) -> Audio:
    """Odd-length FIR (Kaiser window) whose stopband (-96 dB) begins at ``cutoff`` Hz.

    The passband ends ``transition`` Hz below.
    """
    from scipy.signal import firwin, kaiserord

    count, beta = kaiserord(_STOPBAND, transition / (rate / 2))
    return np.asarray(firwin(count | 1, cutoff - transition / 2, window=("kaiser", beta), fs=rate), np.float32)


def bandpass(low: float, high: float, transition: float, rate: int) -> Audio:
    """Odd-length FIR (Kaiser window, -96 dB) that passes ``low`` to ``high`` Hz; slopes lie around both."""
    from scipy.signal import firwin, kaiserord

    count, beta = kaiserord(_STOPBAND, transition / (rate / 2))
    return np.asarray(firwin(count | 1, (low, high), window=("kaiser", beta), pass_zero=False, fs=rate), np.float32)


def tilt(decibels_per_octave: float, rate: int) -> Audio:
    """FIR that tilts the spectrum around 1 kHz."""
    from scipy.signal import firwin2

    frequencies = np.concatenate([[0.0], np.geomspace(_TILT_LOWEST, rate / 2, 200)])
    octaves = np.log2(np.maximum(frequencies, _TILT_LOWEST) / _TILT_PIVOT)
    return np.asarray(firwin2(_TILT_TAPS, frequencies, 10 ** (decibels_per_octave * octaves / 20), fs=rate), np.float32)


def apply_fir(blocks: Iterable[Audio], taps: Audio) -> Iterator[Audio]:
    """The stream through an odd-length linear-phase FIR, its delay taken out; the length stays."""
    from scipy.signal import oaconvolve

    half = len(taps) // 2
    held: Audio | None = None
    for block in blocks:
        if held is None:
            held = np.zeros((half, block.shape[1]), np.float32)
        held = np.concatenate([held, block])
        if len(held) > 4 * half:
            yield np.asarray(oaconvolve(held, taps[:, None], mode="valid", axes=0), np.float32)
            held = held[len(held) - 2 * half :]
    if held is not None:
        held = np.concatenate([held, np.zeros((half, held.shape[1]), np.float32)])
        if len(held) > 2 * half:
            yield np.asarray(oaconvolve(held, taps[:, None], mode="valid", axes=0), np.float32)


def filtered(audio: Audio, taps: Audio) -> Audio:
    """``(frames, channels)`` through an odd-length linear-phase FIR, in step; silence is assumed around it."""
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(audio, taps[:, None], mode="same", axes=0), np.float32)
