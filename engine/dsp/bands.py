"""Short spectra and bands of about a third of an octave, for what lasts milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp.channels import windows

_WINDOW = 0.0058  # s: shorter than an MP3's short block and its neighbour, long enough to tell bands apart
_WIDTH = 2 ** (1 / 3)
_LOWEST, _HIGHEST = 100.0, 16000.0  # Hz between which there are bands; the rest belongs to the outermost
_OVERLAP = 4
_FLOOR = (2 / 65536) ** 2 / 12  # variance of 16-bit rounding noise
_BLOCK = 1 << 14  # spectra at a time

Powers = npt.NDArray[np.float64]


@cache
def _window(size: int) -> Audio:
    return np.sqrt(np.hanning(size + 1)[:-1]).astype(np.float32)


@dataclass(frozen=True)
class Bands:
    """A window of ``size`` frames (root of a Hann window, which overlaps to one) and the first bin of each band."""

    size: int
    edges: tuple[int, ...]

    @staticmethod
    @cache
    def at(rate: int) -> Bands:
        """Those for ``rate`` Hz."""
        size = max(32, 2 ** round(np.log2(_WINDOW * rate)))
        edges, frequency = [0], _LOWEST
        while frequency < min(_HIGHEST, 0.47 * rate):
            if (edge := max(edges[-1] + 1, round(frequency * size / rate))) <= size // 2:
                edges.append(edge)
            frequency = max(frequency * _WIDTH, edges[-1] * rate / size * _WIDTH)
        return Bands(size, tuple(edges))

    @property
    def hop(self) -> int:
        """Frames from one window to the next."""
        return self.size // _OVERLAP

    @property
    def count(self) -> int:
        """How many bands there are."""
        return len(self.edges)

    def centres(self, rate: int) -> Powers:
        """``(bands,)``: Hz in the middle of each band."""
        edges = np.array([*self.edges, self.size // 2 + 1])
        return (edges[:-1] + edges[1:] - 1) / 2 * rate / self.size + rate / self.size / 4

    def window(self) -> Audio:
        """``(size,)``; its squares, a hop apart, add up to ``_OVERLAP / 2``."""
        return _window(self.size)

    def in_hops(self, frames: int) -> int:
        """So many frames, or as few more as make them whole hops."""
        return -(-frames // self.hop) * self.hop

    def share(self, envelope: Audio) -> Audio:
        """``(time,)``: how much of each window's power is left by an envelope ``(frames,)`` of amplitudes, 0 to 1."""
        shape = self.window() ** 2
        views = np.lib.stride_tricks.sliding_window_view(envelope**2, self.size)[:: self.hop]
        return np.asarray(views @ shape / shape.sum())

    def floor(self) -> Powers:
        """``(bands,)``: power of 16-bit rounding noise in each band."""
        return _FLOOR * float((self.window() ** 2).sum()) * np.diff([*self.edges, self.size // 2 + 1])

    def spectra(self, audio: Audio) -> npt.NDArray[np.complex64]:
        """``(time, channels, bins)`` of ``(frames, channels)``: time ``t`` begins at frame ``t * hop``; no padding."""
        from scipy import fft

        cuts = windows(audio, self.size, self.hop)
        return np.asarray(fft.rfft(cuts * self.window(), axis=-1), np.complex64)

    def signal(self, spectra: npt.NDArray[np.complex64]) -> Audio:
        """The frames from spectra, ``((time - 1) * hop + size, channels)``, whole where all windows overlap."""
        from scipy import fft

        pieces = fft.irfft(spectra, self.size, axis=-1).astype(np.float32) * (self.window() / (_OVERLAP / 2))
        times, channels, _ = pieces.shape
        out = np.zeros((times + _OVERLAP - 1, self.hop, channels), np.float32)
        for part in range(_OVERLAP):
            out[part : part + times] += pieces[:, :, part * self.hop : (part + 1) * self.hop].transpose(0, 2, 1)
        return out.reshape(-1, channels)

    def together(self, spectra: npt.NDArray[np.complex64]) -> Powers:
        """``(time, bands)``: power of each band, over all channels."""
        power = (spectra.real**2 + spectra.imag**2).sum(axis=1)
        return np.add.reduceat(power.astype(np.float64), self.edges, axis=-1)

    def spread(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``(time, bins)`` of ``(time, bands)``: each band's value for its bins."""
        return np.repeat(values, np.diff([*self.edges, self.size // 2 + 1]), axis=-1)

    def powers(self, audio: Audio) -> Powers:
        """``(time, bands)`` of ``(frames, channels)``: time ``t`` is centred on frame ``t * hop``."""
        times = -(-len(audio) // self.hop)
        padded = np.pad(audio, ((self.size // 2, self.size), (0, 0)))
        out = np.empty((times, self.count))
        for first in range(0, times, _BLOCK):
            last = min(times, first + _BLOCK)
            piece = padded[first * self.hop : (last - 1) * self.hop + self.size]
            out[first:last] = self.together(self.spectra(piece))
        return out


def ramp(values: Powers, ends: tuple[float, float]) -> Powers:
    """From 0 at the first end to 1 at the second."""
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
