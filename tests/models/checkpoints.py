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
