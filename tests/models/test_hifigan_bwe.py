"""HiFi-GAN BWE from a random checkpoint of the real architecture, in the published file format, on music."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")

from engine.errors import NotPossibleError  # noqa: E402
from engine.models import hifigan_bwe  # noqa: E402
from engine.models.hifigan_bwe.network import GatedLayer, load, run  # noqa: E402
from engine.models.runtime.checkpoint import read  # noqa: E402
from engine.run.events import BatchDone, Progress, TaskFailed  # noqa: E402
from engine.run.session import Session  # noqa: E402
from tests.conftest import execute  # noqa: E402

RECIPE = 'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.08_hifigan_bwe]\nchain = ["decode", "hifigan-bwe"]\nsuffix = ".bwe"\n'


class _Bag(torch.nn.Module):
    """Holds parameters under the names of the published file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def conv(into, out, kernel, normed):
    layer = torch.nn.Conv1d(into, out, kernel)
    if not normed:
        return layer
    bag = _Bag()
    bag.bias = layer.bias
    bag.weight_v = layer.weight
    bag.weight_g = torch.nn.Parameter(layer.weight.detach().pow(2).sum((1, 2), keepdim=True).sqrt() * 1.5)
    return bag


def checkpoint(path, channels=8, layers=16, normed=False):
    """A TorchScript file as the package saves it, with random weights."""
    torch.manual_seed(4)
    model, wave = _Bag(), _Bag()
    wave._conv_in = conv(1, channels, 1, normed)
    wave._layers = torch.nn.ModuleList()
    for _ in range(layers):
        layer = _Bag()
        layer._conv = conv(channels, channels, 3, normed)
        layer._conv_skip = conv(channels // 2, channels, 1, normed)
        layer._conv_out = conv(channels // 2, channels, 1, normed)
        wave._layers.append(layer)
    wave._conv_out = conv(channels, 1, 1, normed)
    model._wavenet = wave
    model.register_buffer("sample_rate", torch.tensor(48000))
    torch.jit.save(torch.jit.script(model), str(path))
    return path


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(folder))
    return checkpoint(folder / hifigan_bwe.WEIGHTS.filename)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "bwe.toml"
    path.write_text(RECIPE)
    return str(path)


def test_weights_are_read_with_and_without_weight_normalisation(tmp_path):
    plain, normed = checkpoint(tmp_path / "plain.pt"), checkpoint(tmp_path / "normed.pt", normed=True)
    tensors = read(plain).tensors()
    assert tensors["sample_rate"].array() == 48000 and len(tensors) == 2 + 16 * 6 + 2 + 1
    signal = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    one, other = load(plain, "cpu"), load(normed, "cpu")
    assert torch.allclose(other.layers[0].dilated.weight, 1.5 * one.layers[0].dilated.weight, atol=1e-6)
    assert run(one, signal, "cpu").shape == signal.shape


def test_a_layer_computes_what_the_papers_say():
    """WaveNet's gate by hand, sample by sample: tanh of one half times the sigmoid of the other."""
    torch.manual_seed(1)
    layer = GatedLayer(4, 3)
    signal = torch.randn(1, 4, 40)
    with torch.no_grad():
        onward, skip = layer(signal)
        at = 20
        weight, bias = layer.dilated.weight, layer.dilated.bias
        taps = sum(weight[:, :, k] @ signal[0, :, at + 3 * (k - 1)] for k in range(3)) + bias
        gated = torch.tanh(taps[:2]) * torch.sigmoid(taps[2:])
        assert torch.allclose(skip[0, :, at], layer.skip.weight[:, :, 0] @ gated + layer.skip.bias, atol=1e-5)
        out = layer.residual.weight[:, :, 0] @ gated + layer.residual.bias
        assert torch.allclose(onward[0, :, at], (out + signal[0, :, at]) * math.sqrt(0.5), atol=1e-5)


def test_a_sample_is_decided_by_its_reach_alone(model):
    noise = 0.1 * np.random.default_rng(0).standard_normal((40000, 1)).astype(np.float32)
    whole = hifigan_bwe.extend(noise, "cpu")
    piece = hifigan_bwe.extend(noise[10000:35000], "cpu")
    inner = slice(hifigan_bwe.REACH, 25000 - hifigan_bwe.REACH)
    assert np.abs(piece[inner] - whole[10000:35000][inner]).max() < 1e-6


def test_songs_get_a_band_above_and_stay_what_they_are_below(songs, model, recipe):
    session = Session([songs], recipe=recipe)
    events = execute(session)
    assert not [e for e in events if isinstance(e, TaskFailed)]
    out = session.store.out
    plain, rate = soundfile.read(out / "01_baseline/Two.flac")
    made, _ = soundfile.read(out / "08_hifigan_bwe/Two.bwe.flac")
    cutoff = session.store.record(session.songs[1]).analysis.cutoff.hz
    assert made.shape == plain.shape
    spectrum = np.abs(np.fft.rfft((made - plain) * np.hanning(len(plain))[:, None], axis=0)).sum(axis=1)
    original = np.abs(np.fft.rfft(plain * np.hanning(len(plain))[:, None], axis=0)).sum(axis=1)
    hz = np.fft.rfftfreq(len(plain), 1 / rate)
    below = hz < cutoff - 600
    null = 20 * np.log10(np.linalg.norm(spectrum[below]) / np.linalg.norm(original[below]))
    assert null < -60, null
    above = hz > cutoff
    assert np.linalg.norm(spectrum[above]) > 10 * np.linalg.norm(spectrum[below])
    marker = session.store.marker(session.songs[1], next(t for t in session.tasks if t.id == "08_hifigan_bwe"))
    assert "speech-trained" in marker.note and "generated above" in marker.note
    assert marker.recipe["model"] == hifigan_bwe.fingerprint()


def test_equal_channels_stay_equal_and_resuming_gives_the_same_bytes(tmp_path, piece, model, recipe):
    library = tmp_path / "mono"
    library.mkdir()
    middle = np.tile(piece.mean(axis=1), 3)
    almost = np.stack([middle, middle], axis=1)
    soundfile.write(library / "M.mp3", almost, 44100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.8)

    def bytes_of(out, stop):
        session = Session([library], out, recipe, ["08"])
        if stop:
            session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and e.chunk == 1 else None)
            assert next(e for e in execute(session) if isinstance(e, BatchDone)).stopped
            session = Session([library], out, recipe, ["08"])
        execute(session)
        return (out / "08_hifigan_bwe/M.bwe.flac").read_bytes()

    assert bytes_of(tmp_path / "a", False) == bytes_of(tmp_path / "b", True)
    made, _ = soundfile.read(tmp_path / "a/08_hifigan_bwe/M.bwe.flac")
    assert np.abs(made[:, 0] - made[:, 1]).max() < 2e-7


def test_another_model_makes_the_variant_stale_and_a_wrong_one_is_told(songs, model, recipe):
    execute(Session([songs / "Two.mp3"], recipe=recipe))
    checkpoint(model, channels=6)
    session = Session([songs / "Two.mp3"], recipe=recipe)
    assert [s.value for s in session.states()[0].states.values()] == ["done", "stale"]
    torch.jit.save(torch.jit.script(_Bag()), str(model))
    failed = [e for e in execute(Session([songs / "Two.mp3"], recipe=recipe)) if isinstance(e, TaskFailed)]
    assert len(failed) == 1 and "get it again" in failed[0].reason
    with pytest.raises(NotPossibleError):
        hifigan_bwe.check(model)


def test_without_the_model_the_variant_is_not_possible_and_says_what_to_do(songs, tmp_path, monkeypatch, recipe):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "none"))
    session = Session([songs], recipe=recipe)
    task = next(t for t in session.tasks if t.id == "08_hifigan_bwe")
    assert "mp3restore models get hifigan-bwe" in task.impossible
    assert next(e for e in execute(session) if isinstance(e, BatchDone)).failed == 0
