"""Small random checkpoints of the real architectures, in the files and under the names that are published."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
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


def tiny_demucs(path: Path, stems: tuple[str, ...] = ("drums", "bass", "other", "vocals"), tenths: int = 20) -> Path:
    """As a safetensors file of HTDemucs on the Hub: the class and its arguments stand in the metadata."""
    import json
    from fractions import Fraction

    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    arguments = {"sources": list(stems), "channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 16}
    model = HTDemucs(**arguments, segment=Fraction(tenths, 10))
    told = {**arguments, "segment": {"_type": "fraction", "numerator": tenths, "denominator": 10}}
    facts = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(told)}
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path, facts)
    return path


# --- at full size, exactly in the shape in which they are published (docs/models.md) -------------------------------


def _state(module, half=False):
    """Random weights of a network made without memory, scaled so that signals neither vanish nor explode."""
    import torch

    draw = torch.Generator().manual_seed(1)
    state = {}
    for name, value in module.state_dict().items():
        spread = 0.5 / max(1, value[0].numel() if value.ndim > 1 else 1) ** 0.5
        drawn = torch.randn(value.shape, generator=draw) * spread + (value.ndim == 1 and name.endswith("weight"))
        state[name] = drawn.half() if half else drawn
    return state


def _on_nothing(make):
    import torch

    with torch.device("meta"):
        return make()


def apollo_state(width=256, layers=6):
    """The weights and the tables of one of Apollo's checkpoints."""
    import torch

    from engine.models.apollo.network import Apollo

    state = _state(_on_nothing(lambda: Apollo(882, (5,) * 79 + (47,), width, layers)))
    for layer in range(layers):
        for table in ("cos_freq", "sin_freq"):
            state[f"net.{layer}.band_net.{table}"] = torch.ones(100, width // 8)
    return state


@contextmanager
def without_omegaconf():
    """Classes of our own under omegaconf's names, so that a pickle names the same without the package."""
    import sys
    import types

    classes = {
        "omegaconf.dictconfig": ("DictConfig",), "omegaconf.listconfig": ("ListConfig",),
        "omegaconf.nodes": ("AnyNode",), "omegaconf.base": ("ContainerMetadata", "Metadata"),
    }  # fmt: skip
    before = {name: sys.modules.get(name) for name in ("omegaconf", *classes)}
    sys.modules["omegaconf"] = types.ModuleType("omegaconf")
    made = {}
    for module, names in classes.items():
        sys.modules[module] = types.ModuleType(module)
        for name in names:
            made[name] = type(name, (), {"__module__": module})
            setattr(sys.modules[module], name, made[name])
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _settings_of(classes):
    """What ``omegaconf.OmegaConf.create`` would make, in objects of ``classes``."""
    from collections import defaultdict
    from typing import Any

    def filled(name, **state):
        made = classes[name]()
        made.__dict__.update(state)
        return made

    def metadata(kind, of):
        return filled(
            kind, ref_type=Any, object_type=of, optional=True, key=None, flags={}, flags_root=False,
            resolver_cache=defaultdict(dict), key_type=int, element_type=Any,
        )  # fmt: skip

    def node(value):
        return filled("AnyNode", _metadata=metadata("Metadata", None), _parent=None, _flags_cache=None, _val=value)

    rates = filled("ListConfig", _metadata=metadata("ContainerMetadata", list), _content=[node(n) for n in (24, 128)])
    content = {"sr": node(44100), "win": node(20), "feature_dim": node(256), "layer": node(6), "rates": rates}
    whole = filled("DictConfig", _metadata=metadata("ContainerMetadata", dict), _parent=None, _content=content)
    rates.__dict__["_parent"] = whole  # as there: every part knows what it is a part of
    return whole


def official_apollo(path, state=None, with_package=False):
    """``pytorch_model.bin`` of JusperLee/Apollo: settings of omegaconf beside the weights."""
    import torch

    state = state or apollo_state()
    conf = {"model_name": "Apollo", "state_dict": OrderedDict(state)}
    versions = {"torch_version": torch.torch_version.TorchVersion("2.0.1"), "pytorch_lightning_version": "2.0.2"}
    if with_package:
        from omegaconf import OmegaConf

        settings = OmegaConf.create({"sr": 44100, "win": 20, "feature_dim": 256, "layer": 6, "rates": [24, 128]})
        torch.save({**conf, "model_args": settings, "infos": {"software_versions": versions}}, path)
        return path
    with without_omegaconf() as classes:
        settings = _settings_of(classes)
        torch.save({**conf, "model_args": settings, "infos": {"software_versions": versions}}, path)
    return path


def community_apollo(path, width, layers=6):
    """As Lew's and baicai1145's: no omegaconf, but the version of PyTorch as an object."""
    import torch

    versions = {"torch_version": torch.torch_version.TorchVersion("2.4.1"), "pytorch_lightning_version": "2.4.0"}
    conf = {"model_name": "Apollo", "state_dict": OrderedDict(apollo_state(width, layers))}
    torch.save({**conf, "model_args": {"n_sample_rate": 2}, "infos": {"software_versions": versions}}, path)
    return path


def trained_apollo(path, width=128):
    """As Lightning saves in training: a prefix, another network beside it, the optimiser, settings of omegaconf."""
    import torch

    state = {f"audio_model.{name}": value for name, value in apollo_state(width).items()}
    state["discriminator.discriminators.0.weight"] = torch.randn(4, 4)
    moments = {number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(8)} for number in range(3)}
    with without_omegaconf() as classes:
        torch.save(
            {
                "epoch": 54, "global_step": 110000, "pytorch-lightning_version": "2.0.2",
                "state_dict": OrderedDict(state), "loops": {}, "callbacks": {"x": {"best": torch.tensor(-17.6)}},
                "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-3, "params": [0, 1, 2]}]}],
                "lr_schedulers": [], "hyper_parameters": {"conf": _settings_of(classes)},
            },
            path,
        )  # fmt: skip
    return path


