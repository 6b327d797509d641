"""The parts of AudioSR put together: from low-passed audio to full-band audio. Imports torch.

Liu, Chen, Tian, Wang and Plumbley, "AudioSR: Versatile Audio Super-resolution at Scale", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.models.audiosr import mel as mels
from engine.models.audiosr import sampler
from engine.models.audiosr.mel import log_mel
from engine.models.audiosr.unet import unet_for
from engine.models.audiosr.vae import decoder_for, encoder_for
from engine.models.audiosr.vocoder import vocoder_for
from engine.models.runtime.device import Precision, autocast, precision

STRIDE = 8  # mel frames and bands to one place of the latent
UNCONDITIONAL = -11.4981  # the condition that says nothing: what the encoder makes of silence
TILE = 128  # mel frames of the vocoder at once, where memory is short

# Where the parts lie in the published checkpoint, which holds most of them twice and more that is not needed.
_PREFIXES = {
    "unet": "model.diffusion_model.",
    "encoder": "cond_stage_models.0.vae.",
    "decoder": "first_stage_model.",
    "vocoder": "first_stage_model.vocoder.",
}
_WANTED = {"encoder": ("encoder.", "quant_conv."), "decoder": ("decoder.", "post_quant_conv.")}  # of the others: all


@dataclass(frozen=True)
class Sampling:
    """How a latent is drawn. ``guidance`` above 1 follows the condition more closely than the model would."""

    steps: int = 50
    method: sampler.Method = "ddim"
    eta: float = 1.0
    guidance: float = 3.5


@dataclass(frozen=True)
class Frugal:
    """What is done to use less memory. ``alone``: one item at a time; ``tiles``: the vocoder in pieces."""

    alone: bool = False
    tiles: bool = False


class AudioSR(nn.Module):
    """All four networks and the scale of the latent."""

    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]], scale: float) -> None:
        super().__init__()
        with torch.device("meta"):  # without memory, and without drawing weights that are replaced at once
            self.unet = unet_for(parts["unet"])
            self.encoder = encoder_for(parts["encoder"])
            self.decoder = decoder_for(parts["decoder"])
            self.vocoder = vocoder_for(parts["vocoder"])
        for name, part in parts.items():
            getattr(self, name).load_state_dict(part, assign=True)
        self.scale = scale
        self._precisions: dict[tuple[str, str], Precision] = {}
        self.latents = parts["decoder"]["post_quant_conv.weight"].shape[0]

    def precision(self, device: str, wanted: str) -> Precision:
        """The arithmetic to use: tried once on the UNet, which does nearly all of the work."""

        def compute(how: Precision) -> npt.NDArray[np.float32]:
            draw = torch.Generator().manual_seed(0)
            x = torch.randn((1, 2 * self.latents, 16, mels.MELS // STRIDE), generator=draw).to(device)
            with torch.inference_mode(), autocast(device, how):
                return self.unet(x, torch.full((1,), 500, device=device)).float().cpu().numpy()

        if (device, wanted) not in self._precisions:
            self._precisions[device, wanted] = precision(device, wanted, compute)
        return self._precisions[device, wanted]

    def latent_shape(self, samples: int) -> tuple[int, int, int]:
        """(channels, time, frequency) of the latent of so many samples (a multiple of 30,720)."""
        return self.latents, samples // mels.HOP // STRIDE, mels.MELS // STRIDE

    def forward(
        self, audio: Tensor, top: float, noise: sampler.Noise, sampling: Sampling, frugal: Frugal,
        after_step: Callable[[int], None] = lambda _: None,
    ) -> Tensor:  # fmt: skip
        """Full-band audio for low-passed audio.

        Args:
            audio: ``(batch, samples)`` at 48 kHz, peaks about 0.5, a multiple of 30,720 samples.
            top: Hz up to which ``audio`` is what it should be; what the model makes below is thrown away.
            noise: ``noise(n)`` gives ``(batch, *latent_shape)``: -1 for the condition, then as the sampler asks.
        """
        heard = log_mel(audio)
        condition = torch.cat(
            [self.encoder(item, n) for item, n in zip(heard.split(1), noise(-1).split(1), strict=True)]
        )
        latent = self._sample(condition * self.scale, noise, sampling, frugal, after_step)
        made = torch.cat([self.decoder(item).float() for item in (latent / self.scale).split(1)])
        bands = mels.bands_below(top)
        made[..., :bands] = heard[..., :bands]
        return self.vocode(made, frugal, audio.shape[1])

    def _sample(
        self, condition: Tensor, noise: sampler.Noise, sampling: Sampling, frugal: Frugal,
        after_step: Callable[[int], None],
    ) -> Tensor:  # fmt: skip
        nothing = torch.full_like(condition, UNCONDITIONAL * self.scale)

        def ask(x: Tensor, condition: Tensor, time: int) -> Tensor:
            times = torch.full((len(x),), time, device=x.device)
            return self.unet(torch.cat([x, condition], dim=1), times).float()

        def predict(x: Tensor, time: int) -> Tensor:
            if frugal.alone:
                items = zip(x.split(1), condition.split(1), nothing.split(1), strict=True)
                return torch.cat([guided(ask(a, b, time), ask(a, c, time)) for a, b, c in items])
            if sampling.guidance == 1.0:
                return ask(x, condition, time)
            both = ask(torch.cat([x, x]), torch.cat([condition, nothing]), time)
            return guided(*both.chunk(2))

        def guided(with_it: Tensor, without: Tensor) -> Tensor:
            return without + sampling.guidance * (with_it - without)

        return sampler.sample(
            predict, noise, sampling.steps, method=sampling.method, eta=sampling.eta, after_step=after_step
        )

    def vocode(self, mel: Tensor, frugal: Frugal, samples: int) -> Tensor:
        """``(batch, samples)`` for a log mel ``(batch, 1, samples / 480, 256)``; one item at a time."""
        pieces = []
        for item in mel[:, 0].transpose(1, 2).split(1):
            vocoded = self.vocoder.in_tiles(item, TILE) if frugal.tiles else self.vocoder(item)
            pieces.append(vocoded.float()[:, :samples])
        return torch.cat(pieces)


def parts_of(checkpoint: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], float]:
    """The tensors that are needed, by part and by their names in it, and the scale of the latent.

    ``checkpoint`` is the published one or our own compact form of it. Raises KeyError where it is neither.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for part, prefix in _PREFIXES.items():
        inside = {name.removeprefix(prefix): value for name, value in checkpoint.items() if name.startswith(prefix)}
        parts[part] = {name: value for name, value in inside.items() if name.startswith(_WANTED.get(part, ""))}
    return parts, float(checkpoint["scale_factor"])


