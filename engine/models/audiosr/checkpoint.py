"""The published checkpoint and our compact form of it. Imports torch."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from engine.errors import NotPossibleError
from engine.models.audiosr.network import AudioSR, compact, parts_of
from engine.models.runtime.torch_file import read_state

_KIND = "AudioSR, what inference needs"


def write_compact(checkpoint: Path, path: Path, *, half: bool = False) -> None:
    """See :func:`engine.models.audiosr.convert`. Nothing that is pickled in the checkpoint is run."""
    try:
        kept = compact(read_state(checkpoint))
        AudioSR(*parts_of(kept))
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise NotPossibleError(f"{checkpoint.name} is not AudioSR's checkpoint: get it again.") from error
    temporary = path.with_name(f"{path.name}.making")
    try:
        save_file({k: _stored(v, half) for k, v in kept.items()}, temporary, {"kind": _KIND})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored(value: torch.Tensor, half: bool) -> torch.Tensor:
    return value.to(torch.float16 if half and value.ndim else torch.float32).contiguous().clone()


def check_compact(path: Path) -> None:
    """See :func:`engine.models.audiosr.check`."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("kind") == _KIND:
                return
    except (SafetensorError, ValueError):
        pass
    raise NotPossibleError(f"{path.name} is not AudioSR in the form that this program keeps it in: get it again.")


def load(path: Path, device: str) -> AudioSR:
    """The model, in single precision. Raises NotPossibleError where the file is something else."""
    check_compact(path)
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        model = AudioSR(*parts_of(state))
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise NotPossibleError(f"{path.name} is damaged: run 'mp3restore models get {path.stem}' again.") from error
    return model.eval().requires_grad_(False).to(device)
