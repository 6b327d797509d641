"""Spleeter's network run by numpy: a U-Net on magnitudes, per stem.

Hennequin, Khlif, Voituret, Moussallam, "Spleeter: a fast and efficient music source separation tool with pre-trained
models", JOSS 5(50), 2020; the U-Net is that of Jansson et al., ISMIR 2017. Convolutions are matrix products over
unfolded windows; where the stride is two, transposed ones are four small convolutions, one for each parity.

Arrays are float32 ``(frames, bins, channels)``: frames of the spectrogram, not of the signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.models.spleeter.tf_checkpoint import Array

Activation = Literal["relu", "elu"]
_EPSILON = 1e-3  # of the batch normalisation
_DEPTH = 6
_KERNEL = 5
_UNFOLDED = 32_000_000  # bytes of unfolded windows at a time: what stays near the processor is quicker


@dataclass(frozen=True)
class _Convolution:
    """``kernel`` is ``(height, width, in, out)``; of transposed ones ``(height, width, out, in)``."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class _Normalisation:
    """Batch normalisation as one factor and one shift per channel."""

    factor: Array
    shift: Array

    def __call__(self, x: Array) -> Array:
        return x * self.factor + self.shift


class UNet:
    """One stem's network; ``number`` is the stem's place among those of the checkpoint."""

    def __init__(self, variables: dict[str, Array], number: int, activation: Activation) -> None:
        """Take the stem's variables.

        Raises:
            KeyError: one of them is missing.
            ValueError: one of them has another shape than it should have, or holds what is no number.
        """
        first = number * (_DEPTH + 1)
        self._down = [_convolution(variables, "conv2d", first + i) for i in range(_DEPTH)]
        self._up = [_convolution(variables, "conv2d_transpose", number * _DEPTH + i) for i in range(_DEPTH)]
        self._mask = _convolution(variables, "conv2d", first + _DEPTH)
        self._norms = [_normalisation(variables, number * 2 * _DEPTH + i) for i in range(2 * _DEPTH)]
        self._elu = activation == "elu"
        self._check()

    def _check(self) -> None:
        channels, skips = 2, []
        for layer in self._down:
            if layer.kernel.shape[:3] != (_KERNEL, _KERNEL, channels):
                raise ValueError("a convolution has another shape")
            channels = layer.kernel.shape[3]
            skips.append(channels)
        skips.pop()
        for layer in self._up:
            if layer.kernel.shape[:2] != (_KERNEL, _KERNEL) or layer.kernel.shape[3] != channels:
                raise ValueError("a transposed convolution has another shape")
            channels = layer.kernel.shape[2] + (skips.pop() if skips else 0)
        if channels != self._mask.kernel.shape[2] or self._mask.kernel.shape[3] != 2:
            raise ValueError("the last convolution has another shape")
        convolutions = [array for layer in (*self._down, *self._up, self._mask) for array in (layer.kernel, layer.bias)]
        norms = [array for norm in self._norms for array in (norm.factor, norm.shift)]
        if not all(np.isfinite(array).all() for array in (*convolutions, *norms)):
            raise ValueError("a weight is no number")

    def logits(self, magnitude: Array) -> Array:
        """The mask before its sigmoid: ``(frames, bins, 2)`` of the same; both multiples of 64."""
        x, skips = magnitude, []
        for layer, norm in zip(self._down, self._norms[:_DEPTH], strict=True):
            raw = _halved(x, layer)
            skips.append(raw)
            x = self._leak(norm(raw))
        x = skips.pop()  # the deepest one goes on as it is, without norm and activation
        for layer, norm in zip(self._up, self._norms[_DEPTH:], strict=True):
            x = norm(self._rectified(_doubled(x, layer)))
            if skips:
                x = np.concatenate([skips.pop(), x], axis=2)
        return _dilated(x, self._mask)

    def spectrogram(self, magnitude: Array) -> Array:
        """The stem's magnitudes ``(frames, bins, 2)``, before the masks of all stems are balanced."""
        return _sigmoid(self.logits(magnitude)) * magnitude

    def _leak(self, x: Array) -> Array:
        return _elu(x) if self._elu else np.maximum(x, np.float32(0.2) * x)

    def _rectified(self, x: Array) -> Array:
        return _elu(x) if self._elu else np.maximum(x, np.float32(0))


