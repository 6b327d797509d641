"""Figures that were measured on this machine and are remembered: one small file in the user's cache."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from engine.files import read_json, write_json

_lock = threading.Lock()
_MOST = 1e12  # no figure is larger


def path() -> Path:
    """Where they lie."""
    return user_cache_path("mp3restore", appauthor=False) / "measured.json"


def recall(name: str) -> float | None:
    """The figure of that name, where there is one."""
    return _all().get(name)


def remember(name: str, value: float) -> None:
    """Keep a figure; a disk that does not take it is no reason to stop."""
    with _lock, suppress(OSError):
        write_json(path(), {**_all(to_change=True), name: value})


def _all(*, to_change: bool = False) -> dict[str, float]:
    found = read_json(path(), to_change=to_change) or {}
    return {name: float(value) for name, value in found.items() if type(value) in (int, float) and 0 <= value < _MOST}
