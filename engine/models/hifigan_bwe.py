"""HiFi-GAN BWE: bandwidth extension at 48 kHz. Its public checkpoints are trained on speech."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.models import device as devices
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


def why_not_possible() -> str:
    """Empty where the model can be used, else one sentence."""
    if importlib.util.find_spec("torch") is None:
        return "HiFi-GAN BWE needs PyTorch: install the extra 'ai' (pip install '.[ai]' in the program's folder)."
    if weights.find(WEIGHTS) is None:
        return "The model of HiFi-GAN BWE is not here: run 'mp3restore models get hifigan-bwe'."
    return ""


def fingerprint() -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    if why := why_not_possible():
        raise NotPossibleError(why)
    return weights.fingerprint(WEIGHTS)


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not such a model."""
    from engine.models.torchscript import read_weights

    names = read_weights(path)
    if not any(name.startswith("_wavenet._layers.") for name in names):
        raise NotPossibleError(f"{path.name} is not a HiFi-GAN BWE model: get it again.")


def extend(audio: Audio, device: str, tell: Callable[[str], None] = lambda _: None) -> Audio:
    """``(frames, channels)`` at 48 kHz with a band above what is there; same shape, in step with the input.

    The first and last :data:`REACH` frames do not know their surroundings: give context and throw it away. ``tell``
    hears of every step down the ladder of memory.

    Raises:
        NotPossibleError: the model is not here, is not what it should be, or there is too little memory.
    """

    def work(some: list[Audio], how: devices.Attempt) -> list[Audio]:
        from engine.models.hifigan_bwe_network import build, run
        from engine.models.torchscript import read_weights

        path = weights.find(WEIGHTS)
        if path is None:
            raise NotPossibleError(why_not_possible())
        key = ("hifigan-bwe", path, path.stat().st_mtime_ns)
        size = path.stat().st_size
        with devices.borrowed(key, how.device, size, lambda: build(read_weights(path), how.device)) as model:

            def one(rows: Audio) -> Audio:
                return np.ascontiguousarray(run(model, np.ascontiguousarray(rows.T), how.device).T)

            return [devices.in_halves(one, item, REACH) if how.short else one(item) for item in some]

    return devices.down_the_ladder(work, [audio], device, tell)[0]
