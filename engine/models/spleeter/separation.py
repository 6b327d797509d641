"""From a window of the signal to its stems: spectrogram, a U-Net per stem, soft masks, back.

The masks are Spleeter's own (power two of the stems' magnitudes over their sum); they reach up to 11 kHz. Above,
the published setting silences every stem, which ruins them for restoring; here the mean of the mask's upper bins
goes on to the top, so that the stems still add up to the song.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.models.spleeter.network import Activation, UNet
from engine.models.spleeter.tf_checkpoint import Array

RATE = 44100
FFT = 4096
HOP = 1024
BINS = 1024  # of 2049: what the networks look at, up to 11 kHz
FRAMES = 512  # of the spectrogram, in one piece: what the networks were trained on
PIECE = FRAMES * HOP  # frames of the signal
_UPPER = 256  # bins below 11 kHz (the highest 2.8 kHz) whose mean goes on above
_EPSILON = np.float32(1e-10)
_WINDOW = np.hanning(FFT + 1)[:-1].astype(np.float32)
_OVERLAP_SUM = np.float32(1.5)  # of squared Hann windows at a quarter's hop

Spectrum = npt.NDArray[np.complex64]  # (frames, bins, channels)


@dataclass(frozen=True)
class Model:
    """A published configuration: its stems in the order of the checkpoint, and how its networks differ."""

    stems: tuple[str, ...]
    activation: Activation
    softmax: bool  # the masks of the networks compete before they are balanced


MODELS = {
    "spleeter-2stems": Model(("vocals", "accompaniment"), "relu", False),
    "spleeter-4stems": Model(("vocals", "drums", "bass", "other"), "elu", False),
    "spleeter-5stems": Model(("vocals", "piano", "drums", "bass", "other"), "elu", True),
}


class Separator:
    """The networks of one model, ready to be used."""

    def __init__(self, model: Model, variables: dict[str, Array]) -> None:
        """Take the variables of a checkpoint. Raises KeyError or ValueError where they are another model's."""
        self.model = model
        self._networks = [UNet(variables, number, model.activation) for number in range(len(model.stems))]

    def separate(self, window: Array) -> dict[str, Array]:
        """The stems of ``(frames, 2)`` at 44.1 kHz, each of that shape; at most :data:`PIECE` frames.

        The outer :data:`FFT` frames of a window inside a song are only half there: leave them out.
        """
        spectrum = _spectrum(window)
        masks = self.masks(np.abs(spectrum[:, :BINS]))
        return {
            stem: _signal(spectrum * _extended(mask[: len(spectrum)]), len(window))
            for stem, mask in zip(self.model.stems, masks, strict=True)
        }

    def masks(self, magnitude: Array) -> list[Array]:
        """Soft masks (0 to 1) for ``(<= FRAMES, BINS, 2)``, each of :data:`FRAMES` frames; they sum to one."""
        padded = np.zeros((FRAMES, BINS, 2), np.float32)
        padded[: len(magnitude)] = magnitude
        if self.model.softmax:
            logits = [network.logits(padded) for network in self._networks]
            highest = np.maximum.reduce(logits)
            weights = [np.exp(logit - highest) for logit in logits]
            total = np.add.reduce(weights)
            made = [weight / total * padded for weight in weights]
        else:
            made = [network.spectrogram(padded) for network in self._networks]
        powers = [stem * stem for stem in made]
        total = np.add.reduce(powers) + _EPSILON
        return [(power + _EPSILON / len(powers)) / total for power in powers]


def _spectrum(window: Array) -> Spectrum:
    """Hann windows of 4096 frames at a hop of 1024, from the first that touches the signal on."""
    from scipy import fft

    before = FFT - HOP
    count = -(-(len(window) + before) // HOP)
    padded = np.pad(window, ((before, (count - 1) * HOP + FFT - before - len(window)), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT, axis=0)[::HOP]
    spectrum = fft.rfft(windows * _WINDOW, axis=2).astype(np.complex64, copy=False)
    return spectrum.transpose(0, 2, 1)[:FRAMES]


def _signal(spectrum: Spectrum, frames: int) -> Array:
    """The inverse of :func:`_spectrum` by overlapping and adding."""
    from scipy import fft

    pieces = fft.irfft(spectrum, FFT, axis=1).astype(np.float32, copy=False) * (_WINDOW / _OVERLAP_SUM)[:, None]
    count, per_window = len(pieces), FFT // HOP
    made = np.zeros((count + per_window - 1, HOP, pieces.shape[2]), np.float32)
    for part in range(per_window):
        made[part : part + count] += pieces[:, part * HOP : (part + 1) * HOP]
    signal = made.reshape(-1, pieces.shape[2])[FFT - HOP :][:frames]
    return np.pad(signal, ((0, frames - len(signal)), (0, 0)))


def _extended(mask: Array) -> Array:
    """The mask for all bins of the spectrum."""
    above = mask[:, -_UPPER:].mean(axis=1, keepdims=True)
    return np.concatenate([mask, np.repeat(above, FFT // 2 + 1 - BINS, axis=1)], axis=1)
