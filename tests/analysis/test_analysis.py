"""What is said of a song is true."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import soundfile
import soxr

from engine.analysis.cutoff import LongTermSpectrum, find_cutoff
from engine.analysis.headers import headers_of
from engine.analysis.song import SongAnalysis, analyze
from engine.run.events import SongDone
from engine.run.session import Session
from tests.conftest import execute, write_mp3


def test_survives_being_written_down(demo_mp3):
    found = analyze(demo_mp3)
    assert msgspec.convert(json.loads(json.dumps(found.to_json())), SongAnalysis) == found


def test_header_facts(demo_mp3):
    found = analyze(demo_mp3)
    assert found.mpeg.version == "MPEG-1" and found.mpeg.bitrate_mode == "CBR"
    assert found.mpeg.lame.encoder.startswith("LAME3.") and found.cutoff.source == "lame tag"
    assert found.cutoff.hz == found.mpeg.lame.lowpass and found.warnings == ()


def test_exact_mono_is_told_from_nearly_mono(piece, tmp_path):
    same = np.repeat(piece[:, :1], 2, axis=1)
    soundfile.write(tmp_path / "mono.wav", same, 44100, subtype="FLOAT")
    same[1000, 1] += 1e-4
    soundfile.write(tmp_path / "nearly.wav", same, 44100, subtype="FLOAT")
    assert analyze(tmp_path / "mono.wav").exact_mono and not analyze(tmp_path / "nearly.wav").exact_mono


def test_clipping_is_counted(piece, tmp_path):
    soundfile.write(tmp_path / "clean.wav", piece, 44100, subtype="FLOAT")
    soundfile.write(tmp_path / "hot.wav", np.clip(piece * 4, -1, 1), 44100, subtype="FLOAT")
    assert analyze(tmp_path / "clean.wav").clipped_runs == 0 and analyze(tmp_path / "hot.wav").clipped_runs > 20


def test_full_band_music_has_no_cutoff(piece, tmp_path):
    soundfile.write(tmp_path / "full.wav", piece, 44100)
    assert analyze(tmp_path / "full.wav").cutoff.hz is None


def test_a_song_made_from_another_lossy_one_is_recognised(piece, tmp_path):
    low = write_mp3(tmp_path / "low.mp3", np.tile(piece, (2, 1)), level=0.75)
    audio, rate = soundfile.read(low, dtype="float32")
    high = write_mp3(tmp_path / "high.mp3", audio, rate, level=0.0)
    found = analyze(high)
    assert found.mpeg.lame.lowpass > 19000
    assert found.cutoff.source == "measured" and found.cutoff.hz < 18000
    assert any("another lossy file" in w for w in found.warnings)


def test_a_low_rate_song_without_a_tag_ends_at_its_rate(piece, tmp_path):
    soundfile.write(tmp_path / "low.wav", soxr.resample(piece, 44100, 22050), 22050)
    found = analyze(tmp_path / "low.wav").cutoff
    assert found.hz is not None and 9500 < found.hz <= 11025


def test_the_tag_is_near_lames_own_words_and_the_measurement_near_the_tag(music):
    truth = json.loads((music / "lame_lowpass.json").read_text())
    errors = []
    for name, said in truth.items():
        path = music / f"{name}.mp3"
        if not path.exists():
            continue
        found = analyze(path)
        assert found.cutoff.source == "lame tag"
        assert -400 < found.cutoff.hz - said["lo"] < 600, name
        spectrum = LongTermSpectrum(found.rate)
        audio, _ = soundfile.read(path, dtype="float32", always_2d=True)
        spectrum.process(audio)
        measured, _ = find_cutoff(spectrum, 0)
        if measured.source == "measured":
            errors.append(abs(measured.hz - found.cutoff.hz))
    assert len(errors) > 40 and np.median(errors) < 250


def with_lowpass(path, to, hertz):
    """A copy of an MP3 whose LAME tag tells another low-pass."""
    data = bytearray(path.read_bytes())
    data[data.index(b"LAME3.") + 10] = hertz // 100
    to.write_bytes(data)
    return to


@pytest.mark.parametrize("said", [100, 500, 1900, 5000])
def test_a_tag_that_tells_nonsense_is_not_believed_and_the_song_is_restored(songs, demo_mp3, tmp_path, said):
    honest = analyze(demo_mp3)
    path = with_lowpass(demo_mp3, songs / "absurd.mp3", said)
    found = analyze(path)
    assert found.cutoff.source != "lame tag" and any("not true" in w for w in found.warnings)
    assert found.cutoff.hz is None or abs(found.cutoff.hz - honest.cutoff.hz) < 1500
    assert headers_of(found).lowpass == (said if said >= 2000 else None)
    done = execute(Session([path], tmp_path / "out", "offline", ["11_offline"]))
    assert [e.failed for e in done if isinstance(e, SongDone)] == [()]
