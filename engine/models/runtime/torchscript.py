"""The weights in a TorchScript file, read without running anything that is in it.

Such a file is a zip archive: ``*/data.pkl`` is a pickle of the module and its attributes, ``*/data/N`` are the raw
storages. Loading it with PyTorch would run its code; here only containers and tensors are taken out.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import NotPossibleError

_DTYPES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "BoolStorage": np.bool_, "ByteStorage": np.uint8,
}  # fmt: skip
_MOST_BYTES = 1 << 30


@dataclass
class _Module:
    """Stands for an object of a class that only the archive knows."""

    attributes: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


@dataclass(frozen=True)
class _Storage:
    dtype: Any


def _rebuild_tensor(
    storage: npt.NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> npt.NDArray[Any]:
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else offset
    if offset < 0 or last >= max(1, len(storage)) or any(s < 0 for s in stride):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    strides = tuple(s * storage.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


def _first(value: Any, *_: Any) -> Any:
    return value


class _Reader(pickle.Unpickler):
    """Knows modules, tensors and plain containers; anything else in a pickle is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _Storage(_DTYPES[name])
        if module == "torch.jit._pickle":  # lists with a type, such as a convolution's stride
            return _first
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a file of weights")

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        kind, storage, key = pid[0], pid[1], str(pid[2])
        if kind != "storage" or not isinstance(storage, _Storage) or not key.isalnum():
            raise pickle.UnpicklingError("an unknown kind of reference")
        return np.frombuffer(self._archive.read(f"{self._root}/data/{key}"), storage.dtype)


def read_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All tensors of the module in ``path``, by their dotted names.

    Raises:
        NotPossibleError: it is no TorchScript file, or holds something else than weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > _MOST_BYTES:
                raise pickle.UnpicklingError("it is far too large")
            root = next(n.removesuffix("/data.pkl") for n in archive.namelist() if n.endswith("/data.pkl"))
            module = _Reader(archive, root).load()
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, StopIteration, KeyError, EOFError, ValueError,
            TypeError, AttributeError, IndexError) as error:  # fmt: skip
        raise NotPossibleError(f"{path.name} holds no model that can be read ({error}): get it again.") from error
    found: dict[str, npt.NDArray[Any]] = {}
    _collect(module, "", found)
    return found


def _collect(value: Any, name: str, found: dict[str, npt.NDArray[Any]]) -> None:
    if isinstance(value, np.ndarray):
        found[name] = value
    elif isinstance(value, _Module):
        for key, item in value.attributes.items():
            _collect(item, f"{name}.{key}" if name else str(key), found)