def _name(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _convolution(variables: dict[str, Array], kind: str, number: int) -> _Convolution:
    name = _name(kind, number)
    kernel, bias = variables[f"{name}/kernel"], variables[f"{name}/bias"]
    if kernel.ndim != 4 or bias.shape != (kernel.shape[2 if "transpose" in kind else 3],):
        raise ValueError(f"{name} has another shape")
    return _Convolution(np.ascontiguousarray(kernel), bias)


def _normalisation(variables: dict[str, Array], number: int) -> _Normalisation:
    name = _name("batch_normalization", number)
    factor = variables[f"{name}/gamma"] / np.sqrt(variables[f"{name}/moving_variance"] + np.float32(_EPSILON))
    return _Normalisation(factor, variables[f"{name}/beta"] - variables[f"{name}/moving_mean"] * factor)


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, np.float32(0))))


def _sigmoid(x: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-np.clip(x, -80, 80)))


def _halved(x: Array, layer: _Convolution) -> Array:
    """A convolution with stride two and as many zeros around as give half the size (one before, two behind)."""
    padded = np.pad(x, ((1, 2), (1, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_KERNEL, _KERNEL), (0, 1))[::2, ::2]
    return _products(windows, layer.kernel, layer.bias)


def _dilated(x: Array, layer: _Convolution) -> Array:
    """A convolution that looks at every other place and keeps the size."""
    height, width = layer.kernel.shape[:2]
    padded = np.pad(x, ((height - 1,) * 2, (width - 1,) * 2, (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * height - 1, 2 * width - 1), (0, 1))
    return _products(views[..., ::2, ::2], layer.kernel, layer.bias)


def _doubled(x: Array, layer: _Convolution) -> Array:
    """A transposed convolution with stride two that doubles the size.

    Place ``2i + a`` of the result is reached from the input by the kernel's taps of one parity: three of them (at
    ``a = 1``: 0, 2, 4) or two (1, 3). So it is four ordinary convolutions, one for each pair of parities.
    """
    frames, bins, _ = x.shape
    made = np.empty((2 * frames, 2 * bins, layer.kernel.shape[2]), np.float32)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    for vertical in (0, 1):
        for horizontal in (0, 1):
            rows, columns = _taps(vertical), _taps(horizontal)
            kernel = layer.kernel[rows][:, columns].transpose(0, 1, 3, 2)
            # The taps run against the input: the first one belongs to the last place of the window.
            part = padded[_span(vertical, frames), _span(horizontal, bins)]
            windows = np.lib.stride_tricks.sliding_window_view(part, (len(rows), len(columns)), (0, 1))
            made[vertical::2, horizontal::2] = _products(windows, np.ascontiguousarray(kernel), layer.bias)
    return made


def _taps(parity: int) -> list[int]:
    """The kernel's taps that reach a place of that parity, in the order of the input's places."""
    return [3, 1] if parity == 0 else [4, 2, 0]


def _span(parity: int, size: int) -> slice:
    """The places of the padded input that those taps look at: from one before (at parity 1 to one behind)."""
    return slice(0, size + 1) if parity == 0 else slice(0, size + 2)


def _products(windows: Array, kernel: Array, bias: Array) -> Array:
    """``windows`` ``(rows, columns, in, height, width)`` times ``kernel`` ``(height, width, in, out)``, in strips."""
    rows, columns, channels, height, width = windows.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(channels * height * width, -1)
    made = np.empty((rows, columns, matrix.shape[1]), np.float32)
    strip = max(1, _UNFOLDED // (columns * matrix.shape[0] * 4))
    for first in range(0, rows, strip):
        unfolded = windows[first : first + strip].reshape(-1, matrix.shape[0])
        made[first : first + strip] = (unfolded @ matrix).reshape(-1, columns, matrix.shape[1])
    made += bias
    return made