def demucs_settings(name):
    """(class, keyword arguments) of a published model of Demucs."""
    from fractions import Fraction

    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    sources = ["drums", "bass", "other", "vocals"] + (["guitar", "piano"] if name == "htdemucs_6s" else [])
    if name == "hdemucs_mmi":
        return HDemucs, {"sources": sources, "samplerate": 44100, "segment": 44}
    bottom = 0 if name == "htdemucs_6s" else 512
    return HTDemucs, {
        "sources": sources, "audio_channels": 2, "samplerate": 44100, "segment": Fraction(39, 5), "channels": 48,
        "channels_time": None, "growth": 2, "nfft": 4096, "wiener_iters": 0, "cac": True, "depth": 4, "multi_freqs": [],
        "freq_emb": 0.2, "kernel_size": 8, "dconv_mode": 3, "bottom_channels": bottom, "t_layers": 5, "t_heads": 8,
        "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4], "a_setting_that_is_no_more": True,
    }  # fmt: skip


def demucs_package(path, name):
    """``signature-hash.th`` as the package of 2022 wrote it: half precision, the class by its name."""
    import hashlib
    import inspect

    import torch

    klass, options = demucs_settings(name)
    known = inspect.signature(klass).parameters
    network = _on_nothing(lambda: klass(**{k: v for k, v in options.items() if k in known}))
    package = {
        "klass": klass, "args": (), "kwargs": options, "state": _state(network, half=True),
        "training_args": {"lr": 3e-4, "ema": {"epoch": [0.9]}}, "metrics": {"nsdr": 9.0},
    }  # fmt: skip
    torch.save(package, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"{path.stem}-{digest}.th"))


def demucs_on_the_hub(path, name):
    """``signature.safetensors``: the same weights, the class and its arguments as JSON beside them."""
    import inspect
    import json
    from fractions import Fraction

    from safetensors.torch import save_file

    def encoded(value):
        assert isinstance(value, Fraction)
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}

    klass, options = demucs_settings(name)
    known = inspect.signature(klass).parameters
    network = _on_nothing(lambda: klass(**{k: v for k, v in options.items() if k in known}))
    facts = {
        "klass": f"{klass.__module__}.{klass.__qualname__}", "args": "[]", "kwargs": json.dumps(options, default=encoded)
    }  # fmt: skip
    save_file(_state(network, half=True), path, metadata=facts)
    return path


def audiosr_state():
    """Names and shapes of AudioSR's weights at full size, without memory."""
    from engine.models.audiosr.unet import UNet
    from engine.models.audiosr.vae import LatentDecoder, LatentEncoder
    from engine.models.audiosr.vocoder import Vocoder

    parts = {
        "model.diffusion_model.": lambda: UNet(32, 16, 128, (1, 2, 3, 5)),
        "cond_stage_models.0.vae.": lambda: LatentEncoder(16, 128, (1, 2, 4, 8)),
        "first_stage_model.": lambda: LatentDecoder(16, 128, (1, 2, 4, 8)),
        "first_stage_model.vocoder.": lambda: Vocoder(256, 1536, (6, 5, 4, 2, 2), (3, 7, 11, 15)),
    }
    return {p + n: v for p, make in parts.items() for n, v in _on_nothing(make).state_dict().items()}
