"""Apollo as a module of our own. Imports torch: import it only where it is run.

Li and Luo, "Apollo: Band-sequence Modeling for High-Quality Audio Restoration", ICASSP 2025: the spectrum is split into
bands, each normalised and embedded; layers of attention across bands (RoFormer, Su et al. 2021) and convolutions along
time; every band is then made anew. Attribute names are those of the published checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import NotPossibleError
from engine.models.apollo import own, sizes
from engine.models.runtime.checkpoint import MISFITS, for_torch, read
from engine.models.runtime.device import Precision, autocast

_EPS = 1e-5
_HEADS = 8
_KERNEL = 7
_BLOCKS = 3
_THETA = 10000.0


class RMSNorm(nn.Module):
    """Each frame by the root of its mean square over channels (Zhang and Sennrich 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time)`` in and out."""
        power = signal.float().square().mean(dim=1, keepdim=True)
        return (signal.float() * torch.rsqrt(power + _EPS)).type_as(signal) * self.weight[:, None]


def rotated(features: Tensor) -> Tensor:
    """Rotary positions: ``(..., positions, width)``, pairs of channels turned by an angle that grows with it."""
    positions, width = features.shape[-2:]
    rates = _THETA ** -(torch.arange(0, width, 2, device=features.device) / width)
    angles = torch.arange(positions, device=features.device)[:, None] * rates
    even, odd = features[..., 0::2], features[..., 1::2]
    turned = torch.stack([even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()], dim=-1)
    return turned.flatten(-2).type_as(features)


class BandAttention(nn.Module):
    """A transformer layer over the bands of one frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_norm = RMSNorm(width)
        self.weight = nn.Conv1d(width, 3 * width, 1, bias=False)
        self.output = nn.Conv1d(width, width, 1, bias=False)
        self.MLP = nn.Sequential(RMSNorm(width), nn.Conv1d(width, 8 * width, 1, bias=False), nn.SiLU())
        self.MLP_output = nn.Conv1d(4 * width, width, 1, bias=False)

    def forward(self, signal: Tensor) -> Tensor:
        """``(frames, width, bands)`` in and out."""
        heads = self.weight(self.input_norm(signal)).unflatten(1, (_HEADS, -1)).mT
        query, key, value = heads.chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(rotated(query), rotated(key), value)
        signal = signal + self.output(mixed.mT.flatten(1, 2))
        gate, inner = self.MLP(signal).chunk(2, dim=1)
        return signal + self.MLP_output(functional.silu(gate) * inner)


class TimeConvolution(nn.Module):
    """A depthwise convolution along time and two layers across channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width),
            RMSNorm(width),
            nn.Conv1d(width, 4 * width, 1),
            nn.SiLU(),
            nn.Conv1d(4 * width, width, 1),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """``(bands, width, time)`` in and out."""
        return signal + self.conv(signal)


class BandSequence(nn.Module):
    """One layer: across bands, then along time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.band_net = BandAttention(width)
        self.seq_net = nn.Module()
        self.seq_net.blocks = nn.Sequential(*(TimeConvolution(width) for _ in range(_BLOCKS)))

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, bands, width, time)`` in and out."""
        batch, bands, _, time = signal.shape
        across = self.band_net(signal.permute(0, 3, 2, 1).flatten(0, 1)).unflatten(0, (batch, time)).permute(0, 3, 2, 1)
        return self.seq_net.blocks(across.flatten(0, 1)).unflatten(0, (batch, bands))


class Apollo(nn.Module):
    """Restores ``(batch, samples)`` at 44.1 kHz.

    Args:
        window: samples of a spectrum; half of it is the hop.
        bands: width of each band in bins, window / 2 + 1 in all.
        width, layers: of the network.
    """

    def __init__(self, window: int, bands: tuple[int, ...], width: int, layers: int) -> None:
        super().__init__()
        self.window, self.bands, self.width = window, bands, width
        self.BN = nn.ModuleList(nn.Sequential(RMSNorm(2 * b + 1), nn.Conv1d(2 * b + 1, width, 1)) for b in bands)
        self.net = nn.Sequential(*(BandSequence(width) for _ in range(layers)))
        self.output = nn.ModuleList(
            nn.Sequential(RMSNorm(width), nn.Conv1d(width, 4 * b, 1), nn.GLU(dim=1)) for b in bands
        )

    def forward(self, audio: Tensor) -> Tensor:
        """``(batch, samples)`` in and out."""
        shape = {"n_fft": self.window, "hop_length": self.window // 2}
        hann = torch.hann_window(self.window, device=audio.device)
        spectrum = torch.stft(audio.float(), **shape, window=hann, return_complex=True)
        bands = zip(self.BN, spectrum.split(self.bands, dim=1), strict=True)
        made = self.net(torch.stack([embed(_features(band)) for embed, band in bands], dim=1))
        out = [head(made[:, n]).float().unflatten(1, (2, -1)) for n, head in enumerate(self.output)]
        restored = torch.cat([torch.complex(part[:, 0], part[:, 1]) for part in out], dim=1)
        return torch.istft(restored, **shape, window=hann, length=audio.shape[1])


def _features(band: Tensor) -> Tensor:
    """``(batch, 2 * bins + 1, time)``: the band's shape, and the logarithm of its level."""
    level = (band.abs().square().sum(dim=1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
    return torch.cat([band.real / level, band.imag / level, level.log()], dim=1)


def load(path: Path, device: str) -> Apollo:
    """The network with a published checkpoint's weights. Nothing that is pickled in it is run.

    Raises:
        NotPossibleError: it is the checkpoint of something else.
    """
    found = read(path)
    try:
        tensors = own(found.tensors())
        bands, width, layers = sizes(tensors)
        with torch.device("meta"):  # without memory, whatever the file says of its sizes
            model = Apollo(2 * (sum(bands) - 1), bands, width, layers)
        state = {name: value.float() for name, value in for_torch(tensors).items()}
        model.load_state_dict(state, assign=True)
    except MISFITS as error:
        raise NotPossibleError(f"{path.name} is not a checkpoint of Apollo: get it again.") from error
    return model.eval().requires_grad_(False).to(device)


def restored(model: Apollo, rows: npt.NDArray[np.float32], device: str, how: Precision) -> npt.NDArray[np.float32]:
    """``(rows, samples)`` in and out."""
    with torch.inference_mode(), autocast(device, how):
        return model(torch.from_numpy(np.ascontiguousarray(rows)).to(device)).float().cpu().numpy()
