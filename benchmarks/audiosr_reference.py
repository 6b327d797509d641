"""The package audiosr (kagayoi-audiosr) as the reference: what it imports and never uses is stood in for.

``pip install --no-deps kagayoi-audiosr==1.0.2`` and ``pip install librosa einops pyyaml tqdm`` are enough for it.
"""

from __future__ import annotations

import copy
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

_UNUSED = (
    "torchaudio", "torchvision", "transformers", "progressbar", "PIL", "matplotlib", "pandas", "gradio",
    "audiosr.clap", "audiosr.latent_diffusion.modules.audiomae", "audiosr.latent_diffusion.modules.phoneme_encoder",
    "audiosr.utilities.data",
)  # fmt: skip


class _Anything(types.ModuleType):
    """A module that has every name; nothing in it does anything."""

    __path__: list[str] = []  # noqa: RUF012
    __all__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if any(name == unused or name.startswith(f"{unused}.") for unused in _UNUSED):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextmanager
def package() -> Iterator[Any]:
    """Its modules while it lasts: ``pipeline``, ``utils``, ``sizes`` (of the vocoder) and ``ddpm`` (the model)."""
    finder = _StandIns()
    before = set(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        yield types.SimpleNamespace(
            pipeline=importlib.import_module("audiosr.pipeline"),
            utils=importlib.import_module("audiosr.utils"),
            sizes=importlib.import_module("audiosr.utilities.model"),
            ddpm=importlib.import_module("audiosr.latent_diffusion.models.ddpm"),
        )
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if isinstance(sys.modules[name], _Anything):
                del sys.modules[name]


def model(modules: Any, *, tiny: bool, seed: int = 0, state: Mapping[str, Any] | None = None) -> Any:
    """The package's model, of full size or tiny, with random weights or ``state``."""
    import torch

    config = copy.deepcopy(modules.utils.default_audioldm_config())["model"]["params"]
    config["device"] = "cpu"
    vocoder = modules.sizes.get_vocoder_config_48k()
    if tiny:
        config["unet_config"]["params"] |= {"model_channels": 32, "channel_mult": [1, 1, 2, 2]}
        inner = config["cond_stage_config"]["concat_lowpass_cond"]["params"]
        for stage in (config["first_stage_config"], inner["first_stage_config"]):
            stage["params"]["ddconfig"] |= {"ch": 32, "ch_mult": [1, 1, 1, 1]}
        vocoder |= {"upsample_initial_channel": 64, "resblock_kernel_sizes": [3, 5]}
    torch.manual_seed(seed)
    with patch.object(modules.sizes, "get_vocoder_config_48k", lambda: vocoder):
        made = modules.ddpm.LatentDiffusion(**config).eval()
    if state is not None:
        made.load_state_dict(state, strict=False)
        return made
    _randomise(made)
    return made


def _randomise(model: Any) -> None:
    """What begins as zero, or as so small that nothing comes out, gets weights that keep the level."""
    import torch

    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and (not value.any() or "vocoder" in name):
                value.normal_(0, (1.0 / value[0].numel()) ** 0.5)
        model.scale_factor.fill_(0.8)
