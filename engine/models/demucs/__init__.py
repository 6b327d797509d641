"""Demucs: separation into stems at 44.1 kHz, by the package demucs; its files are read as data alone."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.errors import NotPossibleError, UsageError
from engine.files import file_hash, writing
from engine.models.runtime import checkpoint as checkpoints
from engine.models.runtime import loading, weights
from engine.models.runtime.checkpoint import MISFITS, Checkpoint, for_torch, read
from engine.models.runtime.pickled import StandIn
from engine.models.runtime.weights import Weights

RATE = 44100
_CLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs")
_MOST = 64  # of anything that is repeated in a network, such as layers; the published ones have up to 6
_AS_THEY_COME = {"emb_smooth": False, "rescale": 0.0}  # what is done to the first weights of a training alone


@dataclass(frozen=True)
class Variant:
    """A model of the package, by its own signatures: one, or one for each stem, in the order of the stems."""

    title: str
    task: str
    repo: str
    size: int  # bytes of each file
    signatures: tuple[str, ...]
    stems: int = 4
    klass: str = _CLASSES[0]


VARIANTS = {
    "htdemucs": Variant(
        "Demucs v4", "separation into drums, bass, vocals and the rest", "HTDemucs", 84_025_440, ("955717e8",),
    ),
    "htdemucs_ft": Variant(
        "Demucs v4, fine-tuned", "the same with a model for each stem: four times the work", "HTDemucs-ft", 84_025_440,
        ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d"),
    ),
    "htdemucs_6s": Variant(
        "Demucs v4, six stems", "separation with guitar and piano besides (piano: poor)", "HTDemucs-6s", 54_885_744,
        ("5c90dfd2",), 6,
    ),
    "hdemucs_mmi": Variant(
        "Demucs v3", "separation without a transformer: drums, bass, vocals and the rest", "Demucs-hdemucs_mmi",
        167_300_000, ("75fc33f5",), 4, _CLASSES[1],
    ),
}  # fmt: skip
WEIGHTS = {
    name: tuple(
        Weights(
            name, f"{name}-{signature}.safetensors", repo=f"adefossez/{variant.repo}",
            hub_filename=f"{signature}.safetensors", size=variant.size, also=(f"{signature}*.th",),
        )
        for signature in variant.signatures
    )
    for name, variant in VARIANTS.items()
}  # fmt: skip


def unavailable_reason(name: str) -> str:
    """Empty where the model can be used, else one sentence."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("demucs") is None:
        return "Demucs needs PyTorch and its package: run 'mp3restore setup'."
    if not all(weights.find(file) for file in WEIGHTS[name]):
        return f"The model {name} is not here: run 'mp3restore models get {name}'."
    return ""


def fingerprint(name: str) -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint(WEIGHTS[name], unavailable_reason(name))


def check(path: Path, name: str = "") -> None:
    """Raises NotPossibleError where ``path`` is not a model of Demucs, or not one like ``name``."""
    model = load(path, "cpu")
    wanted = VARIANTS.get(name)
    found = (len(model.sources), f"{type(model).__module__}.{type(model).__name__}")
    if wanted is not None and found != (wanted.stems, wanted.klass):
        raise NotPossibleError(f"{path.name} is another model of Demucs.")


def convert(source: Path, path: Path, name: str = "") -> None:
    """Write safetensors, as on the Hub, of a published file: of those, or of what the package itself downloads (.th).

    Raises:
        NotPossibleError: it is not a model of Demucs, or not one like ``name``.
        UsageError: it is damaged.
    """
    check(source, name)
    # As the package does: the second half of such a name is the beginning of the file's hash.
    if (told := re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{8})\.th", source.name)) and file_hash(source)[:8] != told[1]:
        raise UsageError(f"{source.name} is damaged, as its hash tells: get it again.")
    found = read(source)
    if found.facts:
        if not (path.exists() and source.samefile(path)):
            with writing(path) as temporary:
                shutil.copyfile(source, temporary)
        return
    klass, *settings = _settings(found)
    arguments, options = (json.dumps(item, default=_encoded) for item in settings)
    facts = {"klass": klass, "args": arguments, "kwargs": options}
    checkpoints.write(path, for_torch(found.tensors()), facts)


