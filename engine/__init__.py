"""mp3restore's engine: the restoration chain, usable without a terminal, and from Python (:mod:`engine.api`).

Floors (a file imports only from its own floor or below; ``tests/test_house.py`` watches over it):
``api, commands`` → ``compare`` → ``player`` → ``run`` → ``library`` → ``planning`` → ``stages`` → ``models`` →
``analysis`` → ``dsp`` → ``audio`` → ``machine`` → ``files`` → ``errors`` → ``names, plain_data, signals, text``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api import Restored, Sound, Variant, apply_stage, restore, separate

__all__ = ["Restored", "Sound", "Variant", "apply_stage", "restore", "separate"]

# Songs are worked on side by side, and each then wants all cores for its matrix products: they wait for one another
# longer than they compute (a third of a short song's time). One thread also gives the same samples on every machine.
# NumPy reads this when it is loaded; whoever sets it otherwise is obeyed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What is for everybody, loaded when it is asked for: the command line must not wait for it."""
    if name in __all__:
        from engine import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
