"""How long stages take on this machine: guesses, corrected by what was seen, and remembered."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from engine.errors import NotPossibleError
from engine.files import write_json
from engine.stages.base import Stage

_NOTICED = 1.0  # times the playing time; what is faster is not worth remembering
_SHORTEST = 3.0  # seconds of audio from which on something can be learnt
_lock = threading.Lock()


def _memory() -> Path:
    return user_cache_path("mp3restore", appauthor=False) / "costs.json"


def _known() -> dict[str, float]:
    with suppress(OSError, ValueError, AttributeError):
        return {str(k): float(v) for k, v in json.loads(_memory().read_text("utf-8")).items()}
    return {}


def _key(stage: Stage, params: Any, device: str) -> str:
    """Another model is another matter; other parameters only scale the guess."""
    try:
        model = json.dumps(stage.fingerprint(params), sort_keys=True)
    except (NotPossibleError, OSError):
        model = ""
    return f"{stage.name} on {device} ({hashlib.sha256(model.encode()).hexdigest()[:8]})"


def factor(stage: Stage, params: Any, device: str) -> float:
    """Seconds of work per second of audio."""
    guess = stage.cost_of(params, device)
    return guess * _known().get(_key(stage, params, device), 1.0) if guess >= _NOTICED else guess


def learn(stage: Stage, params: Any, device: str, audio: float, seconds: float) -> None:
    """``seconds`` were needed for ``audio`` seconds, from the first chunk to the last."""
    guess = stage.cost_of(params, device)
    if guess < _NOTICED or audio < _SHORTEST:
        return
    with _lock, suppress(OSError):
        write_json(_memory(), {**_known(), _key(stage, params, device): round(seconds / audio / guess, 4)})
