"""What really comes out of a sound card: recorded from a PulseAudio null sink, through a real PortAudio stream."""

from __future__ import annotations

import itertools
import os
import signal
import time

import numpy as np
import pyloudnorm
import pytest
import soundfile

from engine.dsp.mix import Strip
from engine.player.player import Player
from engine.player.tracks import Candidate, Part
from tests.player.soundcard import record, until

RATE = 48000
SYNC = 2000  # frame of the one sample that is known by its height
FADE = 480


def candidate(path, key):
    return Candidate(key, key, (Part(key, path),))


def write(folder, **tracks):
    found = []
    for key, audio in tracks.items():
        soundfile.write(folder / f"{key}.wav", audio, RATE, subtype="FLOAT")
        found.append(candidate(folder / f"{key}.wav", key))
    return found


def noise(seconds, seed, level=0.1):
    audio = (
        (level * np.random.default_rng(seed).standard_normal((seconds * RATE, 2))).astype(np.float32).clip(-0.8, 0.8)
    )
    audio[SYNC] = 0.95
    return audio


@pytest.fixture
def player():
    player = Player()
    yield player
    player.close()


def ready(player, candidates, match=False):
    player.open(candidates)
    player.set_match(match)
    until(lambda: not player.loading and player.device_name)
    return player


def start_of(heard):
    """Where frame 0 of the song lies in a recording."""
    return int(np.argmax(np.abs(heard[:, 0]) > 0.9)) - SYNC


def test_switches_are_at_the_asked_frame_and_no_sample_is_lost_or_repeated(sound_card, player, tmp_path):
    tracks = {key: noise(12, seed) for seed, key in enumerate("abc")}
    ready(player, write(tmp_path, **tracks))
    dice = np.random.default_rng(5)

    def toggle():
        player.pause()
        until(lambda: not player.playing)
        player.select("a")
        player.seek(0)
        time.sleep(0.2)
        asked, at = [("a", 0)], 0
        player.play()
        until(lambda: player.position > 0)
        for _ in range(15):
            at = max(at + 4 * FADE, player.position + int(dice.integers(12000, 20000)))
            key = "abc"[int(dice.integers(3))]
            player.select(key, at)
            asked.append((key, at))
            until(lambda at=at: player._output.status[6] == at)
        until(lambda: player.position > at + RATE)
        stop = player.position
        player.pause()
        time.sleep(0.5)
        return asked, stop

    recorded, (asked, stop) = record(sound_card, player, toggle)
    heard = recorded[start_of(recorded) :]
    weight = (np.sin(np.pi / 2 * np.arange(1, FADE + 1) / FADE) ** 2).astype(np.float32)[:, None]
    expected = tracks["a"].copy()
    for (before, _), (key, at) in itertools.pairwise(asked):
        expected[at + FADE :] = tracks[key][at + FADE :]
        part = slice(at, at + FADE)
        expected[part] = tracks[before][part] * (1 - weight) + tracks[key][part] * weight
    assert np.abs(heard[FADE:stop] - expected[FADE:stop]).max() < 1e-6


def test_toggled_variants_are_equally_loud_within_a_tenth(sound_card, player, tmp_path, piece):
    from engine.audio.resample import resample

    music = np.tile(resample(np.ascontiguousarray(piece), 44100, RATE), (3, 1))[: 12 * RATE] * 0.5
    music[SYNC] = 0.95
    bright = music + 0.3 * np.diff(music, axis=0, prepend=0).astype(np.float32)
    ready(player, write(tmp_path, a=music, b=bright * 0.5, c=music * 0.2), match=True)
    region = (3 * RATE, 9 * RATE)
    player.set_region(region, looping=True)
    loudness = {}
    for key in "abc":
        player.select(key)
        player.seek(region[0])
        with sound_card.recording() as recordings:
            player.play()
            time.sleep(6.5)
            player.pause()
        heard = recordings[0]
        begin = int(np.argmax(np.abs(heard).max(axis=1) > 1e-4))
        loudness[key] = pyloudnorm.Meter(RATE).integrated_loudness(
            heard[begin + FADE : begin + FADE + 6 * RATE].astype(float)
        )
    assert max(loudness.values()) - min(loudness.values()) < 0.1, loudness


