"""The log mel spectrogram that AudioSR works on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

RATE = 48000
HOP = 480
MELS = 256
_FFT = 2048
_LOWEST, _HIGHEST = 20.0, 24000.0
_FLOOR = 1e-5
# Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, then logarithmic.
_LINEAR_STEP, _BREAK, _LOG_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27


def _to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = np.maximum(hz, _BREAK)
    return np.where(hz < _BREAK, hz / _LINEAR_STEP, _BREAK / _LINEAR_STEP + np.log(above / _BREAK) / _LOG_STEP)


def _to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    start = _BREAK / _LINEAR_STEP
    return np.where(mel < start, mel * _LINEAR_STEP, _BREAK * np.exp(_LOG_STEP * (np.maximum(mel, start) - start)))


@lru_cache(maxsize=1)
def edges() -> npt.NDArray[np.float64]:
    """``(258,)`` Hz: band ``b`` rises from ``edges()[b]`` to ``[b + 1]`` and falls to ``[b + 2]``."""
    low, high = _to_mel(np.array([_LOWEST, _HIGHEST]))
    found = _to_hz(np.linspace(low, high, MELS + 2))
    found[[0, -1]] = _LOWEST, _HIGHEST  # whatever the rounding
    return found


@lru_cache(maxsize=1)
def filters() -> npt.NDArray[np.float32]:
    """``(256, 1025)``: triangles of equal area over the bins of the spectrum."""
    at, bins = edges(), np.linspace(0, RATE / 2, _FFT // 2 + 1)
    rising = (bins - at[:-2, None]) / (at[1:-1] - at[:-2])[:, None]
    falling = (at[2:, None] - bins) / (at[2:] - at[1:-1])[:, None]
    area = 2 / (at[2:] - at[:-2])
    return (np.clip(np.minimum(rising, falling), 0, None) * area[:, None]).astype(np.float32)


def bands_below(hz: float) -> int:
    """How many bands end at or below ``hz``."""
    return int(np.searchsorted(edges()[2:], hz, side="right"))


def log_mel(audio: Tensor) -> Tensor:
    """``(batch, samples)`` at 48 kHz, a multiple of 480, to ``(batch, 1, samples / 480, 256)``; floor log(1e-5)."""
    edge = (_FFT - HOP) // 2
    padded = functional.pad(audio[:, None], (edge, edge), mode="reflect")[:, 0]
    window = torch.hann_window(_FFT, device=audio.device)
    spectrum = torch.stft(padded, _FFT, HOP, window=window, center=False, return_complex=True).abs()
    mel = torch.from_numpy(filters()).to(audio.device) @ spectrum
    return mel.clamp(min=_FLOOR).log().transpose(1, 2)[:, None]
