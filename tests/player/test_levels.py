"""Levels for matching and meters, against pyloudnorm; and loading of files at other rates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyloudnorm
import pytest
import soundfile

from engine.audio.resample import resample, resampled_length
from engine.errors import DecodeError, OutputError
from engine.player import tracks
from engine.player.levels import LevelMeter, matched_gains
from engine.player.tracks import Loader, Part, SampleFolder, Track, load, stereo
from tests.player.soundcard import until

RATE = 48000


def levels_of(audio, rate=RATE, block=5000):
    meter = LevelMeter(rate)
    for start in range(0, len(audio), block):
        meter.process(audio[start : start + block])
    return meter.result()


@pytest.fixture
def music(piece):
    return resample(np.ascontiguousarray(piece), 44100, RATE)


def test_loudness_of_all_and_of_a_region_agrees_with_pyloudnorm(music):
    levels = levels_of(music)
    meter = pyloudnorm.Meter(RATE)
    assert levels.loudness() == pytest.approx(meter.integrated_loudness(music), abs=0.05)
    for start, stop in ((48000, 144000), (96123, 150000), (10000, 40000)):
        assert levels.loudness(start, stop) == pytest.approx(meter.integrated_loudness(music[start:stop]), abs=0.1)


def test_matching_makes_all_equal_and_none_clips(music):
    quiet, loud = music * 0.25, music * 2.5  # the loud one is far above full scale
    levels = {"quiet": levels_of(quiet), "plain": levels_of(music), "loud": levels_of(loud)}
    gains = matched_gains(levels)
    heard = {key: levels[key].loudness() + gain for key, gain in gains.items()}
    assert max(heard.values()) - min(heard.values()) < 0.01
    assert all(levels[key].peak_of() * 10 ** (gain / 20) <= 1.0001 for key, gain in gains.items())
    unmatched = matched_gains(levels, match=False)
    assert len(set(unmatched.values())) == 1  # all by the same amount
    assert np.abs(loud).max() * 10 ** (unmatched["loud"] / 20) <= 1.0001
    assert matched_gains({"silence": levels_of(np.zeros((RATE, 2), np.float32)), **levels})["silence"] == 0


def test_meters_read_what_is_known(music):
    level = 10 ** (-20 / 20)
    sine = np.sin(2 * np.pi * 1000 * np.arange(RATE * 4) / RATE).astype(np.float32) * level
    both = levels_of(np.stack([sine, sine], axis=1))
    assert both.momentary(3 * RATE) == pytest.approx(-20, abs=0.1)  # EBU Tech 3341: a 1 kHz sine in both channels
    assert both.short_term(int(3.5 * RATE)) == pytest.approx(-20, abs=0.1)
    assert both.recent_peak(3 * RATE) == pytest.approx(-20, abs=0.01)
    assert both.stereo(3 * RATE) == pytest.approx((1.0, 0.0))
    assert levels_of(np.stack([sine, -sine], axis=1)).stereo(3 * RATE) == pytest.approx((-1.0, 1.0))
    other = levels_of(np.random.default_rng(0).standard_normal((RATE * 2, 2)).astype(np.float32) * 0.1)
    correlation, width = other.stereo(RATE)
    assert abs(correlation) < 0.05 and width == pytest.approx(0.5, abs=0.05)
    peak, rms = both.overview(0, 4 * RATE, 80)
    assert (
        len(peak) == 80
        and peak.max() == pytest.approx(level, rel=0.01)
        and rms.max() == pytest.approx(level / 2**0.5, rel=0.02)
    )


@pytest.mark.parametrize("rate", [44100, 48000, 32000, 22050, 96000])
def test_files_of_any_rate_are_brought_to_the_transport(tmp_path, rate):
    t = np.arange(rate * 2) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([wave, wave], axis=1), rate, subtype="FLOAT")
    track = Track(0, tmp_path / "x.f32")
    load(tmp_path / "x.wav", track, RATE)
    assert track.frames == resampled_length(len(t), rate, RATE) == 2 * RATE and track.complete
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    assert np.abs(track.samples()[2000:-2000, 0] - expected[2000:-2000]).max() < 1e-3


def test_any_number_of_channels_is_folded_to_two():
    assert np.array_equal(stereo(np.array([[0.5]], np.float32)), [[0.5, 0.5]])
    five = stereo(np.array([[0.1, 0.2, 0.3, 0.9, 0.4, 0.5]], np.float32))
    assert np.allclose(five, [[0.1 + (0.3 + 0.4) * 0.7071, 0.2 + (0.3 + 0.5) * 0.7071]], atol=1e-4)


def test_what_is_no_audio_and_a_full_disk_are_one_sentence(tmp_path, monkeypatch, demo_mp3):
    (tmp_path / "no.mp3").write_text("hello")
    with pytest.raises(DecodeError):
        load(tmp_path / "no.mp3", Track(0, tmp_path / "x.f32"), RATE)
    with pytest.raises(OutputError, match="not there"):
        load(demo_mp3, Track(0, tmp_path / "gone" / "x.f32"), RATE)


def test_one_file_that_nobody_expected_does_not_keep_the_others_from_loading(tmp_path, monkeypatch, demo_mp3):
    honest = tracks.load

    def load_some(path, *arguments, **options):
        if path.stem == "strange":
            raise RuntimeError("what no decoder should raise")
        honest(path, *arguments, **options)

    monkeypatch.setattr(tracks, "load", load_some)
    loader = Loader(RATE, lambda track: None)
    strange, good = (Track(n, tmp_path / f"{n}.f32") for n in range(2))
    loader.add(Part("strange", tmp_path / "strange.mp3"), tmp_path / "strange.mp3", strange)
    loader.add(Part("good", demo_mp3), demo_mp3, good)
    until(lambda: good.complete)
    assert "what no decoder should raise" in strange.error
    loader.close()


def test_left_over_sample_folders_are_removed(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old = tmp_path / "mp3restore-player-999999999-abc"
    old.mkdir()
    folder = SampleFolder()
    assert not old.exists() and folder.path.is_dir()
    folder.close()
    assert not folder.path.exists()


def test_a_long_song_can_be_played_ever_further_while_it_loads(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((200 * 8000, 1), np.float32), 8000)
    told = []
    load(tmp_path / "x.wav", Track(0, tmp_path / "x.f32"), 8000, progress=lambda track: told.append(track.ready / 8000))
    assert len(told) == 4 and all(20 * 2**n <= ready < 20 * 2**n + 40 for n, ready in enumerate(told))


def test_what_the_disk_has_no_room_for_is_not_loaded(tmp_path, demo_mp3, monkeypatch):
    monkeypatch.setattr(tracks.shutil, "disk_usage", lambda _: SimpleNamespace(free=(1 << 30) + 1000))
    track = Track(0, tmp_path / "x.f32")
    with pytest.raises(OutputError, match=r"Playing it takes 2 MB in .*, where 1.1 GB are free: make room there"):
        load(demo_mp3, track, RATE)
    assert not track.ready and track.file.stat().st_size == 0
