"""The one reader of weights: equal to PyTorch's own where that may read a file, and safe where it must not."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import time
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")

from engine.errors import NotPossibleError  # noqa: E402
from engine.models.runtime import checkpoint  # noqa: E402
from engine.models.runtime.cards import identified  # noqa: E402
from engine.models.runtime.checkpoint import for_torch, read  # noqa: E402
from engine.models.runtime.pickled import StandIn  # noqa: E402

_KINDS = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip


def weights():
    """Every kind of number, shapes of every kind, parts of a storage, and weights that are shared."""
    draw = torch.Generator().manual_seed(0)
    state = OrderedDict((str(kind), (40 * torch.randn(3, 5, generator=draw)).to(kind)) for kind in _KINDS)
    base = torch.randn(6, 4, generator=draw)
    state |= {
        "turned": base.T,
        "part": base[2:5, 1:3],
        "shared": base,
        "none": torch.zeros(0, 3),
        "one": torch.tensor(7.0),
    }
    state["learnt"] = torch.nn.Parameter(torch.randn(2, 2, generator=draw))
    return state


def assert_equal(found, state):
    tensors = for_torch(found.tensors())
    assert set(tensors) == set(state)
    for name, value in state.items():
        expected = value.detach().float() if value.dtype == torch.bfloat16 else value.detach()
        assert tensors[name].dtype == expected.dtype and torch.equal(tensors[name], expected), name


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("mapped", [0, 1 << 40])
def test_all_that_pytorch_saves_is_read_as_it_was(tmp_path, monkeypatch, as_zip, mapped):
    monkeypatch.setattr(checkpoint, "_MAPPED", mapped)
    state = weights()
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pt", _use_new_zipfile_serialization=as_zip)
    assert_equal(read(tmp_path / "x.pt"), state)
    for inner in (state, {"state": state}, {"model_state_dict": state}, {"model": {"state_dict": state}}):
        torch.save(inner, tmp_path / "y.pt", _use_new_zipfile_serialization=as_zip)
        assert_equal(read(tmp_path / "y.pt"), state)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles_is_read(tmp_path, protocol):
    content = {"state_dict": weights(), "set": {1, 2}, "frozen": frozenset("ab"), "big": 1 << 90, "bytes": b"x" * 300}
    content |= {"nested": [(), [1.5, None, True], {"a": -3}], "default": defaultdict(list, {"b": [1]})}
    torch.save(content, tmp_path / "x.pt", pickle_protocol=protocol)
    found = read(tmp_path / "x.pt")
    assert_equal(found, content["state_dict"])
    assert found.content["nested"] == content["nested"] and found.content["big"] == 1 << 90
    assert sorted(found.content["set"]) == [1, 2] and found.content["default"] == {"b": [1]}


def test_a_safetensors_file_is_read_with_its_facts(tmp_path):
    from safetensors.torch import save_file

    state = {name: value.detach().clone().contiguous() for name, value in weights().items()}
    save_file(state, tmp_path / "x.safetensors", {"kind": "mine"})
    found = read(tmp_path / "x.safetensors")
    assert found.facts == {"kind": "mine"}
    assert_equal(found, state)


@pytest.mark.parametrize("beginning", [b"\x80", b"PK", b"\x1f\x8b", b"BZh", b"ID3"])
def test_a_safetensors_file_is_read_whatever_the_length_of_its_header_looks_like(tmp_path, beginning):
    """The file begins with that length, in bytes that mean something else elsewhere: one in 256 looks like a pickle."""
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    length = int.from_bytes(beginning, "little")
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header.ljust(length) + struct.pack("<2f", 1, -2))
    assert read(path).tensors()["x"].array().tolist() == [1, -2]


def test_compressed_archives_of_pytorch_are_read_too(tmp_path):
    state = weights()
    torch.save(state, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as given, zipfile.ZipFile(tmp_path / "y.pt", "w") as packed:
        for entry in given.infolist():
            packed.writestr(entry.filename, given.read(entry), zipfile.ZIP_DEFLATED)
    assert_equal(read(tmp_path / "y.pt"), state)


def test_large_files_are_mapped_and_take_no_memory_for_what_is_not_used(tmp_path):
    torch.save({"large": torch.zeros(100 << 20), "small": torch.ones(2)}, tmp_path / "x.pt")  # 400 MB
    before = _resident()
    found = read(tmp_path / "x.pt").tensors()
    assert found["small"].array().tolist() == [1, 1] and found["large"].shape == (100 << 20,)
    large = torch.from_numpy(found["large"].array())
    assert _resident() - before < 20e6
    large[0] = 5  # PyTorch may write: it changes this copy alone
    assert read(tmp_path / "x.pt").tensors()["large"].array()[0] == 0


def _resident():
    return psutil.Process().memory_info().rss


# --- nothing is run ----------------------------------------------------------------------------------------


class _Evil:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.place}",)


class _EvilState:
    def __setstate__(self, state):
        Path(state["place"]).touch()


def test_what_is_not_weights_becomes_a_stand_in_that_does_nothing(tmp_path):
    place = tmp_path / "was-here"
    state = _EvilState()
    state.place = str(place)
    torch.save({"state_dict": {"x": torch.ones(2)}, "evil": _Evil(place), "other": state}, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt")
    assert for_torch(found.tensors())["x"].tolist() == [1, 1]
    assert isinstance(found.content["evil"], StandIn) and found.content["evil"].name.endswith(".system")
    assert found.content["other"].state == {"place": str(place)}
    (tmp_path / "y.pt").write_bytes(pickle.dumps(_Evil(place)))
    with pytest.raises(NotPossibleError, match="a file of Python objects: get"):
        read(tmp_path / "y.pt")
    assert not place.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"c__main__\nX\n(tR.", b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.", b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
        b"\x80\x02(lp0\nh\x00\x86.", b"\x80\x02N\x82\x01.", b"\x80\x02]q\x00h\x00a.", b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02Nr\xff\xff\xff\xff.", b"\x80\x04\x8c\x02os\x8c\x06system\x93.", b"\x80\x02(ios\nsystem\n.",
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.", b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", b"", b"\x80\x02.",
        b"\x80\x02]q\x00" + b"h\x00h\x00e" * 40 + b".",
    ],
)  # fmt: skip
def test_strange_pickles_are_refused_or_hold_nothing(tmp_path, data):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", data)
    (tmp_path / "y.pt").write_bytes(data)
    for name in ("x.pt", "y.pt"):
        began = time.monotonic()
        try:
            assert read(tmp_path / name).tensors() == {}
        except NotPossibleError as error:
            assert str(error).startswith(name)
        assert time.monotonic() - began < 2


# --- nothing of what a file says is believed ----------------------------------------------------------------------


class _Ref:
    def __init__(self, *parts):
        self.parts = parts


class _Pickler(pickle.Pickler):
    def persistent_id(self, item):
        return item.parts if isinstance(item, _Ref) else None


class _Built:
    """Pickles as a call of PyTorch's that makes a tensor."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


