"""What the audio callback renders, checked sample by sample without any device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.player.renderer import Renderer

RATE = 48000
FADE = 480


def noise(seconds, seed, level=0.2):
    return (level * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2))).astype(np.float32)


def tone(seconds, level=0.5, hz=100.0):
    wave = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def render(renderer, frames, block=256):
    out = np.zeros((frames, 2), np.float32)
    for start in range(0, frames, block):
        renderer.render(out[start : start + block])
    return out


def playing(*tracks):
    renderer = Renderer(RATE)
    for slot, track in enumerate(tracks):
        renderer.load(slot, track)
    renderer.mix({0: 1.0})
    renderer.play()
    return renderer


def test_a_track_is_played_bit_for_bit():
    track = noise(1, 1)
    out = render(playing(track), RATE + 1000)
    assert np.array_equal(out[FADE:RATE], track[FADE:])
    assert not out[RATE:].any()


@given(st.integers(FADE, 40000), st.integers(1, 3000), st.integers(1, 1024))
@settings(max_examples=40, deadline=None)
def test_a_switch_begins_at_the_asked_frame_whatever_the_blocks(at, ahead, block):
    a, b = noise(1, 1), noise(1, 2)
    renderer = playing(a, b)
    before = render(renderer, max(0, at - ahead), block)
    renderer.mix({1: 1.0}, at)
    out = np.concatenate([before, render(renderer, RATE - len(before), block)])
    weight = (np.sin(np.pi / 2 * np.arange(1, FADE + 1) / FADE) ** 2).astype(np.float32)[:, None]
    assert np.array_equal(out[FADE:at], a[FADE:at])
    assert np.array_equal(out[at + FADE :], b[at + FADE :])
    assert np.allclose(out[at : at + FADE], a[at : at + FADE] * (1 - weight) + b[at : at + FADE] * weight, atol=1e-6)
    assert renderer.switched_at == at


@given(st.lists(st.tuples(st.integers(1, 6000), st.integers(0, 7)), min_size=5, max_size=40), st.integers(16, 1024))
@settings(max_examples=40, deadline=None)
def test_whatever_is_pressed_there_is_no_click(presses, block):
    """Tones of 100 Hz: no step may be larger than their slope and that of the crossfades allow."""
    renderer = playing(tone(2), tone(2, 0.25), -tone(2))
    out = []
    for frames, key in presses:
        match key:
            case 0 | 1 | 2:
                renderer.mix({key: 1.0})
            case 3:
                renderer.seek((frames * 7919) % (2 * RATE))
            case 4:
                renderer.pause()
            case 5:
                renderer.play()
            case 6:
                renderer.loop(frames, frames + 9000)
            case 7:
                renderer.mix({0: 0.3, 1: 0.3})
        out.append(render(renderer, frames, block))
    heard = np.concatenate([np.zeros((1, 2), np.float32), *out])
    slope = 2 * np.pi * 100 / RATE * 0.5
    crossfade = np.pi / 2 / FADE * 1.0  # the steepest part of a raised cosine between +0.5 and -0.5
    assert np.abs(np.diff(heard, axis=0)).max() <= 2 * (slope + 2 * crossfade)


def test_variants_that_are_the_same_give_the_same_through_a_switch():
    track = noise(1, 1)
    renderer = playing(track, track.copy())
    render(renderer, 5000)
    renderer.mix({1: 1.0})
    out = render(renderer, 10000)
    assert np.abs(out - track[5000 : 5000 + len(out)]).max() < 1e-6


def test_a_loop_repeats_exactly_its_frames():
    track = noise(1, 3)
    renderer = playing(track)
    renderer.loop(10000, 20000)
    renderer.seek(10000)
    out = render(renderer, 45000)
    for round_ in range(1, 4):
        start = round_ * 10000 + FADE
        assert np.array_equal(out[start : start + 10000 - FADE], track[10000 + FADE : 20000])
    fade_in = out[10000 : 10000 + FADE]
    weight = (np.sin(np.pi / 2 * np.arange(1, FADE + 1) / FADE) ** 2)[:, None]
    assert np.allclose(
        fade_in, track[20000 : 20000 + FADE] * (1 - weight) + track[10000 : 10000 + FADE] * weight, atol=1e-6
    )


def test_pause_keeps_the_place_and_play_goes_on_without_a_gap():
    track = noise(2, 4)
    renderer = playing(track)
    render(renderer, 10000)
    renderer.pause()
    rest = render(renderer, 5000)
    assert not rest[FADE:].any() and renderer.position == 10000 + FADE and not renderer.playing
    renderer.play()
    out = render(renderer, 5000)
    assert np.array_equal(out[FADE:], track[10000 + 2 * FADE : 10000 + FADE + 5000])


def test_seeking_while_paused_moves_the_head_in_silence():
    renderer = playing(noise(2, 4))
    render(renderer, 1000)
    renderer.pause()
    render(renderer, 1000)
    renderer.seek(48000)
    assert not render(renderer, 100).any() and renderer.position == 48000


def test_the_end_stops_and_play_begins_again():
    track = noise(0.5, 5)
    renderer = playing(track)
    render(renderer, RATE)
    assert not renderer.playing and renderer.position == len(track)
    renderer.play()
    out = render(renderer, 2000)
    assert np.array_equal(out[FADE:], track[FADE:2000])


def test_shorter_tracks_end_in_silence_and_a_growing_one_goes_on():
    short, long = noise(0.5, 6), noise(1, 7)
    renderer = playing(short, long)
    out = render(renderer, RATE)
    assert not out[len(short) :].any()
    renderer = Renderer(RATE)
    renderer.load(0, long[:10000])
    renderer.mix({0: 1.0})
    renderer.play()
    head = render(renderer, 5000)
    renderer.load(0, long)
    out = np.concatenate([head, render(renderer, 20000)])
    assert np.array_equal(out[FADE:], long[FADE : len(out)])


@pytest.mark.parametrize("gains", [{0: 1.0}, {0: 0.5, 1: 0.5}, {}])
def test_stems_are_summed(gains):
    a, b = noise(1, 1), noise(1, 2)
    renderer = playing(a, b)
    render(renderer, 1000)
    renderer.mix(gains)
    render(renderer, 1000)
    out = render(renderer, 1000)
    expected = gains.get(0, 0) * a[2000:3000] + gains.get(1, 0) * b[2000:3000]
    assert np.allclose(out, expected, atol=1e-6)
