"""Onsets found to the sample, and what an encoder spreads ahead of them taken away, with nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from engine.dsp.attack import attack_correction
from engine.dsp.onsets import Onsets, find_onsets
from engine.dsp.pre_echo import Coding, pre_echo_correction
from tests.conftest import write_mp3

RATE = 44100
HITS = (0.5, 0.93, 1.31, 1.77, 2.2)


def _hits(rate=RATE, seconds=3.0, bed=0.002, seed=0):
    """Decaying noise over a quiet tone, one a little to the left; and the frames at which they begin."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    song = bed * np.stack([np.sin(2 * np.pi * 0.02 * rate * time), np.cos(2 * np.pi * 0.03 * rate * time)], axis=1)
    frames = np.array([round(hit * rate) for hit in HITS])
    for at, level in zip(frames, (0.5, 0.2, 0.4, 0.3, 0.5), strict=True):
        tail = rng.standard_normal(len(time) - at) * np.exp(-time[: len(time) - at] * 40)
        song[at:] += level * tail[:, None] * (1.0, 0.7)
    return song.astype(np.float32), frames


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """The hits at 128 kbit/s or so: (original, as decoded, frames of the hits)."""
    song, frames = _hits()
    path = write_mp3(tmp_path_factory.mktemp("hits") / "hits.mp3", song, level=0.75)
    return song, soundfile.read(path, dtype="float32", always_2d=True)[0][: len(song)], frames


def _ahead(audio, frames, seconds=0.025):
    count = round(seconds * RATE)
    return np.array([(audio[at - count : at - 20].astype(np.float64) ** 2).sum() for at in frames])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 192000])
def test_onsets_are_found_to_half_a_millisecond(rate):
    song, frames = _hits(rate)
    found = find_onsets(song, rate).frames
    assert len(found) == len(frames)
    assert np.abs(found - frames).max() <= 0.0005 * rate + 1


def test_a_steady_sound_has_no_onsets():
    rng = np.random.default_rng(1)
    steady = 0.1 * rng.standard_normal((2 * RATE, 2)).astype(np.float32)
    inside = find_onsets(steady, RATE).frames
    assert not len(inside[(inside > 0.1 * RATE) & (inside < 1.9 * RATE)])


def test_pre_echo_of_an_encoder_is_taken_away(coded):
    song, heard, frames = coded
    made = heard + pre_echo_correction(heard, RATE, find_onsets(heard, RATE), Coding(RATE, 64_000))
    before, after = (np.maximum(_ahead(a, frames) - _ahead(song, frames), 1e-12) for a in (heard, made))
    assert (after <= before * 1.01).all()
    assert 10 * np.log10(after.sum() / before.sum()) < -6


def test_nothing_else_is_touched(coded):
    _, heard, _ = coded
    onsets, coding = find_onsets(heard, RATE), Coding(RATE, 64_000)
    changed = np.flatnonzero(pre_echo_correction(heard, RATE, onsets, coding).any(axis=1))
    distance = onsets.frames[:, None] - changed
    assert len(changed)
    assert ((distance > 0) & (distance <= (coding.spread + 0.006) * RATE)).any(axis=0).all()


def test_the_original_is_left_nearly_as_it_is():
    song, _ = _hits(bed=0.02)
    change = pre_echo_correction(song, RATE, find_onsets(song, RATE), Coding(RATE, 64_000))
    assert (change.astype(np.float64) ** 2).sum() < 1e-5 * (song.astype(np.float64) ** 2).sum()


def test_strength_and_bitrate_scale_it(coded):
    _, heard, _ = coded
    onsets = find_onsets(heard, RATE)
    assert not pre_echo_correction(heard, RATE, onsets, Coding(), amount=0).any()
    energies = [
        float((pre_echo_correction(heard, RATE, onsets, Coding(RATE, rate), amount) ** 2).sum())
        for rate, amount in ((64_000, 1.0), (64_000, 0.3), (160_000, 1.0))
    ]
    assert energies[0] > 2 * energies[1] > 0
    assert energies[0] > energies[2]


