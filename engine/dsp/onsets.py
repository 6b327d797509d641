"""Where sounds begin, to the sample.

A log spectral flux over a few bands (Bello et al. 2005, "A tutorial on onset detection in music signals"; Dixon 2006,
"Onset detection revisited") tells that something began; the place is then where the energy after it stands highest
above the energy before it. All channels are heard as one, so that the image cannot wander.

What an encoder did is measured at attacks out of near silence alone: :mod:`engine.analysis.pre_echo`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.bands import Bands
from engine.dsp.channels import summed

_LEAST = 3.0  # dB that the bands must rise on average
_ABOVE = 2.0  # dB by which the rise must stand above what is usual around
_USUAL = 0.25  # s on both sides in which that is found
_APART = 0.025  # s between two onsets at least
_SEARCH = 0.008  # s around the flux's peak in which the onset itself lies
_AFTER, _BEFORE = 0.002, 0.003  # s whose energies are compared there
_SUDDEN = 4.0  # dB between those two, at least
_SHORT, _COME = 0.00025, 0.06  # s, and the share of the attack's power at which it has come
_EMPHASIS = 0.9  # of the first difference: attacks are in the treble
_FLOOR = (2 / 65536) ** 2 / 12  # variance of 16-bit rounding noise

#: Seconds on both sides beyond which nothing changes whether a frame is an onset.
CONTEXT = 0.4

Frames = npt.NDArray[np.int64]
Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Onsets:
    """Frames at which sounds begin, rising, and how much louder (dB, treble emphasised) it is after each."""

    frames: Frames
    rises: Series

    def __len__(self) -> int:
        return len(self.frames)


def find_onsets(audio: Audio, rate: int) -> Onsets:
    """The onsets of ``(frames, channels)`` at ``rate`` Hz; silence is assumed around it."""
    bands = Bands.at(rate)
    levels = 10 * np.log10(bands.powers(audio) + bands.floor())
    flux = _flux(levels)
    peaks = _peaks(flux, rate / bands.hop)
    return _refined(audio, peaks * bands.hop, rate)


def _flux(levels: Series) -> Series:
    """Mean rise in dB of ``(time, bands)`` across each time, from the louder of what lies before it."""
    if not len(levels):
        return np.zeros(0)
    ahead = np.concatenate([levels[2:], np.repeat(levels[-1:], 2, axis=0)])
    padded = np.concatenate([np.repeat(levels[:1], 4, axis=0), levels])
    before = np.maximum(padded[2:-2], padded[:-4])
    return np.asarray(np.maximum(ahead - before, 0).mean(axis=1))


def _peaks(flux: Series, pace: float) -> Frames:
    """Times at which the flux, of ``pace`` values a second, is highest around and above what is usual."""
    from scipy.ndimage import maximum_filter1d, median_filter

    if not len(flux):
        return np.zeros(0, np.int64)
    highest = maximum_filter1d(flux, 2 * round(_APART * pace / 2) + 1, mode="constant")
    usual = median_filter(flux, 2 * round(_USUAL * pace) + 1, mode="nearest")
    return np.flatnonzero((flux == highest) & (flux >= _LEAST) & (flux >= usual + _ABOVE)).astype(np.int64)


def _refined(audio: Audio, near: Frames, rate: int) -> Onsets:
    """The onsets to the sample, of places that they are near."""
    around = _Around(rate, _FLOOR * audio.shape[1])
    padded = np.pad(audio, ((around.margin, around.margin), (0, 0)))
    energy = np.zeros(len(padded))
    energy[1:] = summed((padded[1:] - np.float32(_EMPHASIS) * padded[:-1]).astype(np.float64) ** 2)
    apart = max(1, round(_APART * rate)) // 2
    found: list[tuple[int, float]] = []
    for place in near.tolist():
        away, rise = around.onset(energy[place : place + 2 * around.margin])
        frame = place + away
        if not 0 <= frame < len(audio) or rise < _SUDDEN:
            continue
        if not found or frame - found[-1][0] >= apart:
            found.append((frame, rise))
        elif rise > found[-1][1]:
            found[-1] = (frame, rise)
    return Onsets(np.array([f for f, _ in found], np.int64), np.array([r for _, r in found], np.float64))


class _Around:
    """How an onset is looked for in the energies of ``margin`` frames on both sides of a place."""

    def __init__(self, rate: int, floor: float) -> None:
        spans = (_AFTER, _BEFORE, _SEARCH, _SHORT)
        self._after, self._before, self._search, self._short = (max(1, round(s * rate)) for s in spans)
        self._floor = floor
        self.margin = self._search + self._before + self._after + self._short + 1

    def onset(self, energy: Series) -> tuple[int, float]:
        """How many frames from the place it is, and the rise there in dB."""
        # Summed here and not over the song, so that the result does not depend on what came long before.
        total = np.concatenate([[0.0], np.cumsum(energy)])
        at = np.arange(self.margin - self._search, self.margin + self._search + 1)
        risen = (total[at + self._after] - total[at]) / self._after + self._floor
        risen /= (total[at] - total[at - self._before]) / self._before + self._floor
        best = int(np.argmax(risen))
        # What is spread ahead of an attack draws that place ahead: on to where the attack itself has come.
        lasting = total[at[best] : at[best] + self._after + self._before + self._short + 1]
        moments = lasting[self._short :] - lasting[: -self._short]
        come = int(np.argmax(moments >= _COME * moments.max()))
        return best + come - self._search, 10 * float(np.log10(risen.max()))