def load(path: Path, device: str) -> Any:
    """The network with its weights, in single precision. Raises NotPossibleError where the file is something else.

    What the file says is only read: the class must be one of those known here, its settings plain values.
    """
    import torch

    found = read(path)
    try:
        klass, arguments, options = _settings(found)
        module, _, name = klass.rpartition(".")
        network = getattr(importlib.import_module(module), name)
        known = inspect.signature(network).parameters  # older files have settings that are no more, as the package says
        settings = {key: value for key, value in {**options, **_AS_THEY_COME}.items() if key in known}
        with torch.device("meta"), _undrawn():  # without memory, whatever the file says of its sizes
            model = network(*arguments, **settings)
        state = {name: value.float() for name, value in for_torch(found.tensors()).items()}
        model.load_state_dict(state, assign=True)
    except MISFITS as error:
        raise NotPossibleError(f"{path.name} is not a model of Demucs: get it again.") from error
    return model.eval().requires_grad_(False).to(device)


def _undrawn() -> AbstractContextManager[Any]:
    """Within it no random weights are drawn: without memory to draw into, PyTorch would load its compiler for that."""
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    made: AbstractContextManager[Any] = Undrawn()
    return made


def recognised(found: Checkpoint) -> str:
    """Which model of Demucs this is, for the user; empty where it is none."""
    try:
        klass, arguments, options = _settings(found)
        stems = len([*arguments, options.get("sources")][0])
    except MISFITS:
        bare = any(name.startswith("crosstransformer.") for name in found.tensors())
        return "weights of Demucs without their settings, which cannot be used alone" if bare else ""
    same = [name for name, variant in VARIANTS.items() if (variant.klass, variant.stems) == (klass, stems)]
    return f"Demucs, {' or '.join(same) or f'of a kind with {stems} stems'}"


def _settings(found: Checkpoint) -> tuple[str, list[Any], dict[str, Any]]:
    """The class of a model and what it is made with. Raises KeyError or ValueError where it is nothing known here."""
    if found.facts:
        klass, arguments, options = (
            found.facts["klass"], json.loads(found.facts["args"]), json.loads(found.facts["kwargs"])
        )  # fmt: skip
        strange = "structure" in found.facts  # quantised weights, which the extra 'ai' cannot read
    else:
        klass, arguments, options = found.content["klass"].name, list(found.content["args"]), found.content["kwargs"]
        strange = "__quantized" in found.content["state"]
    repeated = [value for key, value in options.items() if key.endswith(("depth", "layers")) and value is not None]
    if klass not in _CLASSES or strange or any(value > _MOST for value in repeated):
        raise KeyError(klass)
    return klass, [_plain(item) for item in arguments], {name: _plain(item) for name, item in options.items()}


def _plain(value: Any) -> Any:
    """A setting, if it is a plain one: fractions are written as tables in JSON, and as objects in pickles."""
    if isinstance(value, dict):
        value = StandIn("fractions.Fraction", (value["numerator"], value["denominator"]))
    if isinstance(value, StandIn):
        if value.name != "fractions.Fraction" or not 1 <= len(value.arguments) <= 2:
            raise ValueError(value.name)
        text = "/".join(str(part) for part in value.arguments if isinstance(part, int | str))
        if not re.fullmatch(r"\d{1,6}(/[1-9]\d{0,5})?", text):
            raise ValueError(value.name)
        return Fraction(text)
    if isinstance(value, list | tuple):
        if len(value) > _MOST or not all(isinstance(item, str | int | float) for item in value):
            raise ValueError("a long or nested setting")
        return list(value)
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError("a setting that is not plain")
    return value


def _encoded(value: Any) -> dict[str, Any]:
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
