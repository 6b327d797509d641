"""What the restorer must never learn from, and that what it learns is what the program runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.models.restorer import features, network
from engine.models.restorer.bands import COUNT
from training import pairs, sources
from training.augment import augment, ended, transcoded
from training.weights import write_weights

needs_weights = pytest.mark.skipif(not network.is_here(), reason="needs the weights that python -m training.make makes")
CARD = Path(network.__file__).with_name("card.json")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("openttd-openmsx", "tttheme2"),
        ("openttd-openmsx", "city_blues_redfarn"),
        *(("sonic-pi-samples", f"loop_{n}") for n in ("amen", "amen_full", "tabla", "garzul", "compus")),
        *(("sonic-pi-samples", n) for n in ("guit_em9", "guit_e_slide", "perc_bell", "bass_voxy_c", "bass_woodsy_c")),
        *(("sonic-pi-samples", n) for n in ("drum_splash_hard", "drum_cymbal_open")),
        ("anything", "Kevin_MacLeod_-_Vibe_Ace"),
        ("anything", "Karissa_Hobbs_-_Let's_Go_Fishin'"),
    ],
)
def test_judged_pieces_are_never_learnt_from(package, name):
    assert not sources.may_be_learnt_from(package, name)


def test_others_are(tmp_path):
    """And the excluded ones do not come in through the folders of a package."""
    for package in sources.PACKAGES:
        (tmp_path / package.name).mkdir()
    midi = tmp_path / "openttd-openmsx" / "music"
    midi.mkdir()
    for name in ("tttheme2.mid", "city_blues_redfarn.mid", "chemistry_lab.mid"):
        (midi / name).write_bytes(b"MThd")
    samples = tmp_path / "sonic-pi-samples" / "samples"
    samples.mkdir()
    for name in ("loop_amen.flac", "guit_harmonics.flac", "loop_mika.flac"):
        (samples / name).write_bytes(b"")
    found = sources.tracks({package.name: tmp_path / package.name for package in sources.PACKAGES})
    assert [track.path.name for track in found] == ["chemistry_lab.mid", "loop_mika.flac"]


@needs_weights
def test_the_card_names_nothing_that_is_excluded():
    card = json.loads(CARD.read_text("utf-8"))
    assert len(card["tracks"]) > 100
    for track in card["tracks"]:
        assert sources.may_be_learnt_from(track["package"], Path(track["track"]).name), track
        assert track["licence"] and len(track["sha256"]) == 64
    assert card["fingerprint"] == network.fingerprint()


def test_a_card_has_a_line_for_each_track():
    from training.make import compact

    card = {"made": "so", "held out": {"all": {"pairs": 2}}, "tracks": [{"track": "ä"}, {"track": "b"}]}
    assert json.loads(compact(card)) == card and len(compact(card).splitlines()) == 10
    if CARD.is_file():
        told = CARD.read_text("utf-8")
        assert len(told.splitlines()) < len(json.loads(told)["tracks"]) + 80


@pytest.mark.skipif(shutil.which("lame") is None, reason="needs lame")
def test_an_earlier_encoder_leaves_some_excerpts_as_long_as_they_were(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (44100, 2)).astype(np.float32)
    made = [transcoded(noise, tmp_path, np.random.default_rng(seed)) for seed in range(30)]
    changed = [audio for audio in made if audio is not noise]
    assert 0 < len(changed) < 15 and all(audio.shape == noise.shape for audio in changed)


def test_records_tops_are_given_and_ends_kept_from_low_cutoffs():
    pytest.importorskip("torch")
    from training import train

    assert (train._ends(a_batch(cutoff=11000.0), np.random.default_rng(0)) == 0).all()
    fallen = train._ends(a_batch(cutoff=18600.0), np.random.default_rng(0))
    assert 0 < (fallen.max(axis=1) > 0).mean() < 0.5 and (np.diff(fallen, axis=1) >= 0).all()


def test_what_sinks_below_silence_is_heard_as_silence():
    """Features never tell of less; were it learnt that they do, an end would be looked for where none can be seen."""
    torch = pytest.importorskip("torch")
    from training.train import _equalise

    moments = torch.full((1, 5, features.MOMENT_SIZE), 0.5)
    moments[..., :COUNT] = 0
    loudness = torch.full((1, 5), 30.0)
    bands = torch.zeros(1, COUNT)
    bands[:, 60:] = -200
    _equalise(moments, loudness, loudness, bands)
    per_band = moments[0, 0, : features.PER_BAND * COUNT].reshape(features.PER_BAND, COUNT)
    silence = (features.FLOOR_DB + features.ROUNDING - 30) / 20
    assert (per_band[0, :60] == 0).all() and (per_band[1:, :60] == 0.5).all()
    assert torch.allclose(per_band[0, 60:], torch.tensor(silence)) and (per_band[1:, 60:] == 0).all()


@pytest.mark.skipif(shutil.which("lame") is None, reason="needs lame")
def test_every_other_piece_ends_by_itself(tmp_path):
    """And the encoder's own end is still the cutoff: what lies between them is what there is to learn from."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * 44100, 2)).astype(np.float32)
    ends = [np.abs(np.fft.rfft(ended(noise, np.random.default_rng(seed)), axis=0)).max(axis=1) for seed in range(20)]
    heard = np.array([np.flatnonzero(values > values.max() / 100)[-1] / 3 for values in ends])
    assert 11000 < heard.min() < 13000 and 19000 < heard.max() < 21500
    soundfile.write(tmp_path / "loop_x.flac", noise, 44100)
    track = sources.Track("sonic-pi-samples", "CC0", "loop_x", "loop", tmp_path / "loop_x.flac", True)
    count = pairs.write_ended_pairs(track, [tmp_path], [], tmp_path / "pairs", 1)
    told = [json.loads(path.read_text()) for path in sorted((tmp_path / "pairs").glob("*/pair.json"))]
    assert 0 < len(told) <= count == 4
    assert all(one["bitrate"] >= 90 and one["cutoff"] > 14000 for one in told)


