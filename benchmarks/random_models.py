"""Models with random weights, of full size or tiny, in the files that the program loads: to measure, not to hear."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.models import apollo, audiosr, demucs, hifigan_bwe


def write(folder: Path, *, tiny: bool) -> None:
    """All of them into ``folder``, under the names that the program looks for (3 GB, or 3 MB)."""
    import torch

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    _audiosr(folder / audiosr.WEIGHTS["basic"].filename, tiny=tiny)
    _apollo(folder / apollo.VARIANTS["official"].weights.filename, tiny=tiny)
    _hifigan_bwe(folder / hifigan_bwe.WEIGHTS.filename, tiny=tiny)
    _demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename, tiny=tiny)


def _audiosr(path: Path, *, tiny: bool) -> None:
    import torch
    from safetensors.torch import save_file

    from engine.models.audiosr.checkpoint import _KIND
    from engine.models.audiosr.unet import UNet
    from engine.models.audiosr.vae import LatentDecoder, LatentEncoder
    from engine.models.audiosr.vocoder import Vocoder

    base, multiples, levels = (32, (1, 1, 2, 2), (1, 1, 1, 1)) if tiny else (128, (1, 2, 3, 5), (1, 2, 4, 8))
    width, kernels = (32, (3,)) if tiny else (1536, (3, 7, 11, 15))
    parts: dict[str, Any] = {
        "model.diffusion_model.": UNet(32, 16, base, multiples),
        "cond_stage_models.0.vae.": LatentEncoder(16, base, levels),
        "first_stage_model.": LatentDecoder(16, base, levels),
        "first_stage_model.vocoder.": Vocoder(256, width, (6, 5, 4, 2, 2), kernels),
    }
    state = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    for name, value in state.items():
        if value.ndim > 1 and ("vocoder" in name or not value.any()):  # so that something comes out
            value.normal_(0, (1.0 / value[0].numel()) ** 0.5)
    state["scale_factor"] = torch.tensor(0.8)
    save_file({name: value.contiguous() for name, value in state.items()}, path, {"kind": _KIND})


def _apollo(path: Path, *, tiny: bool) -> None:
    import torch

    from engine.models.apollo.network import Apollo

    width, layers = (16, 1) if tiny else (256, 6)
    model = Apollo(882, (5,) * 79 + (47,), width, layers)
    torch.save({"model_name": "Apollo", "state_dict": model.state_dict(), "model_args": {}, "infos": {}}, path)


def _hifigan_bwe(path: Path, *, tiny: bool) -> None:
    """A TorchScript file under the names of the package hifi-gan-bwe."""
    import torch
    from torch import nn

    class Bag(nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    channels, layers = (8, 16) if tiny else (128, 16)
    model, wave = Bag(), Bag()
    wave._conv_in, wave._conv_out = nn.Conv1d(1, channels, 1), nn.Conv1d(channels, 1, 1)
    stack = []
    for _ in range(layers):
        layer = Bag()
        layer._conv = nn.Conv1d(channels, channels, 3)
        layer._conv_skip = nn.Conv1d(channels // 2, channels, 1)
        layer._conv_out = nn.Conv1d(channels // 2, channels, 1)
        stack.append(layer)
    wave._layers = nn.ModuleList(stack)
    model._wavenet = wave
    model.register_buffer("sample_rate", torch.tensor(48000))
    torch.jit.save(torch.jit.script(model), str(path))


def htdemucs(folder: Path, *, tiny: bool) -> None:
    """One that works on pieces as long as the published one's, for the program and for the package's command."""
    folder.mkdir(exist_ok=True)
    _demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename, tiny=tiny, segment=Fraction(39, 5))


def _demucs(path: Path, *, tiny: bool, segment: Fraction | None = None) -> None:
    """As the package's own file on the Hub, and as the one that its command takes with ``--repo``."""
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    arguments: dict[str, Any] = {"sources": ["drums", "bass", "other", "vocals"]}
    arguments |= (
        {"channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 16} if tiny else {"bottom_channels": 512}
    )
    seconds = segment or Fraction(2 if tiny else 8)
    model = HTDemucs(**arguments, segment=seconds)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    told = {
        **arguments,
        "segment": {"_type": "fraction", "numerator": seconds.numerator, "denominator": seconds.denominator},
    }
    save_file(state, path, {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(told)})
    package = {"klass": HTDemucs, "args": (), "kwargs": {**arguments, "segment": seconds}, "state": state}
    torch.save(package, path.with_name("random.th"))
