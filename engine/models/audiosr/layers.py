"""What the UNet and the autoencoder have in common."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Upsample(nn.Module):
    """Twice the size in both directions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, signal: Tensor) -> Tensor:
        """``(batch, channels, time, frequency)`` to twice both."""
        return self.conv(functional.interpolate(signal, scale_factor=2.0, mode="nearest"))
