"""Finished chunks of a task on disk."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio


class ChunkCache:
    """Finished chunks of one task on disk, as float32 arrays. They are lost to no crash."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder / fingerprint[:16]
        if folder.is_dir():
            for other in folder.iterdir():
                if other.is_dir() and other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)

    def load(self, index: int, shape: tuple[int, int]) -> Audio | None:
        """The chunk, or None where it is not there or not whole."""
        try:
            chunk = np.load(self._folder / f"{index:06d}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return chunk if chunk.shape == shape and chunk.dtype == np.float32 else None

    def save(self, index: int, chunk: Audio) -> None:
        """Keep the chunk: on disk before it has its name. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{index:06d}.npy"
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                np.save(file, chunk, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def drop(self) -> None:
        """Throw the chunks away."""
        shutil.rmtree(self._folder, ignore_errors=True)
