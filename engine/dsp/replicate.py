"""The band above the cutoff, rebuilt from the band below it.

Spectral band replication as in HE-AAC (Dietz, Liljeryd, Kjörling, Kunz 2002), but without the envelope that an
encoder would have sent: it is continued from the song's own long-term slope, and follows the loudness of the
band below the cutoff from moment to moment. Where the song gives no reason to believe that there was anything
above its cutoff, little or nothing is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.dsp.spectrum import BINS, FLOOR, Power, Spectrum, bin_of, noise_power

LEAD = 350.0  # Hz below the cutoff at which the new band fades in …
_TAIL = 150.0  # … and above it, at which it is all there
_SOURCE_MARGIN = 450.0  # Hz below the cutoff at which the source band ends: the encoder's slope is left out
_SOURCE_SHARE = 0.4  # of the band below the cutoff that is copied upwards
_SHIFT_GRID = 4  # FFT/HOP: shifts by multiples of it keep the phase from one spectrum to the next
_SMOOTH = 21  # bins over which the copied band is whitened
_NOISE_AT_CUTOFF = 0.3  # share of noise in the new band's power; all of it at the Nyquist frequency
_FOLLOW = 0.8  # how far the new band follows the loudness of the moment (1: fully)
_KNEE, _EXPANSION = 30.0, 3.0  # below 30 dB above the 16-bit floor the level falls three times as fast
_LEAST_SLOPE = -2.0  # dB per kHz; a flatter band below the cutoff does not go on like that
_ROLL_OFF_FROM = 16300.0  # Hz; few recordings carry more than their slope promises above
# Steeper the less the loudest moments reach the cutoff: (dB by which they fall short, dB per kHz).
_SHORTFALL = (3.0, 5.0, 8.0, 10.0)
_ROLL_OFF = (2.0, 8.0, 20.0, 200.0)
_LOUDEST = 90.0  # percentile


@dataclass(frozen=True)
class BandProfile:
    """What the song as a whole says about the band above its cutoff.

    ``slope`` in dB per kHz, ``anchor`` the mean power per bin of the band that the new one is hung from,
    ``reach`` how much weaker the loudest moments are just below the cutoff than further down (dB, negative),
    ``correlation`` between the channels near the cutoff (0 to 1).
    """

    cutoff: float
    slope: float
    anchor: float
    reach: float
    correlation: float


class ImageMeter:
    """Measures how much the channels have in common below the cutoff."""

    def __init__(self, cutoff: float, rate: int) -> None:
        self._bins = slice(bin_of(0.3 * cutoff, rate), bin_of(0.95 * cutoff, rate))
        self._cross = np.zeros(2)

    def process(self, spectrum: Spectrum) -> None:
        """Take the next spectra of the song, ``(time, channels, bins)``."""
        if spectrum.shape[1] > 1:
            left, right = spectrum[:, 0, self._bins], spectrum[:, 1, self._bins]
            self._cross[0] += float((left * right.conj()).real.sum(dtype=np.float64))
            self._cross[1] += float(np.sqrt(float(power_sum(left)) * float(power_sum(right))))

    def correlation(self) -> float:
        """0 (nothing in common, or opposed) to 1 (the same)."""
        return float(np.clip(self._cross[0] / self._cross[1], 0, 1)) if self._cross[1] > 0 else 1.0


class ProfileMeter:
    """Collects a :class:`BandProfile` over a song."""

    def __init__(self, cutoff: float, rate: int) -> None:
        self._cutoff, self._rate = cutoff, rate
        self._power = np.zeros(BINS)
        self._image = ImageMeter(cutoff, rate)
        self._count = 0
        self._edge: list[npt.NDArray[np.float32]] = []
        self._body: list[npt.NDArray[np.float32]] = []

    def process(self, spectrum: Spectrum, powers: Power) -> None:
        """Take the next spectra of the song, ``(time, channels, bins)``."""
        self._power += powers.sum(axis=(0, 1), dtype=np.float64)
        self._count += powers.shape[0] * powers.shape[1]
        self._edge.append(self._level(powers, 900, 600))
        self._body.append(self._level(powers, 2000, 1100))
        self._image.process(spectrum)

    def _level(self, powers: Power, far: float, near: float) -> npt.NDArray[np.float32]:
        low, high = bin_of(self._cutoff - far, self._rate), bin_of(self._cutoff - near, self._rate)
        return np.asarray(10 * np.log10(powers[:, :, low : high + 1].mean(axis=2) + 1e-12), np.float32).ravel()

    def profile(self) -> BandProfile:
        """The profile of all spectra taken; one that promises next to nothing where there were none."""
        if not self._edge:
            return BandProfile(self._cutoff, _LEAST_SLOPE, 0.0, 0.0, 1.0)
        level = 10 * np.log10(self._power / max(1, self._count) + 1e-12)
        bins = np.arange(bin_of(0.45 * self._cutoff, self._rate), bin_of(0.93 * self._cutoff, self._rate))
        kilohertz = bins * (self._rate / 2000 / (BINS - 1))
        slope = float(np.polyfit(kilohertz, level[bins], 1)[0]) if len(bins) > 2 else _LEAST_SLOPE
        low, high = anchor_bins(self._cutoff, self._rate)
        edge, body = np.concatenate(self._edge), np.concatenate(self._body)
        loud = body >= np.percentile(body, _LOUDEST)
        return BandProfile(
            cutoff=self._cutoff,
            slope=min(slope, _LEAST_SLOPE),
            anchor=float(self._power[low:high].mean() / max(1, self._count)),
            reach=float(np.median((edge - body)[loud])),
            correlation=self._image.correlation(),
        )


def power_sum(values: Spectrum) -> float:
    """Sum of squared magnitudes."""
    return float((values.real**2 + values.imag**2).sum(dtype=np.float64))


def anchor_bins(cutoff: float, rate: int) -> tuple[int, int]:
    """The band below the cutoff whose loudness the new band follows: one bin at least, where the cutoff is very low."""
    low = bin_of(0.80 * cutoff, rate)
    return low, max(low + 1, bin_of(0.95 * cutoff, rate))


def replicate(
    spectrum: Spectrum,
    powers: Power,
    noise: Spectrum,
    profile: BandProfile,
    rate: int,
    top: float,
    level: float,
) -> tuple[int, Spectrum]:
    """(first bin, spectra to add from there on) of the band above the cutoff.

    Args:
        noise: spectra of white noise of variance one, for the same moments.
        top: Hz at which the new band ends.
        level: dB on top of what the song's slope promises.
    """
    first, last = bin_of(profile.cutoff - LEAD, rate), bin_of(top, rate)
    if last <= first:
        return first, np.zeros((*spectrum.shape[:2], 0), np.complex64)
    envelope = _envelope(powers, profile, rate, first, last, level)
    copied = copy_up(spectrum, powers, profile.cutoff, rate, first, last)
    share = _NOISE_AT_CUTOFF + (1 - _NOISE_AT_CUTOFF) * (np.arange(first, last) - first) / (BINS - first)
    # The noise is laid 3 dB deeper than the copy, which is less dense.
    mixed = copied * np.sqrt(1 - share) + noise[:, :, first:last] * np.sqrt(share / (2 * noise_power()))
    full = bin_of(profile.cutoff + _TAIL, rate)
    fade = np.sin(np.pi / 2 * np.clip((np.arange(first, last) - first) / max(1, full - first), 0, 1))
    return first, np.asarray(mixed * (envelope * fade), np.complex64)


def _envelope(
    powers: Power, profile: BandProfile, rate: int, first: int, last: int, level: float
) -> npt.NDArray[np.float64]:
    """Amplitude per spectrum, channel and new bin."""
    low, high = anchor_bins(profile.cutoff, rate)
    frequency = np.arange(first, last) * (rate / 2 / (BINS - 1))
    middle = (low + high - 1) / 2 * (rate / 2 / (BINS - 1))
    song = 10 * np.log10(profile.anchor + 1e-12)
    moment = 10 * np.log10(powers[:, :, low:high].mean(axis=2, dtype=np.float64) + 1e-12)
    loudness = song + _FOLLOW * (moment - song)
    steep = np.interp(-profile.reach, _SHORTFALL, _ROLL_OFF)
    from_here = max(profile.cutoff, _ROLL_OFF_FROM)
    shape = profile.slope * (frequency - middle) / 1000 - steep * np.maximum(0, frequency - from_here) / 1000
    floor = 10 * np.log10(FLOOR)
    above = loudness[:, :, None] + shape + level - floor
    above = np.where(above < _KNEE, _KNEE - _EXPANSION * (_KNEE - above), above)
    return np.where(above > -10, 10 ** ((above + floor) / 20), 0.0)


def copy_up(spectrum: Spectrum, powers: Power, cutoff: float, rate: int, first: int, last: int) -> Spectrum:
    """The whitened band below the cutoff, repeated upwards over ``[first, last)``; silence where there is none."""
    from scipy.ndimage import uniform_filter1d

    spread = np.sqrt(np.maximum(uniform_filter1d(powers, _SMOOTH, axis=2), 0) + 1e-14)
    end = bin_of(cutoff - _SOURCE_MARGIN, rate)
    width = max(_SHIFT_GRID, int(_SOURCE_SHARE * end) // _SHIFT_GRID * _SHIFT_GRID)
    out = np.zeros((*spectrum.shape[:2], last - first), np.complex64)
    at = first if end >= 2 * _SHIFT_GRID else last
    while at < last:
        shift = -(-(at - end + width) // _SHIFT_GRID) * _SHIFT_GRID
        stop = min(last, end + shift)
        source = slice(at - shift, stop - shift)
        out[:, :, at - first : stop - first] = spectrum[:, :, source] / spread[:, :, source]
        at = stop
    return out