def archive(path, content, storages, kind=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(content)
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("x/data.pkl", stream.getvalue())
        for key, data in storages.items():
            file.writestr(f"x/data/{key}", data)
    return path


def tensor(offset=0, shape=(4,), stride=(1,), key="0", count=4, kind=torch.FloatStorage):
    return _Built(_Ref("storage", kind, key, "cpu", count), offset, shape, stride, False, OrderedDict())


@pytest.mark.parametrize(
    "bad",
    [
        tensor(offset=1), tensor(offset=-1), tensor(shape=(5,)), tensor(shape=(2, 2), stride=(3, 1)), tensor(stride=(-1,)),
        tensor(shape=(1 << 62,), stride=(0,)), tensor(shape=(1 << 40, 1 << 40), stride=(0, 0)), tensor(shape=(-4,)),
        tensor(shape=(4.0,)), tensor(shape=(True,)), tensor(shape=(2, 2)), tensor(shape=(1,) * 40, stride=(1,) * 40),
        tensor(key="1"), tensor(key="../data.pkl"), tensor(shape=(1 << 70,), stride=(0,)), tensor(kind=torch.DoubleStorage),
    ],
)  # fmt: skip
def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path, bad):
    good = archive(tmp_path / "good.pt", {"x": tensor()}, {"0": bytes(16)})
    assert read(good).tensors()["x"].array().tolist() == [0, 0, 0, 0]
    with pytest.raises(NotPossibleError, match=r"bad\.pt is cut off or damaged: get it again"):
        read(archive(tmp_path / "bad.pt", {"x": bad}, {"0": bytes(16)}))


