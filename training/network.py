"""The same network as :mod:`engine.models.restorer.network`, for PyTorch to learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.models.restorer import features
from engine.models.restorer.bands import COUNT
from engine.models.restorer.network import DILATIONS, TAPS

SONG_WIDTH = 96


class RestorerNetwork(nn.Module):
    """Answers ``(batch, 3 * COUNT, time)`` from moments ``(batch, MOMENT_SIZE, time)`` and songs."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(features.MOMENT_SIZE, width, TAPS, padding=TAPS // 2)
        self.song = nn.Linear(features.SONG_SIZE, SONG_WIDTH)
        self.told = nn.Linear(SONG_WIDTH, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, TAPS, padding=TAPS // 2 * dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.last = nn.Conv1d(width, 3 * COUNT, 1)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, moments: Tensor, songs: Tensor) -> Tensor:
        # Half precision while it learns takes half the time, and is what the weights are kept in.
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            told = self.told(functional.relu(self.song(self.drop(songs))))
            hidden = functional.relu(self.first(moments) + told[:, :, None])
            for layer in self.layers:
                hidden = hidden + functional.relu(layer(self.drop(hidden)))
            return self.last(hidden).float()

    def weights(self) -> dict[str, npt.NDArray[np.float16]]:
        """As numpy takes them: kernels ``(taps, inputs, outputs)``, matrices ``(inputs, outputs)``."""
        values: dict[str, npt.NDArray[np.float16]] = {}
        for name, tensor in self.state_dict().items():
            label = name.replace("layers.", "layer")
            array = tensor.detach().cpu().numpy()
            if array.ndim == 3:
                array = array.transpose(2, 1, 0)
            elif array.ndim == 2:
                array = array.T
            if label == "last.weight":
                array = array[0]
            values[label] = np.ascontiguousarray(array, np.float16)
        return values
