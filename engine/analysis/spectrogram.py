"""Spectrograms for the eye: as many columns and rows as there is room for, whatever the length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio

Picture = npt.NDArray[np.float32]
FLOOR_DB = -120.0
_SIZE = 4096
_WINDOWS_PER_COLUMN = 3
_AT_ONCE = 64
_LOWEST_HZ = 40.0  # of a logarithmic axis


def spectrogram(read: Callable[[int, int], Audio], start: int, stop: int, columns: int) -> Picture:
    """Power in dB of frames ``start`` to ``stop``, ``(bins, columns)``; a full-scale sine reads 0 dB.

    ``read(start, stop)`` gives float32 ``(frames, channels)``. Each column is the mean of a few Hann windows of
    4,096 frames spread over its time (the power of the channels is averaged).
    """
    window = np.hanning(_SIZE + 1)[:-1].astype(np.float32)
    scale = 2.0 / window.sum()
    count = columns * _WINDOWS_PER_COLUMN
    centres = start + (np.arange(count) + 0.5) * (stop - start) / count
    power = np.zeros((count, _SIZE // 2 + 1), np.float32)
    for first in range(0, count, _AT_ONCE):
        pieces = np.stack([_piece(read, int(c) - _SIZE // 2) for c in centres[first : first + _AT_ONCE]])
        spectra = np.abs(np.fft.rfft(pieces * window[:, None], axis=1)) * scale
        power[first : first + len(pieces)] = (spectra**2).mean(axis=2)
    mean = power.reshape(columns, _WINDOWS_PER_COLUMN, -1).mean(axis=1).T
    return (10 * np.log10(np.maximum(mean, 10 ** (FLOOR_DB / 10)))).astype(np.float32)


def _piece(read: Callable[[int, int], Audio], begin: int) -> Audio:
    """``_SIZE`` frames from ``begin``, silence where there are none."""
    piece = read(max(0, begin), max(0, begin + _SIZE))
    if len(piece) == _SIZE:
        return piece
    whole = np.zeros((_SIZE, piece.shape[1]), np.float32)
    offset = max(0, -begin)
    whole[offset : offset + len(piece)] = piece[: _SIZE - offset]
    return whole


def band_edges(rows: int, top_hz: float, *, log: bool) -> npt.NDArray[np.float64]:
    """Frequencies in Hz of the edges of ``rows`` bands, from low to high."""
    if log:
        return np.geomspace(_LOWEST_HZ, top_hz, rows + 1)
    return np.linspace(0.0, top_hz, rows + 1)


def to_rows(picture: Picture, rate: int, rows: int, top_hz: float, *, log: bool = False) -> Picture:
    """``(rows, columns)`` from bins, the lowest band first; each row is its band's strongest bin."""
    bins = band_edges(rows, top_hz, log=log) / (rate / _SIZE)
    first = np.clip(np.floor(bins[:-1]).astype(int), 0, len(picture) - 1)
    last = np.clip(np.ceil(bins[1:]).astype(int), first + 1, len(picture))
    out = np.stack([picture[a:b].max(axis=0) for a, b in zip(first, last, strict=True)])
    out[band_edges(rows, top_hz, log=log)[:-1] >= rate / 2] = FLOOR_DB
    return out
