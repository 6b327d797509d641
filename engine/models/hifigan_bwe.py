"""HiFi-GAN BWE: bandwidth extension at 48 kHz. Its public checkpoints are trained on speech."""

from __future__ import annotations

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.files import file_hash
from engine.models import weights
from engine.models.weights import Weights

RATE = 48000
REACH = 6560  # frames on each side that decide a sample: half the receptive field of 13,120

WEIGHTS = Weights(
    key="hifigan-bwe",
    filename="hifi-gan-bwe-10-42890e3-vctk-48kHz.pt",
    url="https://cdn.brentspell.com/models/hifi-gan-bwe/hifi-gan-bwe-10-42890e3-vctk-48kHz.pt",
    size=4_300_000,
)
_lock = threading.Lock()


def why_not_possible() -> str:
    """Empty where the model can be used, else one sentence."""
    if importlib.util.find_spec("torch") is None:
        return "HiFi-GAN BWE needs PyTorch: install the extra 'ai' (pip install '.[ai]' in the program's folder)."
    if weights.find(WEIGHTS) is None:
        return "The model of HiFi-GAN BWE is not here: run 'mp3restore models get hifigan-bwe'."
    return ""


def fingerprint() -> str:
    """The SHA-256 of the weights. Raises NotPossibleError where they are not here."""
    path = _path()
    return _digest(path, path.stat().st_mtime_ns)


def _path() -> Path:
    path = weights.find(WEIGHTS)
    if path is None:
        raise NotPossibleError(why_not_possible())
    return path


@lru_cache(maxsize=4)
def _digest(path: Path, modified: int) -> str:
    return file_hash(path)


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not such a model."""
    from engine.models.torchscript import read_weights

    names = read_weights(path)
    if not any(name.startswith("_wavenet._layers.") for name in names):
        raise NotPossibleError(f"{path.name} is not a HiFi-GAN BWE model: get it again.")


@lru_cache(maxsize=1)
def _load(path: Path, modified: int, device: str) -> Any:
    """The network, once for a batch."""
    from engine.models.hifigan_bwe_network import build
    from engine.models.torchscript import read_weights

    return build(read_weights(path), device)


def extend(audio: Audio, device: str) -> Audio:
    """``(frames, channels)`` at 48 kHz with a band above what is there; same shape, in step with the input.

    The first and last :data:`REACH` frames do not know their surroundings: give context and throw it away.

    Raises:
        NotPossibleError: the model is not here, or is not what it should be.
    """
    from engine.models.hifigan_bwe_network import run

    path = _path()
    with _lock:  # several songs at a time share one network and all cores
        model = _load(path, path.stat().st_mtime_ns, device)
        return np.ascontiguousarray(run(model, np.ascontiguousarray(audio.T), device).T)
