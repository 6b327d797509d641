"""The mixes that a listener made of a song and wants to keep: by the variant that is made with them.

They lie beside the listener's verdicts. What a variant's remix is made with for this song is the recipe's mix with the
kept one over it: the variant, and what builds on it, is made anew when that changes, and stays done when it does not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.dsp.mix import LEVELS, Mix, Strip
from engine.files import remove
from engine.library.state_file import read_checked, write_checked
from engine.plain_data import as_kind
from engine.signals import RESIDUAL, STEMS

_FILE = "mix.json"
_FORMAT = 1


def read_mixes(folder: Path, *, to_change: bool = False) -> dict[str, dict[str, Strip]]:
    """The kept mixes in ``folder``, by variant; none where there are none, or where they are damaged.

    ``to_change``: raises OSError where there are some that cannot be read.
    """
    data = read_checked(folder / _FILE, 0, to_change=to_change)
    found = as_kind((data or {}).get("mixes", {}), dict[str, dict[str, Strip]])
    return found if found and all(map(_is_possible, found.values())) else {}


def _is_possible(mix: Mix) -> bool:
    return all(
        name in (*STEMS, RESIDUAL) and LEVELS[0] <= strip.db <= LEVELS[1] and -1 <= strip.pan <= 1
        and math.isfinite(strip.db) and math.isfinite(strip.pan)
        for name, strip in mix.items()
    )  # fmt: skip


def keep_mix(folder: Path, variant: str, mix: Mix) -> None:
    """Keep ``mix`` for the variant; without a stem in it, the recipe's mix is taken again. Raises OSError."""
    mixes: dict[str, Mapping[str, Strip]] = {**read_mixes(folder, to_change=True), variant: mix}
    kept: dict[str, Any] = {
        name: {stem: dataclasses.asdict(strip) for stem, strip in strips.items()}
        for name, strips in mixes.items() if strips
    }  # fmt: skip
    if kept:
        write_checked(folder / _FILE, {"format": _FORMAT, "mixes": kept})
    else:
        remove(folder / _FILE, folder)
