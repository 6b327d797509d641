"""The network, run by numpy: dilated convolutions over time, what the song says, three answers per band."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from engine.models.restorer.bands import COUNT
from engine.models.restorer.features import FLOOR_DB, Array, Moments

DILATIONS = (1, 2, 4, 8)
TAPS = 3
#: Spectra on both sides that an answer depends on, beyond those that the features do.
REACH = TAPS // 2 * (1 + sum(DILATIONS))
LEVEL_UNIT, FLATNESS_UNIT = 20.0, 5.0
#: In level units against the loudness of the moment: a band that is empty now may not be so in the next.
LEAST_KNOWN = np.float32(-2.25)


@dataclass(frozen=True)
class Answer:
    """What the network believes of the original, per moment, channel and band: ``(time, channels, COUNT)``.

    ``level`` in dB per bin up to which an empty bin is to be filled, ``flatness`` in dB (mean logarithm less
    logarithm of the mean; white noise has -2.5), ``doubt`` in dB, the error that it expects of ``level``.
    """

    level: Array
    flatness: Array
    doubt: Array


class Network:
    """Weights and what they compute."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights

    def __call__(self, moments: Moments, song: Array) -> Answer:
        """``song`` is :meth:`engine.models.restorer.features.SongMeter.facts`; channels are heard one by one."""
        told = self._dense("told", _relu(self._dense("song", song)))
        parts = [self._channel(moments.values[:, c], told) for c in range(moments.values.shape[1])]
        raw = np.stack(parts, axis=1)
        level, flatness, doubt = raw[..., :COUNT], raw[..., COUNT : 2 * COUNT], raw[..., 2 * COUNT :]
        known = np.maximum(moments.values[..., :COUNT], LEAST_KNOWN)  # told against what is there, on both sides
        return Answer(
            np.maximum((level + known) * LEVEL_UNIT + moments.loudness, FLOOR_DB - 20),
            np.minimum(flatness * FLATNESS_UNIT, 0),
            np.exp(np.clip(doubt, -3, 2)) * np.float32(LEVEL_UNIT),
        )

    def _channel(self, values: Array, told: Array) -> Array:
        hidden = _relu(self._convolve("first", values, 1) + told)
        for index, dilation in enumerate(DILATIONS):
            hidden = hidden + _relu(self._convolve(f"layer{index}", hidden, dilation))
        return self._dense("last", hidden)

    def _dense(self, name: str, values: Array) -> Array:
        return values @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _convolve(self, name: str, values: Array, dilation: int) -> Array:
        """Kernel ``(TAPS, inputs, outputs)``, silence beyond the ends."""
        kernel = self._weights[f"{name}.weight"]
        padded = np.pad(values, ((dilation * (TAPS // 2),) * 2, (0, 0)))
        out = np.tile(self._weights[f"{name}.bias"], (len(values), 1))
        for tap in range(TAPS):
            out += padded[tap * dilation : tap * dilation + len(values)] @ kernel[tap]
        return out


def _relu(values: Array) -> Array:
    return np.maximum(values, 0, out=values)


def _stored() -> bytes:
    return resources.files("engine.models.restorer").joinpath("weights.npz").read_bytes()


def is_here() -> bool:
    """Whether this version carries weights (``python -m training.make`` makes them)."""
    return resources.files("engine.models.restorer").joinpath("weights.npz").is_file()


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """What tells these weights from others."""
    return hashlib.sha256(_stored()).hexdigest()[:16]


@lru_cache(maxsize=1)
def load() -> Network:
    """The network with the weights that come with the program."""
    with np.load(io.BytesIO(_stored()), allow_pickle=False) as stored:
        return Network({name: stored[name].astype(np.float32) for name in stored.files})
