"""A drummer whose jitter is known is brought back to the beat, with his swing, his attacks and the song's length."""

from __future__ import annotations

import numpy as np
import pytest

from engine.dsp.beats import find_grid
from engine.dsp.onsets import find_onsets
from engine.dsp.timing import moved, moves

RATE = 44100


def performance(bpm=112.0, bars=24, swing=0.5, jitter=0.015, drift=0.0, seed=0):
    """(seconds of the hits as they were played, as they were meant, place in beats)."""
    rng = np.random.default_rng(seed)
    places = np.array([beat + at for beat in range(4 * bars) for at in (0, swing) if not at or rng.random() < 0.75])
    meant = 0.7 + places * 60 / bpm + drift * np.sin(2 * np.pi * places / 64)
    return meant + np.clip(rng.normal(0, jitter, len(meant)), -0.045, 0.045), meant, places


@pytest.mark.parametrize(
    "how",
    [{}, {"swing": 0.66}, {"bpm": 100.0, "swing": 0.53}, {"bpm": 170.0}, {"bpm": 75.0, "swing": 0.57}, {"drift": 0.15}],
    ids=["straight", "swung", "hardly swung", "fast", "slow", "drifting"],
)
def test_the_grid_is_what_was_meant(how):
    for seed in (0, 1):
        times, meant, places = performance(**how, seed=seed)
        grid = find_grid(times, np.ones(len(times)))
        assert grid is not None
        off = grid.targets - meant
        assert np.isfinite(off).mean() > 0.95
        assert np.nanstd(off) < 0.004
        swung = places % 1 > 0
        for part in (swung, ~swung):  # systematic is no mistake
            assert abs(np.nanmean(grid.targets[part] - times[part])) < 0.002


@pytest.mark.parametrize("seed", range(4))
def test_what_has_no_steady_beat_has_no_grid(seed):
    rng = np.random.default_rng(seed)
    scattered = np.sort(rng.uniform(0, 60, 60 + 60 * seed))
    wavering = np.cumsum(0.5 * np.exp(rng.normal(0, 0.15, 200)))
    for times in (scattered, wavering, scattered[:5], scattered[:0]):
        assert find_grid(times, np.ones(len(times))) is None


def _click(frames, length):
    song = np.zeros((length, 2), np.float32)
    tail = np.random.default_rng(0).standard_normal((4000, 2)) * np.exp(-np.arange(4000) / 700)[:, None]
    for at in frames:
        song[at : at + 4000] += 0.3 * tail[: length - at]
    return song


def _done(song, frames, shifts, rate=RATE):
    plan = moves(np.array(frames), np.array(shifts), len(song), rate)

    def read(first, last):
        inside = song[max(0, first) : max(0, min(last, len(song)))]
        ahead = max(0, min(-first, last - first))
        return np.pad(inside, ((ahead, last - first - ahead - len(inside)), (0, 0)))

    blocks = list(moved(plan, read, rate, 5000))
    return plan, np.concatenate(blocks) if blocks else song[:0]


def test_hits_are_moved_whole_and_the_length_stays():
    frames, shifts = [9000, 30000, 52000, 70000], [400, -700, 0, 900]
    song = _click(frames, 90000)
    plan, result = _done(song, frames, shifts)
    assert result.shape == song.shape
    np.testing.assert_array_equal(plan.shifts, shifts)
    for at, by in zip(frames, shifts, strict=True):
        np.testing.assert_array_equal(result[at + by - 200 : at + by + 1200], song[at - 200 : at + 1200])
    np.testing.assert_array_equal(find_onsets(result, RATE).frames - find_onsets(song, RATE).frames, shifts)


def test_what_is_not_moved_is_the_song_itself():
    song = _click([9000, 30000], 50000)
    np.testing.assert_array_equal(_done(song, [9000, 30000], [0, 0])[1], song)
    np.testing.assert_array_equal(_done(song, [], [])[1], song)


def test_a_steady_tone_has_no_step_where_it_is_spliced():
    tone = np.sin(2 * np.pi * 220 * np.arange(60000) / RATE)[:, None].astype(np.float32)
    _, result = _done(tone, [20000, 40000], [600, -500])
    assert np.abs(np.diff(result[:, 0])).max() < 1.5 * 2 * np.pi * 220 / RATE


@pytest.mark.parametrize("seed", range(20))
def test_hostile_moves_never_break_the_length(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 40000))
    frames = np.unique(rng.integers(0, length, rng.integers(0, 30)))
    shifts = rng.integers(-6000, 6000, len(frames))
    song = rng.standard_normal((length, 1)).astype(np.float32)
    plan, result = _done(song, frames, shifts, int(rng.choice([8000, 44100, 192000])))
    assert result.shape == song.shape and np.isfinite(result).all()
    assert (np.abs(plan.shifts) <= np.abs(shifts).max(initial=0)).all()
    assert all(one.end == other.start for one, other in zip(plan.pieces, plan.pieces[1:], strict=False))