def test_where_little_of_the_spectrum_is_in_use_next_to_nothing_is_taken_for_noise():
    """A bass that swells into its note: an encoder has all the bits for it."""
    time = np.arange(2 * RATE) / RATE
    bass = np.zeros((len(time), 1), np.float32)
    for at in (0.4, 0.9, 1.4):
        since = time - at
        swell = np.where(since < 0, 0.05 * np.exp(since * 80), np.exp(-since * 6))
        bass[:, 0] += 0.3 * swell * np.sin(2 * np.pi * 700 * since) * (since < 0.4)
    onsets = Onsets(np.array([round(at * RATE) for at in (0.4, 0.9, 1.4)]), np.full(3, 20.0))
    change = pre_echo_correction(bass, RATE, onsets, Coding(RATE, 64_000))
    assert (change**2).sum() < 1e-2 * (_ahead(bass, onsets.frames).sum())


@pytest.mark.parametrize("frames", [0, 1, 50, 3000])
@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_short_and_silent_songs_are_left_alone(frames, rate):
    for channels in (1, 2):
        silence = np.zeros((frames, channels), np.float32)
        change = pre_echo_correction(silence, rate, find_onsets(silence, rate), Coding())
        assert change.shape == silence.shape
        assert not change.any()


def test_one_decision_for_both_channels(coded):
    """A channel that has the same at another level is changed by the same factor."""
    heard = coded[1][:, :1]
    pair = np.concatenate([heard, 0.25 * heard], axis=1)
    change = pre_echo_correction(pair, RATE, find_onsets(pair, RATE), Coding())
    assert change.any()
    np.testing.assert_allclose(change[:, 1], 0.25 * change[:, 0], atol=1e-7)


def test_attacks_are_raised_by_their_envelope_and_nothing_else_is(coded):
    song, _, frames = coded
    onsets = find_onsets(song, RATE)
    change = attack_correction(song, RATE, onsets, 3.0)
    made = song + change

    def level(audio, first, last):
        return np.array([10 * np.log10((audio[at + first : at + last] ** 2).mean()) for at in frames])

    raised = level(made, 20, 300) - level(song, 20, 300)
    assert (raised > 1.0).all() and (raised < 3.1).all()
    assert np.abs(level(made, 1300, 1700) - level(song, 1300, 1700)).max() < 0.5
    changed = np.flatnonzero(change.any(axis=1))
    after = changed - onsets.frames[:, None]
    assert ((after >= 0) & (after <= 0.04 * RATE)).any(axis=0).all()
    assert np.abs(find_onsets(made, RATE).frames - onsets.frames).max() <= 4
    assert not attack_correction(song, RATE, onsets, 0.0).any()


@pytest.mark.parametrize("rate", [8000, 192000])
def test_attacks_at_the_ends_of_a_song(rate):
    song = np.zeros((rate // 4, 1), np.float32)
    song[1] = song[-2] = 0.5
    assert np.isfinite(attack_correction(song, rate, find_onsets(song, rate), 6.0)).all()
    assert np.isfinite(pre_echo_correction(song, rate, find_onsets(song, rate), Coding(rate))).all()


def test_a_bass_does_not_click_where_a_raise_begins_or_ends():
    """Where it is cut it looks like treble, which must not be raised: neither under a steady tone nor after a kick."""
    time = np.arange(2 * RATE) / RATE
    tone = (0.7 * np.sin(2 * np.pi * 40 * time) * np.minimum(1, 2 * time))[:, None].astype(np.float32)
    places = Onsets(np.array([RATE, RATE + 11111]), np.array([10.0, 10.0]))  # taken for onsets all the same
    assert not attack_correction(tone, RATE, places, 6.0).any()
    kick = np.zeros_like(tone)
    kick[RATE:, 0] = 0.9 * np.sin(2 * np.pi * 55 * time[:RATE]) * np.exp(-8 * time[:RATE])
    raised = attack_correction(kick, RATE, find_onsets(kick, RATE), 6.0)
    treble = sosfilt(butter(6, 3000, "high", fs=RATE, output="sos"), raised[:, 0])
    assert np.abs(treble[RATE : RATE + 100]).max() > 1e-3  # its attack is raised
    assert np.abs(treble[RATE + 1000 :]).max() < 1e-4