def test_a_small_file_does_not_become_a_large_memory(tmp_path):
    many = {str(n): tensor(shape=(1 << 20,), count=1 << 20) for n in range(2000)}  # all of the same 4 MB
    with pytest.raises(ValueError, match="far larger inside"):
        read(archive(tmp_path / "x.pt", many, {"0": bytes(4 << 20)})).tensors()
    bomb = {str(n): tensor(shape=(1 << 25,), count=1 << 25, key=str(n)) for n in range(6)}
    with pytest.raises(NotPossibleError, match="far larger inside"):
        read(archive(tmp_path / "x.pt", bomb, {str(n): bytes(1 << 27) for n in range(6)}, zipfile.ZIP_DEFLATED))
    assert (tmp_path / "x.pt").stat().st_size < 1_000_000
    with pytest.raises(NotPossibleError, match="unpack it first"):
        read(archive(tmp_path / "x.pt", {"x": tensor()}, {"0": bytes(16)}, zipfile.ZIP_LZMA))


def test_entries_that_lie_over_each_other_and_directories_that_never_end_are_refused(tmp_path):
    data = bytearray(archive(tmp_path / "x.pt", {"x": tensor()}, {"0": bytes(1000)}).read_bytes())
    where = data.rindex(b"x/data/0") - 46
    data[where + 20 : where + 28] = struct.pack("<II", 1 << 30, 1 << 30)  # its size
    (tmp_path / "y.pt").write_bytes(data)
    with pytest.raises(NotPossibleError, match=r"far larger inside|damaged"):
        read(tmp_path / "y.pt")
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", 1 << 30)
    (tmp_path / "z.pt").write_bytes(data)
    with pytest.raises(NotPossibleError, match=r"far larger inside|damaged"):
        read(tmp_path / "z.pt")


def test_what_is_nested_without_end_is_looked_at_once_and_no_longer(tmp_path):
    loop: dict = {"x": torch.ones(1)}
    loop["again"] = loop["and again"] = loop
    torch.save({"state_dict": loop}, tmp_path / "x.pt")
    began = time.monotonic()
    with pytest.raises(ValueError, match="far larger inside"):
        read(tmp_path / "x.pt").tensors()
    wide = {"x": torch.ones(1)}
    for _ in range(60):
        wide = {"a": wide, "b": wide}
    torch.save(wide, tmp_path / "y.pt")
    with pytest.raises(ValueError, match="far larger inside"):
        read(tmp_path / "y.pt").tensors()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}, {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, {"x": {"dtype": "F32", "shape": [2], "data_offsets": [4, 0]}},
        {"x": {"dtype": "F32", "shape": [1 << 80, 0], "data_offsets": [0, 0]}}, {"x": {"dtype": "F32", "shape": "ab", "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]}}, {"x": 3}, {"x": {"dtype": "F32"}},
        {str(n): {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in range(3)},
    ],
)  # fmt: skip
def test_safetensors_whose_header_lies_are_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(NotPossibleError, match="cut off or damaged: get it again"):
        read(tmp_path / "x.safetensors")


# --- what a file is, in words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"), (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 66541845\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"), (b"model:\n  sr: 44100\n", "a text file"),
        (b"\x1f\x8b\x08" + bytes(40), "unpack it first"), (b"ID3\x04" + bytes(40), "a sound file"), (b"RIFF\0\0\0\0WAVE", "a sound file"),
        (b"GGUF\x03\0\0\0" + bytes(40), "of a kind that this program cannot read"), (b"\x80\x04N.", "a file of Python objects"),
    ],
)  # fmt: skip
def test_files_that_are_no_weights_are_told_by_what_they_are(tmp_path, data, words):
    (tmp_path / "x.bin").write_bytes(data)
    assert identified(tmp_path / "x.bin").startswith("x.bin is ") and words in identified(tmp_path / "x.bin")


