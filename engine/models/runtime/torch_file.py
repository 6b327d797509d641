"""Reading what torch.save wrote, without running anything that is pickled in it. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def read_state(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name, mapped from the disk where the format allows.

    Raises:
        ValueError: it is no checkpoint, or a damaged one.
        OSError: it cannot be read.
    """
    try:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # an older format, which cannot be mapped
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        return dict(loaded.get("state_dict", loaded))
    except (OSError, MemoryError) as error:
        if isinstance(error, MemoryError) or error.errno is not None:
            raise
        raise ValueError(str(error)) from error
    except Exception as error:  # the reader meets bytes that nobody vouches for: anything can go wrong
        raise ValueError(f"{type(error).__name__}: {error}") from error