def a_batch(cutoff):
    """Of forty stretches of nothing."""
    import torch

    from training.train import Batch

    rows = {name: torch.zeros(40, 1) for name in Batch.__annotations__}
    return Batch(**(rows | {"cutoff": torch.full((40, 1), cutoff)}))


def test_augmented_music_is_sound_and_told_by_its_seed():
    tone = np.sin(np.arange(44100) / 20)[:, None].repeat(2, 1).astype(np.float32)
    first, second, other = (augment(tone.copy(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == second).all() and not np.allclose(first, other)
    assert np.isfinite(first).all() and np.abs(first).max() <= 1


def test_the_same_values_make_the_same_file(tmp_path):
    values = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.ones(2, np.float16)}
    write_weights(tmp_path / "1.npz", values)
    write_weights(tmp_path / "2.npz", dict(reversed(values.items())))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz", allow_pickle=False) as stored:
        assert (stored["a"] == values["a"]).all()


def test_numpy_computes_what_pytorch_learnt():
    torch = pytest.importorskip("torch")
    from training.network import RestorerNetwork

    torch.manual_seed(0)
    learnt = RestorerNetwork(24, 0.0).eval()
    with torch.no_grad():
        for value in learnt.parameters():
            value.normal_(0, 0.05)
    dice = np.random.default_rng(0)
    values = dice.normal(0, 0.5, (60, 1, features.MOMENT_SIZE)).astype(np.float32)
    song = dice.normal(0, 0.5, features.SONG_SIZE).astype(np.float32)
    with torch.no_grad():
        raw = learnt(torch.from_numpy(values[:, 0].T[None]), torch.from_numpy(song[None]))[0].T.numpy()
    loudness = np.full((60, 1, 1), 30, np.float32)
    run = network.Network({name: value.astype(np.float32) for name, value in learnt.weights().items()})
    answer = run(features.Moments(values, loudness), song)
    known = np.maximum(values[:, 0, :COUNT], network.LEAST_KNOWN)
    expected = np.maximum((raw[:, :COUNT] + known) * network.LEVEL_UNIT + 30, features.FLOOR_DB - 20)
    assert np.abs(answer.level[:, 0] - expected).max() < 0.2  # half precision
    assert np.abs(answer.flatness[:, 0] - np.minimum(raw[:, COUNT : 2 * COUNT] * 5, 0)).max() < 0.1
