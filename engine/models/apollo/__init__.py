"""Apollo: restores what a codec damaged, over the whole band, at 44.1 kHz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.models.runtime import device as devices
from engine.models.runtime import loading
from engine.models.runtime.weights import Weights

RATE = 44100
EDGE = RATE // 2  # frames at both ends of what the model is given whose result cannot be used
WEIGHTS = Weights(
    key="apollo", filename="apollo.bin", repo="JusperLee/Apollo", hub_filename="pytorch_model.bin", size=66_000_000
)
_ACTIVATIONS = 60_000_000  # bytes that a second of one channel takes at its worst


def why_not_possible() -> str:
    """Empty where the model can be used, else one sentence."""
    return loading.why_not_possible("Apollo", WEIGHTS)


def fingerprint() -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint((WEIGHTS,), why_not_possible())


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not a checkpoint of Apollo (of whatever width)."""
    from engine.models.apollo.network import load

    load(path, "cpu")


def batch(device: str, seconds: float) -> int:
    """How many windows of stereo of so many seconds fit on the device at once."""
    return devices.batch_that_fits(device, "apollo", int(2 * seconds * _ACTIVATIONS), 16)


def restore(windows: list[Audio], device: str, precision: str, tell: Callable[[str], None]) -> list[Audio]:
    """Each ``(frames, channels)`` at 44.1 kHz restored; :data:`EDGE` frames at both ends are of no use.

    ``tell`` hears of every step down the ladder of memory.

    Raises:
        NotPossibleError: the model is not here, is not what it should be, or there is too little memory.
    """

    def work(some: list[Audio], how: devices.Attempt) -> list[Audio]:
        from engine.models.apollo.network import load, restored

        with loading.borrowed(WEIGHTS, why_not_possible, how.device, lambda path: load(path, how.device)) as model:
            arithmetic = devices.precision(
                how.device, precision, lambda kind: restored(model, some[0].T[:1, :RATE], how.device, kind)
            )

            def run(rows: Audio) -> Audio:
                return restored(model, rows.T, how.device, arithmetic).T

            if how.short:
                return [devices.in_halves(run, audio, EDGE) for audio in some]
            with devices.measured(how.device, "apollo", len(some)):
                made = run(np.concatenate(_alike(some), axis=1))
        ends = np.cumsum([audio.shape[1] for audio in some])[:-1]
        return [part[: len(audio)] for part, audio in zip(np.split(made, ends, axis=1), some, strict=True)]

    return devices.down_the_ladder(work, windows, device, tell)


def _alike(windows: list[Audio]) -> list[Audio]:
    """Windows of one length: the last one of a song is shorter."""
    longest = max(map(len, windows))
    return [np.pad(audio, ((0, longest - len(audio)), (0, 0))) for audio in windows]
