"""HiFi-GAN BWE: bandwidth extension at 48 kHz. Its public checkpoints are trained on speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.models.runtime import device as devices
from engine.models.runtime import loading
from engine.models.runtime.checkpoint import Checkpoint
from engine.models.runtime.weights import Weights

RATE = 48000
REACH = 6560  # frames on each side that decide a sample: half the receptive field of 13,120

WEIGHTS = Weights(
    key="hifigan-bwe",
    filename="hifi-gan-bwe-10-42890e3-vctk-48kHz.pt",
    url="https://cdn.brentspell.com/models/hifi-gan-bwe/hifi-gan-bwe-10-42890e3-vctk-48kHz.pt",
    size=4_300_000,
)


def unavailable_reason() -> str:
    """Empty where the model can be used, else one sentence."""
    return loading.unavailable_reason("HiFi-GAN BWE", WEIGHTS)


def fingerprint() -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint((WEIGHTS,), unavailable_reason())


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not such a model."""
    from engine.models.hifigan_bwe.network import load

    load(path, "cpu")


def recognised(found: Checkpoint) -> str:
    """What this is, for the user; empty where it is no such model."""
    return "HiFi-GAN BWE" if any(name.startswith("_wavenet._layers.") for name in found.tensors()) else ""


def extend(audio: Audio, device: str, tell: Callable[[str], None] = lambda _: None) -> Audio:
    """``(frames, channels)`` at 48 kHz with a band above what is there; same shape, in step with the input.

    The first and last :data:`REACH` frames do not know their surroundings: give context and throw it away. ``tell``
    hears of every step that is taken to use less memory.

    Raises:
        NotPossibleError: the model is not here, is not what it should be, or there is too little memory.
    """

    def work(some: list[Audio], how: devices.Attempt) -> list[Audio]:
        from engine.models.hifigan_bwe.network import load, run

        with loading.borrowed(WEIGHTS, unavailable_reason, how.device, lambda path: load(path, how.device)) as model:

            def one(rows: Audio) -> Audio:
                return np.ascontiguousarray(run(model, np.ascontiguousarray(rows.T), how.device).T)

            return [devices.in_halves(one, item, REACH) if how.short else one(item) for item in some]

    return devices.with_oom_fallback(work, [audio], device, tell)[0]
