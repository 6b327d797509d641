"""What every downloaded model needs: why it cannot be used here, what identifies it, and its network, loaded once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from engine.errors import NotPossibleError
from engine.models.runtime import device as devices
from engine.models.runtime import weights
from engine.models.runtime.weights import Weights


def unavailable_reason(name: str, file: Weights, *more_packages: str, hint: str = "") -> str:
    """Empty where the model ``name`` can be used, else one sentence; ``hint`` follows the command that gets it."""
    if any(importlib.util.find_spec(package) is None for package in ("torch", *more_packages)):
        return f"{name} needs PyTorch: run 'mp3restore setup'."
    if weights.find(file) is None:
        return f"The model of {name} is not here: run 'mp3restore models get {file.key}'{hint}."
    return ""


def fingerprint(files: tuple[Weights, ...], why: str) -> str:
    """What decides the weights. Raises NotPossibleError with ``why`` the model cannot be used, where it cannot."""
    if why:
        raise NotPossibleError(why)
    return " ".join(weights.fingerprint(file) for file in files)


def borrowed(
    file: Weights, why: Callable[[], str], device: str, load: Callable[[Path], Any], *, room: int = 1
) -> AbstractContextManager[Any]:
    """The network of ``file`` on ``device``, for this thread alone (see :func:`engine.models.runtime.device.borrowed`).

    It takes ``room`` times the file's size. Raises NotPossibleError with ``why()`` where the file is not here.
    """
    path = weights.find(file)
    if path is None:
        raise NotPossibleError(why())
    status = path.stat()
    return devices.borrowed((path, status.st_mtime_ns), device, room * status.st_size, lambda: load(path))
