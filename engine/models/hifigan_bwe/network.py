"""The generator of HiFi-GAN BWE as a small module of our own. Imports torch: import it only where it is run.

Su, Wang, Finkelstein and Jin, "Bandwidth Extension is All You Need", ICASSP 2021: a WaveNet without causality or
conditioning (van den Oord et al. 2016): 1x1 convolution in, gated residual layers with dilations of 3**n, the mean
of their skip outputs, 1x1 convolution out, tanh.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.errors import NotPossibleError
from engine.models.runtime.checkpoint import MISFITS, read

_LAYERS_PER_STACK = 8
_KERNEL = 3
_BASE = 3


class GatedLayer(nn.Module):
    """One dilated convolution; half of its channels gate the other half."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(channels, channels, _KERNEL, padding="same", dilation=dilation)
        self.skip = nn.Conv1d(channels // 2, channels, 1)
        self.residual = nn.Conv1d(channels // 2, channels, 1)

    def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(what goes on to the next layer, what goes to the sum), both ``(batch, channels, frames)``."""
        value, gate = self.dilated(signal).chunk(2, dim=1)
        gated = value.tanh_().mul_(gate.sigmoid_())
        return (self.residual(gated) + signal) * math.sqrt(0.5), self.skip(gated)


class Generator(nn.Module):
    """Maps ``(batch, 1, frames)`` at 48 kHz, low-passed, to the same with a band above."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.into = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(GatedLayer(channels, _BASE ** (n % _LAYERS_PER_STACK)) for n in range(layers))
        self.out = nn.Conv1d(channels, 1, 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Run all layers."""
        signal = self.into(signal)
        total: torch.Tensor | None = None
        for layer in self.layers:
            signal, skipped = layer(signal)
            total = skipped if total is None else total.add_(skipped)
        assert total is not None
        return torch.tanh(self.out(total * math.sqrt(1 / len(self.layers))))


_NAMES = {"_conv": "dilated", "_conv_skip": "skip", "_conv_out": "residual"}


def load(path: Path, device: str) -> Generator:
    """The generator with the weights of a published checkpoint (names of the package hifi-gan-bwe).

    Nothing that the file holds is run. Raises NotPossibleError where it is the checkpoint of something else.
    """
    found = read(path)
    try:
        arrays = {name: tensor.array() for name, tensor in found.tensors().items()}
        state = {_own_name(name): torch.from_numpy(value).float() for name, value in _folded(arrays).items()}
        layers = len({name.split(".")[1] for name in state if name.startswith("layers.")})
        with torch.device("meta"):  # without memory, whatever the file says of its sizes
            model = Generator(state["into.weight"].shape[0], layers)
        model.load_state_dict(state, assign=True)
    except MISFITS as error:
        raise NotPossibleError(f"{path.name} is not a HiFi-GAN BWE model: get it again.") from error
    return model.eval().requires_grad_(False).to(device)


def _folded(weights: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Weight normalisation (magnitude ``_g`` times direction ``_v``) multiplied out."""
    found = {}
    for name, value in weights.items():
        if name == "sample_rate" or name.endswith("_g"):
            continue
        if name.endswith("_v"):
            norm = np.sqrt((value**2).sum(axis=tuple(range(1, value.ndim)), keepdims=True))
            found[name.removesuffix("_v")] = value * (weights[f"{name.removesuffix('_v')}_g"] / norm)
        else:
            found[name] = value
    return found


def _own_name(name: str) -> str:
    if match := re.fullmatch(r"_wavenet\._layers\.(\d+)\.(_conv(?:_skip|_out)?)\.(weight|bias)", name):
        return f"layers.{match[1]}.{_NAMES[match[2]]}.{match[3]}"
    if match := re.fullmatch(r"_wavenet\._conv_(in|out)\.(weight|bias)", name):
        return f"{'into' if match[1] == 'in' else 'out'}.{match[2]}"
    raise KeyError(name)


def run(model: Generator, signal: npt.NDArray[Any], device: str) -> npt.NDArray[Any]:
    """``(channels, frames)`` float32 in and out; every channel by itself, so that equal ones stay equal."""
    with torch.inference_mode():
        out = [model(torch.from_numpy(channel)[None, None].to(device))[0, 0] for channel in signal]
        return torch.stack(out).float().cpu().numpy()
