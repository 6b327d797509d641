"""The published checkpoint and our compact form of it. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from engine.errors import NotPossibleError
from engine.models.audiosr.network import AudioSR, compact, parts_of
from engine.models.runtime import checkpoint as checkpoints
from engine.models.runtime.checkpoint import MISFITS, for_torch, read

_KIND = "AudioSR, what inference needs"


def write_compact(checkpoint: Path, path: Path, *, half: bool = False) -> None:
    """See :func:`engine.models.audiosr.convert`. Nothing that is pickled in the checkpoint is run."""
    found = read(checkpoint)
    try:
        kept = compact(for_torch(found.tensors()))
        AudioSR(*parts_of(kept))
    except MISFITS as error:
        raise NotPossibleError(f"{checkpoint.name} is not AudioSR's checkpoint: get it again.") from error
    checkpoints.write(path, {name: _stored(value, half) for name, value in kept.items()}, {"kind": _KIND})


def _stored(value: torch.Tensor, half: bool) -> torch.Tensor:
    return value.to(torch.float16 if half and value.ndim else torch.float32)


def check_compact(path: Path) -> None:
    """See :func:`engine.models.audiosr.check`."""
    _tensors(path)


def _tensors(path: Path) -> Mapping[str, torch.Tensor]:
    found = read(path)
    if found.facts.get("kind") != _KIND:
        raise NotPossibleError(f"{path.name} is not AudioSR in the form that this program keeps it in: get it again.")
    return for_torch(found.tensors())


def load(path: Path, device: str) -> AudioSR:
    """The model, in single precision. Raises NotPossibleError where the file is something else."""
    try:
        model = AudioSR(*parts_of({name: value.float() for name, value in _tensors(path).items()}))
    except MISFITS as error:
        raise NotPossibleError(f"{path.name} is damaged: run 'mp3restore models get {path.stem}' again.") from error
    return model.eval().requires_grad_(False).to(device)
