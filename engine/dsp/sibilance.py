"""Hiss that was generated above a song's cutoff: where there is more of it than the song makes likely.

At every moment the band above the cutoff is compared with the one below, per Hz. How they stand to each other in
sounds as bright as this one is counted over the whole song; what goes far beyond is excess. Only sounds that are
bright already below the cutoff are hisses: the new band of a vowel or of a drum is left alone. Nor can a band be
louder than the one below it, however often it is: a voice's hiss has its peak between 4 and 8 kHz (Jongman, Wayland
and Wong, "Acoustic characteristics of English fricatives", JASA 2000).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.channels import windows

_WINDOW = 0.012  # seconds that are looked at together
_OVERLAP = 4
_BATCH = 512  # moments at a time
_NEAR = 500.0  # Hz below the cutoff where encoders have their slope: not compared
_BEGINS = 300.0  # Hz above it from which on the new band is all there
_WIDTH = 4000.0  # Hz of it that are compared: there is the hiss
_BODY = 300.0  # Hz at which what brightness is measured against begins
_QUIET = 1e-8  # power (-80 dBFS) in the new band that nobody hears
_STEP = 6.0  # dB of brightness within which sounds are alike
_BRIGHT = 48.0  # dB in which brightness is told: from -_BRIGHT to +_BRIGHT
_RANGE = 60.0  # dB by which the bands are told apart: from -_RANGE to +_RANGE
_ENOUGH = 25  # moments that say what is usual
_VOWEL, _HISS = -14.0, -6.0  # brightness (dB) of what is surely no hiss, and of what surely is
_FALLING = 7000.0  # Hz of a cutoff from which on a hiss does not rise any more

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """The moments of a song at ``rate`` Hz: one every ``hop`` frames, each the middle of ``size`` frames."""

    rate: int

    @property
    def hop(self) -> int:
        return max(1, round(_WINDOW * self.rate / _OVERLAP))

    @property
    def size(self) -> int:
        return _OVERLAP * self.hop


@dataclass(frozen=True)
class Levels:
    """For every moment: dB by which the new band is louder than the one below it (per Hz; -inf where it is not to be
    heard), and by which that is louder than the rest."""

    above: Values
    brightness: Values


def levels(audio: Audio, grid: Grid, cutoff: float) -> Levels:
    """Of the moments in ``(frames, channels)``, from that at frame ``size / 2`` on; all channels together."""
    top = min(cutoff + _BEGINS + _WIDTH, grid.rate / 2)
    bands = (
        (cutoff + _BEGINS, top),
        (cutoff / 2, max(cutoff - _NEAR, 0.6 * cutoff)),
        (min(_BODY, cutoff / 4), cutoff / 2),
    )
    new, below, body = _per_bin(audio, grid, bands).T
    floor = _QUIET / grid.size
    heard = new * ((top - cutoff - _BEGINS) * grid.size / grid.rate) > _QUIET
    above = np.where(heard, 10 * np.log10((new + floor) / (below + floor)), -np.inf)
    return Levels(above, 10 * np.log10((below + floor) / (body + floor)))


def _per_bin(audio: Audio, grid: Grid, bands: tuple[tuple[float, float], ...]) -> Values:
    """Mean power per bin in each of the bands (Hz), ``(moments, bands)``, as mean squares of the signal."""
    from scipy import fft

    window = np.hanning(grid.size + 1)[:-1].astype(np.float32)
    scale = 2 / (grid.size * float((window**2).sum()))
    pieces = windows(audio, grid.size, grid.hop)
    bins = [[round(hz * grid.size / grid.rate) for hz in band] for band in bands]
    found = np.empty((len(pieces), len(bands)))
    for at in range(0, len(pieces), _BATCH):
        spectrum = fft.rfft(pieces[at : at + _BATCH] * window, axis=-1)
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
        for n, (first, last) in enumerate(bins):
            found[at : at + _BATCH, n] = power[:, first : max(last, first + 1)].mean(axis=1)
    return found * scale


@dataclass
class SibilanceMeter:
    """Counts over a song how the new band usually stands to the one below it."""

    cutoff: float
    _counts: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((int(2 * _BRIGHT / _STEP), int(2 * _RANGE)), np.int64)
    )

    def process(self, found: Levels) -> None:
        """Take the next moments of the song."""
        heard = np.isfinite(found.above)
        bright = _kind(found.brightness[heard])
        above = np.clip(found.above[heard] + _RANGE, 0, 2 * _RANGE - 1).astype(int)
        np.add.at(self._counts, (bright, above), 1)

    def usual(self) -> Usual:
        """What was counted. Where there were too few sounds of a brightness, those of all stand for them."""
        most = 0.0 if self.cutoff >= _FALLING else _RANGE
        whole = _median(self._counts.sum(axis=0))
        rows = [_median(row) if row.sum() >= _ENOUGH else whole for row in self._counts]
        return Usual(np.minimum(rows, most))


@dataclass(frozen=True)
class Usual:
    """``above``: what :attr:`Levels.above` usually is, for each kind of brightness."""

    above: Values

    def excess(self, found: Levels, threshold: float) -> Values:
        """dB by which each moment goes more than ``threshold`` dB beyond what is usual, as far as it is a hiss."""
        hissing = np.clip((found.brightness - _VOWEL) / (_HISS - _VOWEL), 0, 1)
        over = found.above - self.above[_kind(found.brightness)] - threshold
        return np.asarray(np.maximum(over, 0) * hissing)


def _kind(brightness: Values) -> npt.NDArray[np.int64]:
    return np.clip((brightness + _BRIGHT) / _STEP, 0, 2 * _BRIGHT / _STEP - 1).astype(np.int64)


def _median(counts: npt.NDArray[np.int64]) -> float:
    if not counts.any():
        return 0.0
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) - _RANGE + 0.5


def gains(reduction: Values, grid: Grid, frames: int) -> Audio:
    """Gains ``(frames, 1)`` from the dB by which each moment is to be turned down; the first is at frame 0.

    They are down before the moment comes and come back after it, each in a window's time, without corners.
    """
    from scipy.ndimage import maximum_filter1d

    held = maximum_filter1d(reduction, _OVERLAP + 1, mode="nearest")
    window = np.hanning(_OVERLAP + 3)[1:-1]
    smooth = np.convolve(np.pad(held, len(window) // 2, mode="edge"), window / window.sum(), "valid")
    between = np.interp(np.arange(frames) / grid.hop, np.arange(len(smooth)), smooth)
    return (10 ** (-between / 20)).astype(np.float32)[:, None]
