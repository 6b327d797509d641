"""Demucs: separation into stems at 44.1 kHz, by the package demucs, from safetensors files alone."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.models.runtime import device as devices
from engine.models.runtime import loading, weights
from engine.models.runtime.weights import Weights

RATE = 44100
_CLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs")
_SIZES = {"htdemucs": 168_000_000, "htdemucs_ft": 168_000_000, "htdemucs_6s": 110_000_000}
_FILES = {
    "htdemucs": ("955717e8",),
    "htdemucs_ft": ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d"),  # one for each stem, in this order
    "htdemucs_6s": ("5c90dfd2",),
}
_REPOS = {"htdemucs": "HTDemucs", "htdemucs_ft": "HTDemucs-ft", "htdemucs_6s": "HTDemucs-6s"}

WEIGHTS = {
    name: tuple(
        Weights(
            name, f"{name}-{signature}.safetensors", repo=f"adefossez/{_REPOS[name]}",
            hub_filename=f"{signature}.safetensors", size=_SIZES[name],
        )
        for signature in signatures
    )
    for name, signatures in _FILES.items()
}  # fmt: skip
_ACTIVATIONS = 3_000_000_000  # bytes that one segment takes at its worst


def why_not_possible(name: str) -> str:
    """Empty where the model can be used, else one sentence."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("demucs") is None:
        return "Demucs needs the extra 'ai': run 'pip install \".[ai]\"' in the program's folder."
    if not all(weights.find(file) for file in WEIGHTS[name]):
        return f"The model {name} is not here: run 'mp3restore models get {name}'."
    return ""


def fingerprint(name: str) -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint(WEIGHTS[name], why_not_possible(name))


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not a model of Demucs."""
    _load(path, "cpu")


def _load(path: Path, device: str) -> Any:
    """The network with its weights. What its file says is only read: the class must be one of those known here."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        module, _, name = facts["klass"].rpartition(".")
        if facts["klass"] not in _CLASSES or "structure" in facts:
            raise KeyError(facts["klass"])
        network = getattr(importlib.import_module(module), name)
        model = network(*_decoded(json.loads(facts["args"])), **_decoded(json.loads(facts["kwargs"])))
        model.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise NotPossibleError(f"{path.name} is not a model of Demucs: get it again.") from error
    return model.eval().requires_grad_(False).float().to(device)


def _decoded(value: Any) -> Any:
    """JSON in which fractions are written as tables."""
    if isinstance(value, dict):
        if value.get("_type") == "fraction":
            return Fraction(value["numerator"], value["denominator"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def separate(
    audio: Audio, name: str, device: str, tell: Callable[[str], None], after_segment: Callable[[], None] = lambda: None
) -> dict[str, Audio]:
    """The stems of ``(frames, 2)`` at 44.1 kHz by name, each of the same shape.

    ``tell`` hears of every step down the ladder of memory; ``after_segment`` may raise to leave.

    Raises:
        NotPossibleError: the model is not here, is not what it should be, or there is too little memory.
    """
    stems: dict[str, Audio] = {}
    files = WEIGHTS[name]
    for number, file in enumerate(files):

        def work(some: list[Audio], how: devices.Attempt, file: Weights = file) -> list[dict[str, Audio]]:
            with loading.borrowed(
                file, lambda: why_not_possible(name), how.device, lambda path: _load(path, how.device)
            ) as model:
                return [_apply(model, item, how, after_segment) for item in some]

        made = devices.down_the_ladder(work, [audio], device, tell)[0]
        # Of the fine-tuned four each is meant for one stem; the others are thrown away.
        stems |= made if len(files) == 1 else {list(made)[number]: list(made.values())[number]}
    return stems


def _apply(model: Any, audio: Audio, how: devices.Attempt, after_segment: Callable[[], None]) -> dict[str, Audio]:
    import torch
    from demucs.apply import apply_model

    mix = torch.from_numpy(np.ascontiguousarray(audio.T))[None]
    mean, spread = mix.mean(), mix.std() + 1e-8  # what the model was trained on
    segment = float(model.segment) / 2 if how.short else None
    with torch.inference_mode():
        made = apply_model(
            model, (mix - mean) / spread, shifts=0, split=True, overlap=0.25, device=how.device, segment=segment,
            callback=lambda event: after_segment() if event.get("state") == "end" else None,
        )[0]  # fmt: skip
    made = made * spread + mean
    return {stem: np.ascontiguousarray(part.T.cpu().numpy()) for stem, part in zip(model.sources, made, strict=True)}
