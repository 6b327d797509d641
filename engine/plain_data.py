"""Plain data that was read from a file nobody vouches for, as what it should be."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_known: set[type] = set()  # kinds that msgspec has looked at
_looking = threading.Lock()


def as_kind(data: Any, kind: type[T]) -> T | None:
    """``data`` (dicts, lists, texts, numbers) as a ``kind``, whose annotations say what it may hold; None where it
    cannot be one."""
    if kind not in _known:
        # What msgspec finds out of a class it keeps in it, at first half done: another thread that meets it so, also
        # within another class, has its process end with a segmentation fault.
        with _looking:
            found = _convert(data, kind)
            _known.add(kind)
            return found
    return _convert(data, kind)


def _convert(data: Any, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeError):  # the second: JSON can hold half of a character
        return None
