"""Files of the user's that a recipe names: known by their content, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from engine.errors import NotPossibleError
from engine.files import absolute


def content_of(path: str, hashed: Callable[[Path], str], missing: str) -> str:
    """What ``hashed`` makes of what lies there; it is asked anew when size or time have changed.

    Raises:
        NotPossibleError: nothing lies there; its text is ``missing``. What else ``hashed`` raises comes through.
    """
    try:
        place = absolute(path)
        status = place.stat()
        return _content(hashed, place, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError, RuntimeError) as error:
        raise NotPossibleError(missing) from error


@lru_cache(32)
def _content(hashed: Callable[[Path], str], path: Path, size: int, modified: int) -> str:
    return hashed(path)
