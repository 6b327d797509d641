"""The stage as a run uses it: a drummer with known jitter, and songs that must be left alone."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from benchmarks.restorer import Alone
from engine.analysis.song import analyze
from engine.stages.base import Rendered, Signal
from engine.stages.tighten import Tighten, TightenParams
from tests.dsp.test_timing import performance
from tests.stages.test_stages import run

RATE = 22050


def _play(times, rate=RATE, seed=3):
    """Hits of three drums at these seconds."""
    rng = np.random.default_rng(seed)
    song = np.zeros((int((times[-1] + 1) * rate), 2), np.float32)
    time = np.arange(rate // 5) / rate
    drums = [rng.standard_normal(len(time)) * np.exp(-time * fall) * level for fall, level in ((30, 0.3), (80, 0.2))]
    drums.append(0.5 * np.sin(2 * np.pi * 70 * time) * np.exp(-time * 25) + 0.2 * drums[1])
    end = np.minimum(1, (0.2 - time) / 0.05)
    for hit, at in enumerate(times):
        first = round(at * rate)
        song[first : first + len(time)] += ((drums[hit % 3] * end)[:, None] * (1.0, 0.8)).astype(np.float32)
    return song


def _stage(folder, song, rate=RATE, **params):
    path = folder / "song.wav"
    soundfile.write(path, song, rate, subtype="FLOAT")
    context = Alone(path, analyze(path), Signal(path, rate, song.shape[1], len(song), 0.0))
    made = Tighten().run(context, TightenParams(**params))
    assert isinstance(made, Rendered)
    blocks = list(made.blocks())
    return (np.concatenate(blocks) if blocks else song[:0]), made, context


def _struck(song, near, rate=RATE):
    """Seconds at which the hits near these are, by the steepest rise of energy: a picker of its own."""
    energy = np.convolve((song.astype(np.float64) ** 2).sum(axis=1), np.ones(16), "full")[: len(song)]
    rise = np.diff(np.sqrt(energy))
    reach = round(0.06 * rate)
    first = [max(0, round(at * rate) - reach) for at in near]
    return np.array([(at + int(np.argmax(rise[at : at + 2 * reach]))) / rate for at in first])


@pytest.mark.parametrize("swing", [0.5, 0.64])
def test_a_drummers_jitter_is_taken_out_and_his_swing_stays(tmp_path, swing):
    times, meant, places = performance(bpm=100.0, bars=16, swing=swing)
    song = _play(times)
    result, made, _ = _stage(tmp_path, song, most_ms=60.0)
    assert result.shape == song.shape
    before, after = (_struck(audio, meant) - meant for audio in (song, result))
    assert before.std() > 0.012
    assert after.std() < 0.004
    swung = places % 1 > 0
    beat = 0.6
    ratios = [(swing + (off[swung].mean() - off[~swung].mean()) / beat) for off in (before, after)]
    ratios = [ratio / (1 - ratio) for ratio in ratios]
    assert ratios[1] == pytest.approx(ratios[0], rel=0.02)
    assert "sounds moved toward 100 beats a minute: median 1" in made.note


def test_half_strength_halves_it_and_nothing_moves_further_than_allowed(tmp_path):
    times, meant, _ = performance(bpm=100.0, bars=16)
    song = _play(times)
    half = _struck(_stage(tmp_path, song, strength=0.5, most_ms=60.0)[0], meant) - meant
    assert half.std() == pytest.approx(0.5 * (times - meant).std(), rel=0.25)
    capped = _struck(_stage(tmp_path, song, most_ms=5.0)[0], meant)
    assert np.abs(capped - _struck(song, meant)).max() < 0.0055


def test_no_strength_gives_the_very_samples(tmp_path):
    song = _play(performance(bars=8)[0])
    for nothing in ({"strength": 0.0}, {"most_ms": 0.0}):
        np.testing.assert_array_equal(_stage(tmp_path, song, **nothing)[0], song)


def test_a_drummer_in_time_is_left_sample_by_sample(tmp_path):
    song = _play(performance(bars=8, jitter=0.0)[0])
    result, made, _ = _stage(tmp_path, song)
    np.testing.assert_array_equal(result, song)
    assert made.exact and "as tight as can be heard" in made.note


@pytest.mark.parametrize("rate", [8000, 192000])
def test_other_rates(tmp_path, rate):
    times, meant, _ = performance(bars=8, jitter=0.01)
    song = _play(times, rate)
    result, _, _ = _stage(tmp_path, song, rate)
    assert result.shape == song.shape
    assert (_struck(result, meant, rate) - meant).std() < 0.005


@pytest.mark.parametrize("frames", [1, 2000, 5 * RATE])
def test_without_a_beat_the_song_is_left_alone_and_says_so(tmp_path, frames):
    song = (0.1 * np.sin(np.arange(frames) / 9)).astype(np.float32)[:, None]
    result, made, context = _stage(tmp_path, song)
    np.testing.assert_array_equal(result, song)
    assert "no steady beat" in made.note
    assert context.warnings == ["No steady beat was found: the timing was left as it is."]


def test_in_a_run(tmp_path):
    song = tmp_path / "played.wav"
    soundfile.write(song, _play(performance(bars=8)[0]), RATE)
    audio, _, _ = run(tmp_path, song, '[variants.20_tight]\nchain = ["decode", "tighten"]\nsuffix = ".tight"\n')
    assert audio["20_tight"].shape == audio["01_baseline"].shape
    assert np.abs(audio["20_tight"] - audio["01_baseline"]).max() > 0.01


@pytest.mark.parametrize("strength", [0, 1])
def test_what_is_not_moved_is_the_same_file_sample_by_sample(tmp_path, strength):
    """At 0, and at 1 where there is no beat."""
    song = tmp_path / "played.wav"
    noise = np.random.default_rng(1).standard_normal((3 * RATE, 2)) * 0.1
    soundfile.write(song, _play(performance(bars=2)[0]) if not strength else noise, RATE, subtype="PCM_16")
    chain = f'[variants.20_tight]\nchain = ["decode", {{ stage = "tighten", strength = {strength} }}]\n'
    audio, _, _ = run(tmp_path, song, chain + 'suffix = ".tight"\n')
    assert (audio["20_tight"] == audio["01_baseline"]).all()
