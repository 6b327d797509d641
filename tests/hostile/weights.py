"""Files of weights that are damaged, lie, or are programs."""

from __future__ import annotations

import builtins
import importlib.util
import os
import pickle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from engine.errors import RestoreError
from engine.models.runtime.cards import identified
from engine.models.runtime.checkpoint import read
from engine.models.spleeter.tf_checkpoint import CheckpointError, read_checkpoint
from tests.hostile.kinds import kind, shown
from tests.hostile.mutations import damaged
from tests.hostile.texts import text
from tests.models.tf_checkpoints import tf_checkpoint

# --- weights ---------------------------------------------------------------------------------------------------


_HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "safetensors"))  # the extra "ai"


class _Runs:
    """What runs code where a pickle is loaded by Python itself."""

    def __init__(self, draw: Random, place: Path) -> None:
        orders = f"open({str(place)!r}, 'w')"
        self.made = draw.choice(
            ((os.system, (f"touch {place}",)), (builtins.eval, (orders,)), (builtins.exec, (orders,)), (os.mkdir, (str(place),)),
             (builtins.open, (str(place), "w")), (builtins.__import__, ("antigravity",)))
        )  # fmt: skip

    def __reduce__(self) -> Any:
        return self.made


@kind(1000 if _HAS_TORCH else 0)
def checkpoints(draw: Random, folder: Path) -> str:
    """safetensors, PyTorch's zip and older pickles, TensorFlow's: damaged, made to run code, or lies about sizes."""
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    place = folder / "it-ran"
    name, ending = (
        draw.choice(("x", "[red]x", "x\x1b[31m")),
        draw.choice((".pt", ".ckpt", ".th", ".safetensors", ".bin")),
    )
    path = folder / f"{name}{ending}"
    state: dict[str, Any] = {f"{text(draw, 1).replace(chr(0xD800), '')}.{i}": torch.ones(3, 4) for i in range(3)}
    which = draw.randrange(4)
    if which == 0:
        save_file(
            {name.encode("utf-8", "replace").decode(): tensor.clone() for name, tensor in state.items()},
            path,
            {"a": "[red]\x1b[2J"},
        )
    elif which == 1:
        path.write_bytes(pickle.dumps({"state_dict": state, "evil": _Runs(draw, place)}, protocol=draw.randrange(5)))
    else:
        content = {"state_dict": state, draw.choice(("evil", "state")): _Runs(draw, place)}
        torch.save(content, path, _use_new_zipfile_serialization=which == 2)
    if draw.random() < 0.6:
        path.write_bytes(damaged(draw, path.read_bytes(), draw.choice((0, 200))))
    said = []
    try:
        found = read(path)
        total = sum(tensor.array().nbytes for tensor in found.tensors().values())
        if total > 50e6:
            return f"a small file became {total} bytes"
    except (RestoreError, ValueError) as error:
        said.append(str(error))
    said.append(identified(path))
    return "it ran" if place.exists() else shown(*said)


@kind(300)
def tensorflow_checkpoints(draw: Random, folder: Path) -> str:
    """The two files of a TensorFlow checkpoint."""
    whole = tf_checkpoint({f"conv2d_{i}/kernel": np.ones((2, 2, 1, 3), np.float32) for i in range(4)})
    index, data = (damaged(draw, part) if draw.random() < 0.8 else part for part in whole)
    try:
        found = read_checkpoint(index, data)
    except CheckpointError as error:
        return shown(str(error))
    return "too much" if sum(a.nbytes for a in found.values()) > 1 << 20 else ""
