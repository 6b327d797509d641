"""The kinds of hostile input: what a case is, how it is tried, and what all of them need."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from tests.hostile.texts import unsafe
from tests.hostile.watched import Case

KINDS: dict[str, tuple[int, Callable[[Random, Path], str]]] = {}  # the cases of a whole campaign, and one of them
_SLOW = 30.0  # seconds that no input may take


def kind(count: int) -> Callable[[Callable[[Random, Path], str]], Callable[[Random, Path], str]]:
    """Of which the campaign has ``count`` cases."""

    def kept(make: Callable[[Random, Path], str]) -> Callable[[Random, Path], str]:
        KINDS[make.__name__.replace("_", "-")] = count, make
        return make

    return kept


def try_one(case: Case) -> str:
    """Make the case and have the program at it; what is wrong, or empty."""
    draw = Random(f"{case.kind}/{case.number}")
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        began = time.monotonic()
        wrong = KINDS[case.kind][1](draw, folder)
        took = time.monotonic() - began
        return wrong or (f"it took {took:.1f} s" if took > _SLOW else "")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shown(*texts: str) -> str:
    """What is wrong with texts that go to a screen as they are."""
    return next((f"{bad} on a screen: {one!r:.300}" for one in texts if (bad := unsafe(one))), "")


@cache
def home() -> Path:
    """A folder of this process, with settings of nobody."""
    home = Path(tempfile.mkdtemp(prefix="hostile-home-"))
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        os.environ[name] = str(home)
    return home