def test_x_is_bit_identical_to_what_it_is(sound_card, player, tmp_path):
    """A blind test's X goes through the very same path as the candidate behind it."""
    from engine.player.blind import BlindTest, Kind

    tracks = {"a": noise(4, 1), "b": noise(4, 2)}
    ready(player, write(tmp_path, **tracks), match=True)
    test = BlindTest(Kind.ABX, ["a", "b"], 10)
    heard = {}

    def listen(label):
        player.pause()
        player.seek(0)
        player.select(test.current.candidate(label))
        time.sleep(0.3)
        player.play()
        time.sleep(2)
        player.pause()

    for label in ("A", "B", "X"):
        recorded, _ = record(sound_card, player, lambda label=label: listen(label))
        start = start_of(recorded)
        heard[label] = recorded[start + FADE : start + RATE]
    behind = "A" if test.current.candidate("X") == "a" else "B"
    assert np.array_equal(heard["X"], heard[behind])
    assert not np.array_equal(heard["A"], heard["B"])


def test_an_unplugged_device_is_told_and_its_return_found(sound_card, player, tmp_path):
    ready(player, write(tmp_path, a=noise(30, 1)))
    player.play()
    until(lambda: player.position > RATE // 2)
    sound_card.unplug()
    until(lambda: player.problem, 15)
    assert not player.playing and not player.device_name
    player.seek(5 * RATE)
    until(lambda: player.position == 5 * RATE)
    sound_card.plug_in()
    until(lambda: player.device_name, 20)
    assert not player.problem and player.position == 5 * RATE
    with sound_card.recording() as recordings:
        player.play()
        time.sleep(1)
    assert np.abs(recordings[0]).max() > 0.1


def test_a_crash_of_the_sound_process_is_survived(sound_card, player, tmp_path):
    ready(player, write(tmp_path, a=noise(10, 1)))
    player.seek(3 * RATE)
    until(lambda: player._output.status[0] == 3 * RATE)
    child = player._output.child
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: player._output.child is not child)
    until(lambda: player._output.status[0] == 3 * RATE and player.device_name)
    player.play()
    until(lambda: player.position > 4 * RATE)


def test_the_mix_of_stems_is_their_sum(sound_card, player, tmp_path):
    vocals, drums = noise(4, 1, 0.05), noise(4, 2, 0.05)
    drums[SYNC] = 0
    paths = {}
    for name, audio in (("vocals", vocals), ("drums", drums), ("vocals.enhanced", vocals * 0.5)):
        paths[name] = tmp_path / f"{name}.wav"
        soundfile.write(paths[name], audio, RATE, subtype="FLOAT")
    stems = Candidate(
        "s", "s", (Part("vocals", paths["vocals"], paths["vocals.enhanced"]), Part("drums", paths["drums"]))
    )
    ready(player, [stems])
    assert [s.name for s in player.stems_of("s")] == ["vocals", "drums"] and player.stems_of("s")[0].can_be_enhanced

    def play():
        player.seek(0)
        time.sleep(0.2)
        player.play()
        time.sleep(1.5)
        player.pause()
        time.sleep(0.2)

    def listen():
        return record(sound_card, player, play)[0]

    both = listen()
    start = start_of(both)
    assert np.abs(both[start + FADE : start + RATE] - (vocals + drums)[FADE:RATE]).max() < 1e-6
    player.stems_of("s")[1].strip = Strip(muted=True)
    player.stems_changed()
    alone = listen()
    start = start_of(alone)
    assert np.array_equal(alone[start + FADE : start + RATE], vocals[FADE:RATE])
    player.stems_of("s")[0].enhanced = True
    player.stems_changed()
    enhanced = listen()
    start = int(np.argmax(np.abs(enhanced[:, 0]) > 0.45)) - SYNC
    assert np.abs(enhanced[start + FADE : start + RATE] - 0.5 * vocals[FADE:RATE]).max() < 1e-6


def test_without_any_sound_card_everything_else_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
    player = Player()
    try:
        player.open(write(tmp_path, a=noise(3, 1), b=noise(3, 2)))
        until(lambda: not player.loading)
        until(lambda: player.problem)
        assert player.problem in ("no sound device was found",) or "PortAudio" in player.problem
        player.play()
        player.seek(RATE)
        until(lambda: player.position == RATE)
        player.select("b")
        assert player.current == "b" and not player.playing and player.levels_of("b").loudness() > -60
    finally:
        player.close()
