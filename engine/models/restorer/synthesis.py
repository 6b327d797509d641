"""From what the network believes to samples: one window of a song in, what is to be added to it out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.fill import carrier, missing, swell
from engine.dsp.replicate import LEAD
from engine.dsp.spectrum import FFT, HANN, HOP, Power, bin_of, in_parts, istft, power, stft, white_noise
from engine.models.restorer import features, network
from engine.models.restorer.bands import band_grid

#: Frames on both sides that a sample depends on.
CONTEXT = (features.REACH + network.REACH + FFT // HOP) * HOP
_HARDLY_HEARD = (17500.0, 18500.0)  # Hz of cutoff; above, few hear anything, and many recordings end by themselves
_MOST_CAUTION = 2.5


@dataclass(frozen=True)
class Restorer:
    """Makes what is missing, for windows of one song.

    ``song`` is what :meth:`engine.models.restorer.features.SongMeter.facts` says of it, ``correlation`` that
    between its channels (0 to 1), ``cutoff``, ``top`` and ``rate`` in Hz. Bins are filled below the cutoff where
    ``holes``, above it where ``extend``; ``caution`` is the share of the network's doubt that is taken off the level.
    """

    song: features.Array
    correlation: float
    cutoff: float
    rate: int
    holes: bool
    extend: bool
    top: float
    caution: float
    seed: int

    def __call__(self, window: Audio, start: int) -> Audio:
        """What to add to ``window``, ``(frames, channels)`` from frame ``start`` of the song on (may be negative).

        Only what lies :data:`CONTEXT` frames from its ends is what the song asks for.
        """
        padded = np.pad(window, ((0, -len(window) % HOP), (0, 0)))
        spectrum = stft(padded, HANN)
        powers = power(spectrum)
        answer = network.load()(features.moments(powers, self.cutoff, self.rate), self.song)
        spread = band_grid(self.rate).spread
        first, last = self._range()
        edge = min(last, max(first, bin_of(self.cutoff - LEAD, self.rate)))
        believed = answer.level - np.float32(self._caution()) * answer.doubt
        samples = white_noise(start, len(padded), window.shape[1], self.seed, self.correlation)
        # Noise, whose place is taken by what is made of it.
        made = stft(samples * swell(spectrum, len(padded), self.cutoff, self.rate), HANN)
        for some in in_parts(len(spectrum)):
            heard, flatness = powers[some], answer.flatness[some] @ spread[:, edge:last]
            new = carrier(spectrum[some], heard, made[some], flatness, self.cutoff, self.rate, edge, last)
            new *= np.sqrt(missing(heard[:, :, :last], believed[some] @ spread[:, :last])) * _heard(heard)
            made[some] = 0
            made[some, :, first:last] = new[:, :, first:]
        return istft(made, len(window), HANN)

    def _caution(self) -> float:
        """The share of the doubt that is taken off: more of it the less could be heard of what is missing."""
        return self.caution + float(np.interp(self.cutoff, _HARDLY_HEARD, (0.0, _MOST_CAUTION)))

    def _range(self) -> tuple[int, int]:
        """First bin and end of what may be filled."""
        cutoff = bin_of(self.cutoff - LEAD, self.rate)
        first = 0 if self.holes else cutoff
        return first, max(first, bin_of(self.top, self.rate) if self.extend else cutoff)


def _heard(powers: Power) -> Power:
    """1 for moments in which there is anything, 0 for silence; ``(time, channels, 1)``."""
    return (powers.mean(axis=-1, keepdims=True) > np.float32(10 ** (features.FLOOR_DB / 10))).astype(np.float32)
