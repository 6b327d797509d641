"""AudioSR: diffusion-based super-resolution at 48 kHz, as a lean inference runtime of our own.

This module knows where the weights are and what is done with them; the networks are beside it and import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.models.runtime import device as devices
from engine.models.runtime import loading
from engine.models.runtime.checkpoint import Checkpoint
from engine.models.runtime.weights import Weights

if TYPE_CHECKING:
    from engine.models.audiosr.network import Sampling

RATE = 48000
LATENT = 3840  # frames to one place of the latent: windows begin at multiples of it
PIECE = 128 * LATENT  # frames that the model was trained on, and is asked for at a time: 10.24 s

_HUB = "pytorch_model.bin"
WEIGHTS = {
    "basic": Weights(
        "audiosr-basic", "audiosr-basic.safetensors", repo="haoheliu/audiosr_basic", hub_filename=_HUB,
        kept_as_is=False, revision="74a47f49061a1e788e968cc43ad45c0b6243f37d", size=6_180_000_000,
    ),
    "speech": Weights(
        "audiosr-speech", "audiosr-speech.safetensors", repo="haoheliu/audiosr_speech", hub_filename=_HUB,
        kept_as_is=False, revision="413f1d734411663e95310c17d381279a0c049960", size=6_180_000_000,
    ),
}  # fmt: skip
_ACTIVATIONS = 2_500_000_000  # bytes that one piece of one channel takes at its worst, in the vocoder


def unavailable_reason(model: str) -> str:
    """Empty where the model can be used, else one sentence."""
    return loading.unavailable_reason("AudioSR", WEIGHTS[model], "safetensors", hint=" (6 GB)")


def fingerprint(model: str) -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint((WEIGHTS[model],), unavailable_reason(model))


def convert(checkpoint: Path, path: Path, half: bool = False) -> None:
    """Write the compact form (2.7 GB, ``half`` of it in half precision) of the published checkpoint (6.2 GB).

    Raises:
        NotPossibleError: it is not AudioSR.
    """
    from engine.models.audiosr.checkpoint import write_compact

    write_compact(checkpoint, path, half=half)


def check(path: Path) -> None:
    """Raises NotPossibleError where ``path`` is not AudioSR in its compact form."""
    from engine.models.audiosr.checkpoint import check_compact

    check_compact(path)


def recognised(found: Checkpoint) -> str:
    """What this is, for the user; empty where it is not AudioSR."""
    names = found.tensors()
    parts = ("model.diffusion_model.", "first_stage_model.vocoder.")
    return "AudioSR (basic or speech)" if all(any(n.startswith(p) for n in names) for p in parts) else ""


def batch(device: str) -> int:
    """How many pieces of stereo fit on the device at once."""
    return devices.batch_that_fits(device, "audiosr", 2 * _ACTIVATIONS, 8)


@dataclass(frozen=True)
class NoiseField:
    """Unit Gaussian noise that belongs to places in the song, not to chunks.

    Where chunks overlap they are drawn from the same noise, so that what is made there is alike; it is the same on
    every device and for both channels.
    """

    seed: int

    def draw(self, number: int, start: int, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        """The ``number``-th noise of ``shape`` (channels, time, frequency) from latent place ``start`` on."""
        channels, time, frequency = shape
        out = np.empty(shape, np.float32)
        for at in range(time):
            # A stream for every place and draw; the offsets keep all parts of the counter positive.
            bits = np.random.Philox(key=self.seed, counter=[0, 0, number + 1, start + at + (1 << 32)])
            out[:, at] = np.random.Generator(bits).standard_normal((channels, frequency), np.float32)
        return out


@dataclass(frozen=True)
class Piece:
    """:data:`PIECE` frames of audio ``(frames, channels)`` at 48 kHz that begin at latent place ``place``."""

    audio: Audio
    place: int


@dataclass(frozen=True)
class Extender:
    """AudioSR set up for one song.

    ``top`` is the frequency in Hz up to which the audio is what it should be. ``tell`` hears of every step that
    is taken to use less memory, ``after_step`` (share of the sampler's work done) may raise to leave.
    """

    model: str
    device: str
    top: float
    noise: NoiseField
    sampling: Sampling
    precision: str
    tell: Callable[[str], None]

    def extend(self, pieces: list[Piece], after_step: Callable[[float], None]) -> list[Audio]:
        """Full-band audio for each piece, in step with it. Peaks should be about 0.5."""

        def work(some: list[Piece], how: devices.Attempt) -> list[Audio]:
            with self._model(how.device) as network, devices.measured(how.device, "audiosr", len(some)):
                return self._run(network, some, how, after_step)

        return devices.with_oom_fallback(work, pieces, self.device, self.tell)

    def vocode(self, pieces: list[Audio]) -> list[Audio]:
        """What the vocoder makes of the audio itself, piece by piece: tells how loud the model's output is."""

        def work(some: list[Audio], how: devices.Attempt) -> list[Audio]:
            from engine.models.audiosr.network import vocoded

            with self._model(how.device) as network:
                return [vocoded(network, audio, how.device, how.short) for audio in some]

        return [devices.with_oom_fallback(work, [piece], self.device, self.tell)[0] for piece in pieces]

    def _run(
        self, network: Any, some: list[Piece], how: devices.Attempt, after_step: Callable[[float], None]
    ) -> list[Audio]:
        from engine.models.audiosr.network import Frugal, extended

        shape = network.latent_shape(PIECE)

        def noise(number: int) -> npt.NDArray[np.float32]:
            drawn = [self.noise.draw(number, p.place, shape) for p in some for _ in range(p.audio.shape[1])]
            return np.stack(drawn)

        rows = np.concatenate([p.audio.T for p in some])
        made = extended(
            network, rows, self.top, noise, self.sampling, Frugal(how.short, how.short), how.device,
            network.precision(how.device, self.precision), lambda done: after_step(done / self.sampling.steps),
        )  # fmt: skip
        ends = np.cumsum([p.audio.shape[1] for p in some])[:-1]
        return [np.ascontiguousarray(part.T) for part in np.split(made, ends)]

    def _model(self, device: str) -> Any:
        from engine.models.audiosr.checkpoint import load

        file = WEIGHTS[self.model]
        return loading.borrowed(
            file, lambda: unavailable_reason(self.model), device, lambda path: load(path, device), room=2
        )
