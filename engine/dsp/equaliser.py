"""Equalisers as curves in dB over frequency, and linear-phase FIR filters that have them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

Curve = npt.NDArray[np.float64]  # one figure per frequency

PIVOT = 1000.0  # Hz around which a spectrum is tilted
_LENGTH = 0.37  # seconds of a filter, about: fine enough for a shelf in the bass
_HEARD = (20.0, 20000.0)  # Hz between which a tilt goes on
_SLOPE = 2.0  # octaves that a bell is wide, where it has fallen to 1/e on both sides
_THIRD = 2.0 ** (1 / 3)
_MATCHED_FROM = 50.0  # Hz; below it a song's bass is a matter of its instruments
_SILENT = -140.0  # dB of a band; a full-scale sine is above 0
_MUSIC_RANGE = 80.0  # dB below the loudest band down to which there is something to compare


def grid(rate: int) -> Curve:
    """The frequencies in Hz, from 0 to half the rate, at which a curve is to be given to :func:`fir`."""
    size = 1 << max(8, round(np.log2(_LENGTH * rate)))
    return np.asarray(np.fft.rfftfreq(size, 1 / rate), np.float64)


def fir(gains: Curve) -> Audio:
    """The odd-length linear-phase FIR whose gains (amplitudes, on the :func:`grid`) are these."""
    size = 2 * (len(gains) - 1)
    response = np.roll(np.fft.irfft(gains, size), size // 2)[1:]
    return np.asarray(response * np.hanning(size + 1)[1:-1], np.float32)


def amplitude(decibels: Curve) -> Curve:
    """dB as amplitudes."""
    return np.asarray(10 ** (decibels / 20), np.float64)


def tilted(frequencies: Curve, per_octave: float) -> Curve:
    """So many dB more for every octave up, nothing at 1 kHz; beyond what is heard it does not go on."""
    return per_octave * np.log2(np.clip(frequencies, *_HEARD) / PIVOT)


def low_shelf(frequencies: Curve, decibels: float, corner: float) -> Curve:
    """``decibels`` in the bass, half of them at ``corner`` Hz, nothing above."""
    return decibels / (1 + (frequencies / corner) ** 2)


def bell(frequencies: Curve, decibels: float, centre: float) -> Curve:
    """``decibels`` at ``centre`` Hz, less and less within an octave on both sides."""
    octaves = np.log2(np.maximum(frequencies, 1.0) / centre)
    return np.asarray(decibels * np.exp(-((2 * octaves / _SLOPE) ** 2)), np.float64)


def third_octaves(frequencies: Curve, centres: Curve) -> Curve:
    """How much each bin of a spectrum (evenly spaced from 0 Hz) counts for the thirds of octaves around ``centres``.

    ``(bands, bins)``, 0 to 1: a bin in which an edge lies is shared, so that coarse spectra give smooth levels too.
    """
    half, step = np.sqrt(_THIRD), frequencies[1]
    low, high = (np.outer(edges, np.ones(len(frequencies))) for edges in (centres / half, centres * half))
    share = np.minimum(high, frequencies + step / 2) - np.maximum(low, frequencies - step / 2)
    return np.asarray(np.clip(share / step, 0, 1), np.float64)


def matching(
    song: tuple[Curve, Curve], reference: tuple[Curve, Curve], top: float, limit: float
) -> tuple[Curve, Curve]:
    """(frequencies in Hz, dB): what brings a song's long-term spectrum to that of a reference.

    Compared per third octave from 50 Hz to ``top`` Hz, where both hold something; the mean is taken off, as loudness
    is another matter, and what is left limited to ``limit`` dB up and down.

    Args:
        song, reference: (frequencies from 0 Hz, mean power in dB), each on a grid of its own.
    """
    count = int(np.floor(3 * np.log2(max(top, _MATCHED_FROM) / _MATCHED_FROM))) + 1
    centres = np.asarray(_MATCHED_FROM * _THIRD ** np.arange(count), np.float64)
    levels = [
        10 * np.log10(third_octaves(frequencies, centres) @ 10 ** (level / 10) + 1e-20)
        for frequencies, level in (song, reference)
    ]
    known = np.logical_and(*(level > max(_SILENT, level.max() - _MUSIC_RANGE) for level in levels))
    if not known.any():
        return centres, np.zeros(count)
    difference = levels[1] - levels[0]
    difference = np.interp(np.log(centres), np.log(centres[known]), difference[known])
    return centres, np.asarray(np.clip(difference - difference.mean(), -limit, limit), np.float64)


def between(frequencies: Curve, known: tuple[Curve, Curve]) -> Curve:
    """A curve that is known at some frequencies, at others; in between by octaves, beyond as at the ends."""
    at, values = known
    return np.asarray(np.interp(np.log(np.maximum(frequencies, 1.0)), np.log(at), values), np.float64)
