"""Pictures of spectra over time, small enough for ten thousand songs: PNG files with a palette, written here."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from engine.analysis.spectrogram import band_edges
from engine.dsp.spectrum import BINS, FFT, HANN, Power

WIDTH, HEIGHT = 480, 120  # pixels; up is 0 Hz to half of the rate
TOP_DB, BOTTOM_DB = -20.0, -110.0  # a full-scale sine reads 0 dB
DIFFERENCE_DB = 24.0  # at which a difference has its full colour

#: ``(HEIGHT, WIDTH)``: dB per pixel, the highest frequency first.
Picture = npt.NDArray[np.float32]

_SHADES = 32
_DARK_TO_BRIGHT = ((0, 0, 4), (50, 10, 94), (120, 28, 109), (187, 55, 84), (237, 105, 37), (251, 180, 26),
                   (252, 255, 164))  # fmt: skip
_MORE, _LESS = (240, 130, 20), (40, 130, 230)  # as the listen screen has them


class Columns:
    """Mean power of the spectra that fall into each column of a picture of ``count`` spectra."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._power = np.zeros((WIDTH, BINS), np.float32)
        self._in_column = np.zeros(WIDTH, np.int64)

    def add(self, first: int, powers: Power) -> None:
        """Take ``(time, bins)``, the first of which is spectrum number ``first``."""
        columns = np.minimum(WIDTH - 1, (first + np.arange(len(powers))) * WIDTH // self._count)
        np.add.at(self._power, columns, powers)
        np.add.at(self._in_column, columns, 1)

    def picture(self, rate: int) -> Picture:
        """In dB; columns without a spectrum, of songs shorter than that, show the one before."""
        filled = np.flatnonzero(self._in_column)
        if not len(filled):
            return np.full((HEIGHT, WIDTH), BOTTOM_DB, np.float32)
        shown = filled[np.maximum(0, np.searchsorted(filled, np.arange(WIDTH), "right") - 1)]
        mean = self._power[shown] / self._in_column[shown, None] * (2 / HANN.sum()) ** 2
        edges = np.round(band_edges(HEIGHT, rate / 2, log=False) * FFT / rate).astype(int)
        rows = np.maximum.reduceat(mean, np.minimum(edges[:-1], BINS - 1), axis=1)
        return np.asarray(10 * np.log10(rows.T[::-1] + 1e-14), np.float32)


def spectrogram_png(picture: Picture) -> bytes:
    """The picture from dark (quiet) to bright (loud)."""
    share = (picture - BOTTOM_DB) / (TOP_DB - BOTTOM_DB)
    places = np.linspace(0, len(_DARK_TO_BRIGHT) - 1, _SHADES)
    table = np.array(_DARK_TO_BRIGHT, np.float64)
    palette = np.stack([np.interp(places, np.arange(len(table)), table[:, c]) for c in range(3)], axis=1)
    return _png(_shades(share), np.round(palette).astype(np.uint8))


def difference_png(made: Picture, plain: Picture, gain: float = 0.0) -> bytes:
    """Where a variant, which is ``gain`` dB louder as a whole, has more (orange) or less (blue) than the plain decode
    else; clear where it is the same."""
    more = np.maximum(made - gain, BOTTOM_DB) - np.maximum(plain, BOTTOM_DB)
    middle = (_SHADES - 1) / 2
    far = (np.arange(_SHADES) - middle) / middle
    palette = np.where(far[:, None] > 0, _MORE, _LESS).astype(np.uint8)
    return _png(_shades(0.5 + more / DIFFERENCE_DB / 2), palette, np.round(255 * np.abs(far)).astype(np.uint8))


def _shades(share: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return np.clip(np.round(share * (_SHADES - 1)), 0, _SHADES - 1).astype(np.uint8)


def _png(
    pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """A PNG file (ISO/IEC 15948) of ``(height, width)`` numbers of colours."""
    height, width = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # before each row: no filter
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), (b"PLTE", palette.tobytes())]
    chunks += [(b"tRNS", alpha.tobytes())] if alpha is not None else []
    chunks += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
