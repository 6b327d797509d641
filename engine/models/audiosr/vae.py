"""The autoencoder of AudioSR between mel spectrograms and latents (Kingma and Welling 2014, Rombach et al. 2022).

Residual levels with attention at the smallest size only. Attribute names are those of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.models.audiosr.layers import Upsample

_GROUPS = 32
_BLOCKS = 2  # residual blocks a level on the way down; one more on the way up


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(into), nn.Conv2d(into, out, 3, padding=1)
        self.norm2, self.conv2 = _norm(out), nn.Conv2d(out, out, 3, padding=1)
        if into != out:
            self.nin_shortcut = nn.Conv2d(into, out, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, into, time, mel)`` to ``(batch, out, time, mel)``."""
        inner = self.conv1(functional.silu(self.norm1(signal)))
        inner = self.conv2(functional.silu(self.norm2(inner)))
        return inner + (self.nin_shortcut(signal) if hasattr(self, "nin_shortcut") else signal)


class Attention(nn.Module):
    """One head over all places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, mel)`` in and out."""
        normed = self.norm(signal)
        query, key, value = (part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return signal + self.proj_out(mixed.transpose(1, 2).unflatten(2, signal.shape[2:]))


class Middle(nn.Module):
    """What both halves do at the smallest size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = ResidualBlock(channels, channels), Attention(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, mel)`` in and out."""
        return self.block_2(self.attn_1(self.block_1(signal)))


class Downsample(nn.Module):
    """Half the size; the border that is missing is at the end of both directions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, mel)`` to half of both."""
        return self.conv(functional.pad(signal, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks of one size, and the change to the next."""

    def __init__(self, into: int, out: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(into if n == 0 else out, out) for n in range(blocks))

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, into, time, mel)`` to ``(batch, out, time', mel')``."""
        for block in self.block:
            signal = block(signal)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                signal = getattr(self, name)(signal)
        return signal


class Encoder(nn.Module):
    """Mel ``(batch, 1, time, 256)`` to mean and log variance of a latent, ``(batch, 2 * latent, time / 8, 32)``."""

    def __init__(self, latent: int, base: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        widths = [base, *(base * m for m in multiples)]
        self.conv_in = nn.Conv2d(1, base, 3, padding=1)
        self.down = nn.ModuleList(Level(a, b, _BLOCKS) for a, b in pairwise(widths))
        for level in list(self.down)[:-1]:
            level.downsample = Downsample(level.block[-1].conv2.out_channels)
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = _norm(widths[-1]), nn.Conv2d(widths[-1], 2 * latent, 3, padding=1)

    def forward(self, mel: Tensor) -> Tensor:
        """See the class."""
        signal = self.conv_in(mel)
        for level in self.down:
            signal = level(signal)
        return self.conv_out(functional.silu(self.norm_out(self.mid(signal))))


class Decoder(nn.Module):
    """A latent ``(batch, latent, time / 8, 32)`` to a mel ``(batch, 1, time, 256)``."""

    def __init__(self, latent: int, base: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        widths = [base * m for m in multiples]
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        # Counted from the finest level, worked through from the coarsest.
        self.up = nn.ModuleList(
            Level(widths[min(n + 1, len(widths) - 1)], w, _BLOCKS + 1) for n, w in enumerate(widths)
        )
        for level in list(self.up)[1:]:
            level.upsample = Upsample(level.block[-1].conv2.out_channels)
        self.norm_out, self.conv_out = _norm(widths[0]), nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """See the class."""
        signal = self.mid(self.conv_in(latent))
        for level in reversed(self.up):
            signal = level(signal)
        return self.conv_out(functional.silu(self.norm_out(signal)))


class LatentEncoder(nn.Module):
    """The encoder and the projection of its moments."""

    def __init__(self, latent: int, base: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(latent, base, multiples)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """A sample of the posterior, drawn with unit Gaussian ``noise`` of the latent's shape."""
        mean, log_variance = self.quant_conv(self.encoder(mel)).float().chunk(2, dim=1)
        return mean + torch.exp(0.5 * log_variance.clamp(-30, 20)) * noise


class LatentDecoder(nn.Module):
    """The decoder behind the projection of the latent."""

    def __init__(self, latent: int, base: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        self.decoder = Decoder(latent, base, multiples)

    def forward(self, latent: Tensor) -> Tensor:
        """``(batch, latent, time / 8, 32)`` to ``(batch, 1, time, 256)``."""
        return self.decoder(self.post_quant_conv(latent))


def encoder_for(state: Mapping[str, Tensor]) -> LatentEncoder:
    """The encoder that weights of these shapes fit. Raises KeyError where they are of something else."""
    return LatentEncoder(state["quant_conv.weight"].shape[0] // 2, *_widths(state, "encoder.conv_in", "encoder.down"))


def decoder_for(state: Mapping[str, Tensor]) -> LatentDecoder:
    """The decoder that weights of these shapes fit. Raises KeyError where they are of something else."""
    latent = state["post_quant_conv.weight"].shape[0]
    return LatentDecoder(latent, *_widths(state, "decoder.up.0.block.2.conv2", "decoder.up"))


def _widths(state: Mapping[str, Tensor], base_name: str, levels: str) -> tuple[int, tuple[int, ...]]:
    base = state[f"{base_name}.weight"].shape[0]
    multiples: list[int] = []
    while (key := f"{levels}.{len(multiples)}.block.0.conv2.weight") in state:
        multiples.append(state[key].shape[0] // base)
    return base, tuple(multiples)
