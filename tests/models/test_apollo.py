"""Apollo from a tiny random checkpoint of the real architecture, in the published file format."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")

from engine.audio.resample import resample  # noqa: E402
from engine.errors import NotPossibleError, UsageError  # noqa: E402
from engine.models import apollo  # noqa: E402
from engine.models.apollo.network import Apollo, RMSNorm, load, restored, rotated  # noqa: E402
from engine.models.runtime import device as devices  # noqa: E402
from engine.run.events import BatchDone, Progress, TaskFailed  # noqa: E402
from engine.run.session import Session  # noqa: E402
from tests.conftest import execute, write_mp3  # noqa: E402
from tests.models.checkpoints import tiny_apollo  # noqa: E402

RECIPE = 'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.12_apollo]\nchain = ["decode", {chain}]\nsuffix = ".apollo"\n'


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(folder))
    devices.unload_all()
    yield tiny_apollo(folder / "apollo.bin")
    devices.unload_all()


def recipe(tmp_path, chain='"apollo"'):
    path = tmp_path / "apollo.toml"
    path.write_text(RECIPE.replace("{chain}", chain))
    return str(path)


def test_the_published_sizes_are_what_is_published():
    network = Apollo(882, (5,) * 79 + (47,), 256, 6)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(16.54e6, rel=1e-3)
    assert sum(p.numel() for p in Apollo(882, (5,) * 79 + (47,), 384, 6).parameters()) == pytest.approx(
        36.6e6, rel=1e-2
    )


def test_positions_turn_pairs_and_keep_lengths():
    features = torch.randn(2, 3, 7, 8)
    turned = rotated(features)
    pairs, before = turned.unflatten(-1, (4, 2)), features.unflatten(-1, (4, 2))
    assert torch.allclose(pairs.norm(dim=-1), before.norm(dim=-1), atol=1e-5)
    assert torch.allclose(turned[..., 0, :], features[..., 0, :])
    angle = torch.atan2(pairs[..., 3, 0, 1], pairs[..., 3, 0, 0]) - torch.atan2(
        before[..., 3, 0, 1], before[..., 3, 0, 0]
    )
    assert torch.allclose(torch.cos(angle), torch.full_like(angle, math.cos(3)), atol=1e-4)  # position 3, rate 1
    norm = RMSNorm(4)(torch.randn(1, 4, 5) * 30)
    assert torch.allclose(norm.square().mean(dim=1), torch.ones(1, 5), atol=1e-4)


def test_wide_checkpoints_and_prefixed_ones_load_and_others_are_refused(tmp_path, model):
    state = torch.load(model, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"audio_model.{k}": v for k, v in state.items()}}, tmp_path / "prefixed.ckpt")
    rows = np.float32(0.1) * np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    one, other = (restored(load(p, "cpu"), rows, "cpu", "fp32") for p in (model, tmp_path / "prefixed.ckpt"))
    assert np.array_equal(one, other) and one.shape == rows.shape
    for wrong in ({"state_dict": {"x": torch.zeros(2)}}, [1, 2], {"BN.0.0.weight": torch.zeros(11)}):
        torch.save(wrong, tmp_path / "wrong.bin")
        with pytest.raises(NotPossibleError, match="not a checkpoint of Apollo"):
            apollo.check(tmp_path / "wrong.bin")


def test_songs_are_restored_whole_and_resumed_to_the_same_bytes(tmp_path, piece, model):
    library = tmp_path / "lib"
    library.mkdir()
    write_mp3(library / "S.mp3", np.tile(piece, (3, 1)), level=0.8)

    def run(out, stop=False):
        session = Session([library], out, recipe(tmp_path))
        if stop:
            session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and e.chunk == 1 else None)
            assert next(e for e in execute(session) if isinstance(e, BatchDone)).stopped
            session = Session([library], out, recipe(tmp_path))
        assert not [e for e in execute(session) if isinstance(e, TaskFailed)]
        return (out / "12_apollo/S.apollo.flac").read_bytes()

    assert run(tmp_path / "a") == run(tmp_path / "b", stop=True)
    made, rate = soundfile.read(tmp_path / "a/12_apollo/S.apollo.flac", dtype="float32")
    plain, _ = soundfile.read(tmp_path / "a/01_baseline/S.flac", dtype="float32")
    assert rate == 44100 and made.shape == plain.shape
    # Chunks are the same as the model over the whole: their edges are thrown away.
    whole = restored(load(model, "cpu"), plain.T, "cpu", "fp32").T
    inner = slice(44100, -44100)
    assert np.linalg.norm(made[inner] - whole[inner]) < 0.01 * np.linalg.norm(whole[inner])


def test_the_song_can_be_kept_below_a_frequency(tmp_path, songs, model):
    session = Session([songs / "Two.mp3"], recipe=recipe(tmp_path, '{ stage = "apollo", keep_below_hz = 8000 }'))
    assert not [e for e in execute(session) if isinstance(e, TaskFailed)]
    made, rate = soundfile.read(session.store.out / "12_apollo/Two.apollo.flac", dtype="float32")
    plain, plain_rate = soundfile.read(session.store.out / "01_baseline/Two.flac", dtype="float32")
    song = resample(plain, plain_rate, rate)

    def spectrum(audio):
        return np.abs(np.fft.rfft(audio * np.hanning(len(audio))[:, None], axis=0)).sum(axis=1)

    hz = np.fft.rfftfreq(len(song), 1 / rate)
    low = hz < 7400
    assert np.linalg.norm(spectrum(made - song)[low]) < 1e-3 * np.linalg.norm(spectrum(song)[low])
    assert np.linalg.norm(spectrum(made - song)[hz > 8000]) > 0.1 * np.linalg.norm(spectrum(song)[hz > 8000])


def test_when_memory_runs_out_halves_give_the_same(model, monkeypatch):
    from engine.models.apollo import network

    audio = np.float32(0.1) * np.random.default_rng(0).standard_normal((8 * 44100, 2)).astype(np.float32)
    whole = apollo.restore([audio, audio[:50_000]], "cpu", "fp32", print)
    assert [len(a) for a in whole] == [8 * 44100, 50_000]
    real = network.restored

    def short_of_memory(model, rows, device, precision):
        if len(rows) > 2 or rows.shape[1] > 6 * 44100:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, rows, device, precision)

    monkeypatch.setattr(network, "restored", short_of_memory)
    told = []
    halves = apollo.restore([audio, audio[:50_000]], "cpu", "fp32", told.append)
    assert len(told) == 2 and np.abs(halves[1] - whole[1])[:40_000].max() < 1e-4
    edge = slice(apollo.EDGE, -apollo.EDGE)
    assert np.linalg.norm((halves[0] - whole[0])[edge]) < 1e-3 * np.linalg.norm(whole[0][edge])


def test_other_weights_are_a_parameter_and_the_first_ones_keep_their_fingerprints(tmp_path, model):
    from engine.planning.plan import build
    from engine.planning.recipes import load as load_recipe

    def task(chain):
        return next(t for t in build(load_recipe(recipe(tmp_path, chain))) if t.id == "12_apollo")

    plain, named = task('"apollo"'), task('{ stage = "apollo", model = "official" }')
    told = plain.spec()["params"]
    assert told == {"keep_below_hz": 0.0, "precision": "auto"}  # as before there were others: finished songs stay so
    assert plain.fingerprint("x") == named.fingerprint("x")
    other = task('{ stage = "apollo", model = "universal" }')
    assert "models get apollo-universal" in other.impossible
    tiny_apollo(model.with_name("apollo-universal.ckpt"), seed=5)
    other = task('{ stage = "apollo", model = "universal" }')
    assert not other.impossible and other.spec()["params"]["model"] == "universal"
    assert other.fingerprint("x") != plain.fingerprint("x")
    audio = np.float32(0.1) * np.random.default_rng(0).standard_normal((44100, 2)).astype(np.float32)
    one, two = (apollo.restore([audio], "cpu", "fp32", print, which)[0] for which in ("official", "universal"))
    assert np.abs(one - two).max() > 1e-3
    with pytest.raises(UsageError, match="model must be one of official, universal"):
        task('{ stage = "apollo", model = "loud" }')
