"""The denoiser of AudioSR: a UNet over latents, with self-attention below its first level.

Ho et al. 2020 and Dhariwal and Nichol 2021 (residual blocks with a time embedding), Rombach et al. 2022 (transformer
blocks), Liu et al. 2023 (AudioSR: the condition is concatenated to the noisy latent; both attentions of a block are
self-attention). Attribute names are those of the published checkpoint, so that it loads by its own keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.models.audiosr.layers import Upsample

HEAD = 32  # channels of an attention head
BLOCKS = 2  # residual blocks a level
_GROUPS = 32


class ResidualBlock(nn.Module):
    """Two convolutions around which the input passes; the time embedding is added between them."""

    def __init__(self, into: int, out: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(_GROUPS, into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        # The identity stands where the checkpoint's numbering counts a dropout.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, signal: Tensor, embedding: Tensor) -> Tensor:
        """``(batch, into, time, frequency)`` to ``(batch, out, time, frequency)``."""
        inner = self.in_layers(signal) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(signal) + self.out_layers(inner)


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention of a sequence with itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, tokens, channels)`` in and out."""
        query, key, value = (
            part(tokens).unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in (self.to_q, self.to_k, self.to_v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class GatedLinear(nn.Module):
    """GEGLU (Shazeer 2020): one half of a projection times the GELU of the other."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, tokens, channels)`` to ``(batch, tokens, inner)``."""
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class FeedForward(nn.Module):
    """The transformer block's own two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedLinear(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, tokens, channels)`` in and out."""
        return self.net(tokens)


class TransformerBlock(nn.Module):
    """Attention twice, then the feed-forward layers, each behind a norm and beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn1, self.attn2, self.ff = SelfAttention(channels), SelfAttention(channels), FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, tokens, channels)`` in and out."""
        tokens = tokens + self.attn1(self.norm1(tokens))
        tokens = tokens + self.attn2(self.norm2(tokens))
        return tokens + self.ff(self.norm3(tokens))


class SpatialTransformer(nn.Module):
    """A transformer block over all places of a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, frequency)`` in and out."""
        tokens = self.proj_in(self.norm(signal)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        return signal + self.proj_out(tokens.transpose(1, 2).unflatten(2, signal.shape[2:]))


class Downsample(nn.Module):
    """Half the size in both directions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, frequency)`` to half of both."""
        return self.op(signal)


class Block(nn.Sequential):
    """Layers of which only the residual blocks are told the time."""

    def forward(self, signal: Tensor, embedding: Tensor) -> Tensor:
        """``(batch, channels, time, frequency)`` and ``(batch, embedding)``."""
        for layer in self:
            signal = layer(signal, embedding) if isinstance(layer, ResidualBlock) else layer(signal)
        return signal


class UNet(nn.Module):
    """Predicts v from the noisy latent and the condition, concatenated.

    Args:
        into, out: channels in (latent and condition) and out (latent).
        base: channels of the first level.
        multiples: each level's channels in multiples of ``base``; every level but the first has attention.
    """

    def __init__(self, into: int, out: int, base: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        self.base = base
        embedding = 4 * base
        self.time_embed = nn.Sequential(nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

        def attention(level: int, channels: int) -> list[nn.Module]:
            return [SpatialTransformer(channels), SpatialTransformer(channels)] if level else []

        down, widths, width = [Block(nn.Conv2d(into, base, 3, padding=1))], [base], base
        for level, multiple in enumerate(multiples):
            for _ in range(BLOCKS):
                block = ResidualBlock(width, base * multiple, embedding)
                width = base * multiple
                down.append(Block(block, *attention(level, width)))
                widths.append(width)
            if level < len(multiples) - 1:
                down.append(Block(Downsample(width)))
                widths.append(width)
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = Block(
            ResidualBlock(width, width, embedding), *attention(1, width), ResidualBlock(width, width, embedding)
        )
        up = []
        for level, multiple in reversed(list(enumerate(multiples))):
            for index in range(BLOCKS + 1):
                block = ResidualBlock(width + widths.pop(), base * multiple, embedding)
                width = base * multiple
                rise = [Upsample(width)] if level and index == BLOCKS else []
                up.append(Block(block, *attention(level, width), *rise))
        self.output_blocks = nn.ModuleList(up)
        self.out = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))

    def forward(self, signal: Tensor, times: Tensor) -> Tensor:
        """``(batch, into, time, frequency)`` and the ``(batch,)`` diffusion times 0 to 999, to ``(batch, out, ...)``.

        Time and frequency are multiples of 2 ** (levels - 1).
        """
        embedding = self.time_embed(_sinusoids(times, self.base))
        kept = []
        for block in self.input_blocks:
            signal = block(signal, embedding)
            kept.append(signal)
        signal = self.middle_block(signal, embedding)
        for block in self.output_blocks:
            signal = block(torch.cat([signal, kept.pop()], dim=1), embedding)
        return self.out(signal)


def _sinusoids(times: Tensor, width: int) -> Tensor:
    """``(batch, width)``: cosines and sines of the time at geometrically spaced frequencies."""
    half = width // 2
    rates = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=times.device))
    angles = times.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def unet_for(state: Mapping[str, Tensor]) -> UNet:
    """The network that weights of these shapes fit. Raises KeyError where they are of something else."""
    first = state["input_blocks.0.0.weight"]
    multiples: list[int] = []
    while (key := f"input_blocks.{(BLOCKS + 1) * len(multiples) + 1}.0.out_layers.3.weight") in state:
        multiples.append(state[key].shape[0] // first.shape[0])
    return UNet(first.shape[1], state["out.2.weight"].shape[0], first.shape[0], tuple(multiples))
