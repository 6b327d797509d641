"""How long stages take on this machine: guesses, corrected by what was seen, and remembered."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from engine.errors import NotPossibleError
from engine.machine import measurements
from engine.stages.base import Stage

_NOTICED = 1.0  # times the playing time; what is faster is not worth remembering
_SHORTEST = 3.0  # seconds of audio from which on something can be learnt


def _key(stage: Stage, params: Any, device: str) -> str:
    """Another model is another matter; other parameters only scale the guess."""
    try:
        model = json.dumps(stage.fingerprint(params), sort_keys=True)
    except (NotPossibleError, OSError):
        model = ""
    return f"speed of {stage.name} on {device} ({hashlib.sha256(model.encode()).hexdigest()[:8]})"


def factor(stage: Stage, params: Any, device: str) -> float:
    """Seconds of work per second of audio."""
    guess = stage.cost_of(params, device)
    if guess < _NOTICED and device == "cpu":
        return guess
    return guess * (measurements.recall(_key(stage, params, device)) or 1.0)


def learn(stage: Stage, params: Any, device: str, audio: float, seconds: float) -> None:
    """``seconds`` were needed for ``audio`` seconds, from the first chunk to the last."""
    guess = stage.cost_of(params, device)
    if audio >= _SHORTEST and (guess >= _NOTICED or device != "cpu"):
        measurements.remember(_key(stage, params, device), round(seconds / audio / guess, 4))
