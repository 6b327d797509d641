"""Small random checkpoints of the real architectures, in the files and under the names that are published."""

from __future__ import annotations

from pathlib import Path


def tiny_audiosr(path: Path, seed: int = 0) -> Path:
    """As ``pytorch_model.bin`` of AudioSR: what is needed, and some of what is not."""
    import torch

    from engine.models.audiosr.unet import UNet
    from engine.models.audiosr.vae import LatentDecoder, LatentEncoder
    from engine.models.audiosr.vocoder import Vocoder

    torch.manual_seed(seed)
    parts = {
        "model.diffusion_model.": UNet(32, 16, 32, (1, 1, 2, 2)),
        "cond_stage_models.0.vae.": LatentEncoder(16, 32, (1, 1, 1, 1)),
        "first_stage_model.": LatentDecoder(16, 32, (1, 1, 1, 1)),
        "first_stage_model.vocoder.": Vocoder(256, 32, (6, 5, 4, 2, 2), (3,)),
    }
    state = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    for name, value in state.items():
        if "vocoder" in name and value.ndim > 1:
            value.normal_(0, (1.0 / value[0].numel()) ** 0.5)
    state["scale_factor"] = torch.tensor(0.8)
    state["model_ema.decay"] = torch.tensor(0.999)
    state["first_stage_model.encoder.conv_in.weight"] = torch.zeros(32, 1, 3, 3)
    torch.save({"state_dict": state, "global_step": 1}, path)
    return path


def tiny_apollo(path: Path, seed: int = 0) -> Path:
    """As ``pytorch_model.bin`` of Apollo, with the tables that it keeps besides its weights."""
    import torch

    from engine.models.apollo.network import Apollo

    torch.manual_seed(seed)
    state = Apollo(882, (5,) * 79 + (47,), 16, 1).state_dict()
    state["net.0.band_net.cos_freq"] = torch.ones(100, 2)
    state["net.0.band_net.sin_freq"] = torch.zeros(100, 2)
    torch.save({"model_name": "Apollo", "state_dict": state, "model_args": {"n_sample_rate": 2}, "infos": {}}, path)
    return path


def tiny_demucs(path: Path, stems: tuple[str, ...] = ("drums", "bass", "other", "vocals")) -> Path:
    """As a safetensors file of HTDemucs on the Hub: the class and its arguments stand in the metadata."""
    import json

    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    arguments = {"sources": list(stems), "channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 16}
    model = HTDemucs(**arguments, segment=2.0)
    told = {**arguments, "segment": {"_type": "fraction", "numerator": 2, "denominator": 1}}
    facts = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(told)}
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path, facts)
    return path
