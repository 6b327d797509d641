"""What several signals have above a cutoff, brought together to what they may have: gains by moment and band.

Spectra are those of :mod:`engine.dsp.spectrum` (Hann window): moments are fixed to the song, so that gains do not
depend on where a stretch of it begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.spectrum import BINS, FFT, HANN, Power, Spectrum, bin_of, istft, power, stft

#: Moments on both sides that a gain depends on, and those that a sample depends on.
REACH, MARGIN = 12, 4
_FADE = 350.0  # Hz below the cutoff over which the gains set in: where new bands do
_BAND = 1000.0  # Hz
_NEAR = (3500.0, 500.0)  # Hz below the cutoff between which a signal tells whether it reaches up to it
_AVERAGED, _SMOOTHED, _HEARD = 5, 3, 17  # moments: for levels, for gains, for what reaches the cutoff
_SOFT = 6.0  # dB on both sides of a limit
_NOTHING = np.float32(1e-9)


@dataclass(frozen=True)
class Gains:
    """What the signals' bands get, and what those of a further signal get that fills up: ``(time, bands)``, 0 to 1."""

    own: Power
    filling: Power


@dataclass(frozen=True)
class Top:
    """The band above ``cutoff`` Hz of signals at ``rate`` Hz, in bands of about 1 kHz."""

    cutoff: float
    rate: int

    @property
    def first(self) -> int:
        """The first bin that gains are for."""
        return bin_of(self.cutoff - _FADE, self.rate)

    @property
    def edges(self) -> list[int]:
        """The first bin of each band, and the end of the last."""
        start = min(bin_of(self.cutoff, self.rate), BINS - 1)
        width = bin_of(_BAND, self.rate)
        count = max(1, (BINS - start) // width)
        return [start + n * width for n in range(count)] + [BINS]

    def levels(self, spectrum: Spectrum) -> Power:
        """``(time, bands)``: power of each band, of all channels together, averaged over neighbouring moments."""
        from scipy.ndimage import uniform_filter1d

        total = power(spectrum).sum(axis=1)
        bands = np.add.reduceat(total, self.edges[:-1], axis=1)
        return np.asarray(np.maximum(uniform_filter1d(bands, _AVERAGED, axis=0), 0), np.float32)

    def near(self, spectrum: Spectrum) -> Power:
        """``(time,)``: power just below the cutoff, averaged over neighbouring moments."""
        from scipy.ndimage import uniform_filter1d

        low, high = (bin_of(self.cutoff - hz, self.rate) for hz in _NEAR)
        found = power(spectrum[:, :, low : max(low + 1, high)]).sum(axis=(1, 2))
        return np.asarray(np.maximum(uniform_filter1d(found, _HEARD), 0), np.float32)

    def gains(self, signals: Spectrum, whole: Spectrum, top: Spectrum, most: float) -> Gains:
        """What brings ``signals`` (the sum of all) above the cutoff to what ``whole`` and its new ``top`` have there.

        What is more is turned down; what is less is filled up with ``top``. ``most`` is a power: how much louder the
        sum may be than whole and top.
        """
        allowed = self.levels(whole + top) * np.float32(most)
        found, new = self.levels(signals), self.levels(top)
        own = _smooth(_within(allowed, found))
        filling = _smooth(_within(np.maximum(allowed - found * own**2, 0), new))
        # What fills up is not quite unlike what is there already: the sum of both has the last word.
        both = signals[:, :, self.first :] * self.spread(own)[:, None]
        both += top[:, :, self.first :] * self.spread(filling)[:, None]
        again = np.zeros_like(signals)
        again[:, :, self.first :] = both
        last = _smooth(_within(allowed, self.levels(again)))
        return Gains(own * last, filling * last)

    def spread(self, gains: Power) -> Power:
        """``(time, bins)`` from :attr:`first` on, of ``(time, bands)``: interpolated between the bands' middles."""
        edges = np.array(self.edges)
        if len(edges) == 2:
            return np.repeat(gains, BINS - self.first, axis=1)
        bins, middles = np.arange(self.first, BINS), (edges[:-1] + edges[1:] - 1) / 2
        after = np.clip(np.searchsorted(middles, bins), 1, len(middles) - 1)
        share = np.clip((bins - middles[after - 1]) / (middles[after] - middles[after - 1]), 0, 1)
        return np.asarray(gains[:, after - 1] * (1 - share) + gains[:, after] * share, np.float32)

    def filling(self, top: Spectrum, gains: Power, frames: int) -> Audio:
        """The signal ``(frames, channels)`` that fills up, of the spectra that gains were found for."""
        made = np.zeros_like(top)
        made[:, :, self.first :] = top[:, :, self.first :] * self.spread(gains)[:, None]
        return istft(made, frames, HANN)

    def apply(self, window: Audio, gains: Power) -> Audio:
        """The inner frames of ``window``, FFT more on both sides, with gains ``(time, bands)`` above the cutoff.

        Moments are those of the window's spectra. The gains set in over some hundred Hz below the cutoff; below, the
        samples pass as they are, and where all gains are 1, bit by bit.
        """
        own = slice(FFT, len(window) - FFT)
        if (gains == 1).all():
            return window[own]
        spectrum = stft(window, HANN)
        fade = np.clip(np.arange(BINS - self.first) / max(1, self.edges[0] - self.first), 0, 1)
        spectrum[:, :, self.first :] *= ((self.spread(gains) - 1) * fade.astype(np.float32))[:, None]
        spectrum[:, :, : self.first] = 0
        return window[own] + istft(spectrum, len(window), HANN)[own]


def reaches(near: Power, whole: Power, limit: float) -> Power:
    """``(time,)``: 1 where a signal (:meth:`Top.near`) is more than ``limit`` dB of the whole, else 0; soft between.

    Where neither has anything it is 1.
    """
    against = 10 * np.log10((near + _NOTHING) / (whole + _NOTHING))
    return np.asarray(np.clip((against - limit) / (2 * _SOFT) + 0.5, 0, 1), np.float32)


def shares(heard: Power) -> Power:
    """``(signals, time)`` powers as shares that add up to one, to none where nothing is heard."""
    return np.asarray(heard / np.maximum(heard.sum(axis=0), _NOTHING), np.float32)


def _within(allowed: Power, found: Power) -> Power:
    """Gains of 1 at most that bring the powers ``found`` within those ``allowed``."""
    return np.minimum(1, np.sqrt((allowed + _NOTHING) / (found + _NOTHING)))


def _smooth(gains: Power) -> Power:
    from scipy.ndimage import uniform_filter1d

    return np.asarray(np.clip(uniform_filter1d(gains, _SMOOTHED, axis=0), 0, 1), np.float32)