def compact(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a checkpoint is needed, under its published names."""
    parts, scale = parts_of(checkpoint)
    kept = {_PREFIXES[part] + name: value for part, found in parts.items() for name, value in found.items()}
    return {**kept, "scale_factor": torch.tensor(scale)}


def extended(
    network: AudioSR, rows: npt.NDArray[np.float32], top: float, noise: Callable[[int], npt.NDArray[np.float32]],
    sampling: Sampling, frugal: Frugal, device: str, how: Precision, after_step: Callable[[int], None],
) -> npt.NDArray[np.float32]:  # fmt: skip
    """:meth:`AudioSR.forward` for arrays: ``(rows, samples)`` in and out."""
    with torch.inference_mode(), autocast(device, how):
        made = network(
            torch.from_numpy(np.ascontiguousarray(rows)).to(device), top,
            lambda number: torch.from_numpy(noise(number)).to(device), sampling, frugal, after_step,
        )  # fmt: skip
        return made.float().cpu().numpy()


def vocoded(network: AudioSR, audio: npt.NDArray[np.float32], device: str, tiles: bool) -> npt.NDArray[np.float32]:
    """The vocoder alone: ``(samples, channels)`` in and out, samples a multiple of 480."""
    with torch.inference_mode():
        rows = torch.from_numpy(np.ascontiguousarray(audio.T)).to(device)
        return network.vocode(log_mel(rows), Frugal(tiles=tiles), rows.shape[1]).T.cpu().numpy()
