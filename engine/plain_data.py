"""Plain data that was read from a file nobody vouches for, as what it should be."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def as_kind(data: Any, kind: type[T]) -> T | None:
    """``data`` (dicts, lists, texts, numbers) as a ``kind``, whose annotations say what it may hold; None where it
    cannot be one."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeError):  # the second: JSON can hold half of a character
        return None
