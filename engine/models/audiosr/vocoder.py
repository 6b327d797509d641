"""The vocoder of AudioSR: HiFi-GAN (Kong, Kim and Bae 2020), from mel to samples at 48 kHz.

Attribute names are those of the published checkpoint, in which weight normalisation is already multiplied out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

HOP = 480  # samples a mel frame
_SLOPE = 0.1
_DILATIONS = (1, 3, 5)
_REACH = 32  # mel frames on each side that can decide a sample (24 for the published sizes)


class ResidualStack(nn.Module):
    """Pairs of convolutions with growing dilation."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        half = kernel // 2
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * half) for d in _DILATIONS
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=half) for _ in _DILATIONS)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time)`` in and out."""
        for wide, narrow in zip(self.convs1, self.convs2, strict=True):
            inner = wide(functional.leaky_relu(signal, _SLOPE))
            signal = signal + narrow(functional.leaky_relu(inner, _SLOPE))
        return signal


class Vocoder(nn.Module):
    """Transposed convolutions, each followed by the mean of residual stacks with different kernels."""

    def __init__(self, mels: int, width: int, rates: tuple[int, ...], kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_pre = nn.Conv1d(mels, width, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(width >> n, width >> (n + 1), 2 * rate, rate, padding=rate // 2)
            for n, rate in enumerate(rates)
        )
        self.resblocks = nn.ModuleList(
            ResidualStack(width >> (n + 1), kernel) for n in range(len(rates)) for kernel in kernels
        )
        self.conv_post = nn.Conv1d(width >> len(rates), 1, 7, padding=3)
        self._kernels = len(kernels)

    def forward(self, mel: Tensor) -> Tensor:
        """``(batch, mels, frames)`` log mel to ``(batch, 480 * frames + 16)`` samples within +-1."""
        signal = self.conv_pre(mel)
        for index, up in enumerate(self.ups):
            signal = up(functional.leaky_relu(signal, _SLOPE))
            stacks = self.resblocks[index * self._kernels : (index + 1) * self._kernels]
            total = stacks[0](signal)
            for stack in list(stacks)[1:]:
                total = total + stack(signal)
            signal = total / self._kernels
        return torch.tanh(self.conv_post(functional.leaky_relu(signal)))[:, 0]

    def in_tiles(self, mel: Tensor, frames: int) -> Tensor:
        """As :meth:`forward`, cut to 480 samples a frame, never for more than ``frames`` and their reach at once."""
        pieces = []
        for start in range(0, mel.shape[2], frames):
            first, last = max(0, start - _REACH), min(mel.shape[2], start + frames + _REACH)
            piece = self(mel[:, :, first:last])
            count = min(frames, mel.shape[2] - start)
            pieces.append(piece[:, (start - first) * HOP : (start - first + count) * HOP])
        return torch.cat(pieces, dim=1)


def vocoder_for(state: Mapping[str, Tensor]) -> Vocoder:
    """The network that weights of these shapes fit. Raises KeyError where they are of something else."""
    width, mels, _ = state["conv_pre.weight"].shape
    rates: list[int] = []
    while (key := f"ups.{len(rates)}.weight") in state:
        rates.append(state[key].shape[2] // 2)
    kernels: list[int] = []
    while (key := f"resblocks.{len(kernels)}.convs1.0.weight") in state:
        kernels.append(state[key].shape[2])
    return Vocoder(mels, width, tuple(rates), tuple(kernels[: len(kernels) // len(rates)]))