def test_archives_and_foreign_networks_are_told_by_what_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("models/apollo.bin", b"x")
    assert "a zip archive, no checkpoint" in identified(tmp_path / "x.zip")
    torch.save({"state_dict": {"mask.\x1b[31mone": torch.ones(3)}}, tmp_path / "x.ckpt")
    assert "network that this program does not know (it begins with mask.\\x1b[31mone)" in identified(
        tmp_path / "x.ckpt"
    )
    whole = (tmp_path / "x.ckpt").read_bytes()
    (tmp_path / "x.ckpt").write_bytes(whole[: len(whole) // 2])
    assert identified(tmp_path / "x.ckpt") == "x.ckpt is cut off or damaged: get it again."


# --- thousands of damaged files ------------------------------------------------------------------------------


def _damaged(data, draw):
    """A copy with a few bytes changed, a piece cut out, doubled or moved, or numbers put to their extremes."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        at, length = draw.randrange(len(data)), draw.choice((1, 2, 4, 8, 60))
        match draw.randrange(5):
            case 0:
                data[at] = draw.randrange(256)
            case 1:
                data[at : at + length] = draw.choice((b"\xff", b"\0", b"\x7f", b"(")) * length
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case _:
                del data[at if draw.random() < 0.1 else len(data) :]
        if not data:
            return b""
    return bytes(data)


def _rearranged(pickled, draw):
    """A copy of a pickle with whole instructions left out, doubled, put elsewhere or taken from others."""
    starts = [at for _, _, at in pickletools.genops(pickled)]
    steps = [pickled[a:b] for a, b in zip(starts, [*starts[1:], len(pickled)], strict=True)]
    for _ in range(draw.choice((1, 2, 5, 30))):
        at, other = draw.randrange(len(steps)), draw.randrange(len(steps))
        match draw.randrange(4):
            case 0:
                del steps[at]
            case 1:
                steps.insert(at, steps[other])
            case 2:
                steps[at], steps[other] = steps[other], steps[at]
            case _:
                steps.insert(
                    at, draw.choice((b"(", b"t", b"R", b"b", b"\x81", b"2", b"0", b"Q", b"s", b"u", b"e", b"}", b"o"))
                )
    return b"".join(steps)


def test_four_thousand_damaged_files_are_read_or_refused_and_nothing_else(tmp_path):
    """A damaged file gives weights or one sentence: no other error, no crash, no hang, no memory without bounds."""
    from safetensors.torch import save_file

    small = {name: value for name, value in weights().items() if name in ("torch.float32", "turned", "one", "learnt")}
    content = {
        "state_dict": small,
        "infos": {"versions": torch.torch_version.TorchVersion("2.0"), "d": defaultdict(list)},
    }
    torch.save(content, tmp_path / "zip")
    torch.save(content, tmp_path / "legacy", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "script"))
    save_file(
        {name: value.detach().clone().contiguous() for name, value in small.items()}, tmp_path / "safe", {"a": "b"}
    )
    with zipfile.ZipFile(tmp_path / "zip") as archive:  # the pickle alone, where damage does most
        names = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    draw, read_well, slowest = random.Random(9), 0, 0.0
    before, most = _resident(), 0
    path = tmp_path / "damaged.pt"
    for number in range(4000):
        kind = ("zip", "legacy", "script", "safe", "bytes", "steps")[number % 6]
        if kind in ("bytes", "steps"):
            change = _damaged if kind == "bytes" else _rearranged
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in names.items():
                    archive.writestr(name, change(data, draw) if name.endswith("data.pkl") else data)
        else:
            path.write_bytes(_damaged((tmp_path / kind).read_bytes(), draw))
        began = time.monotonic()
        try:
            found = read(path)
        except NotPossibleError as error:
            assert str(error).startswith("damaged.pt is "), number
        else:
            try:
                total = sum(tensor.array().nbytes for tensor in found.tensors().values())
            except ValueError:
                total = 0
            assert total < 10_000_000, number
            read_well += 1
        assert isinstance(identified(path), str)
        slowest, most = max(slowest, time.monotonic() - began), max(most, _resident())
    assert 400 < read_well < 3600 and slowest < 5 and most - before < 200e6


def test_numbers_of_bfloat16_are_what_they_were(tmp_path):
    values = torch.tensor([1.0, -2.5, 3e38, 1e-40, float("inf")], dtype=torch.bfloat16)
    torch.save({"x": values}, tmp_path / "x.pt")
    assert np.array_equal(read(tmp_path / "x.pt").tensors()["x"].array(), values.float().numpy())
