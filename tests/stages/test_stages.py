"""Decode, low-pass, denoise and master through a real run."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from engine.audio.loudness import LoudnessMeter, TruePeakMeter, decibels
from engine.models import deepfilternet
from engine.run.events import SongWarning, TaskFailed
from engine.run.session import Session
from tests.conftest import execute, write_mp3


def run(tmp_path, path, variants):
    """Make ``variants`` (TOML) of one song and give their samples and rate."""
    (tmp_path / "r.toml").write_text('format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n' + variants)
    session = Session([path], tmp_path / "out", str(tmp_path / "r.toml"))
    events = execute(session)
    assert [e for e in events if isinstance(e, TaskFailed)] == []
    audio = {}
    for task in session.tasks:
        audio[task.id], rate = soundfile.read(
            session.store.output_path(session.songs[0], task), dtype="float32", always_2d=True
        )
    return audio, rate, events


def levels(audio, rate):
    loudness, peak = LoudnessMeter(rate, audio.shape[1]), TruePeakMeter(rate, audio.shape[1])
    loudness.process(audio)
    peak.process(audio)
    return loudness.integrated(), decibels(peak.true_peak())


def test_decode_is_the_decoders_own_samples(demo_mp3, tmp_path):
    audio, rate, _ = run(tmp_path, demo_mp3, "")
    plain, _ = soundfile.read(demo_mp3, dtype="float32")
    assert rate == 44100 and np.abs(audio["01_baseline"] - plain).max() < 3e-7


def test_a_song_that_overshoots_is_attenuated_and_says_so(piece, tmp_path):
    path = write_mp3(tmp_path / "hot.mp3", np.clip(piece * 6, -1, 1))
    audio, _, _ = run(tmp_path, path, "")
    plain, _ = soundfile.read(path, dtype="float32")
    assert np.abs(plain).max() > 1.0 and np.abs(audio["01_baseline"]).max() < 1.0
    gain = float(FLAC(tmp_path / "out/01_baseline/hot.flac")["mp3restore_gain"][0].split()[0])
    assert np.abs(plain * 10 ** (gain / 20) - audio["01_baseline"]).max() < 1e-3


def test_low_rates_come_out_at_48_khz(piece, tmp_path):
    import soxr

    path = write_mp3(tmp_path / "low.mp3", soxr.resample(piece, 44100, 24000), 24000, level=0.5)
    audio, rate, _ = run(tmp_path, path, '[variants.11_offline]\nchain = ["decode", "restore"]\n')
    assert rate == 48000 and audio["01_baseline"].shape == audio["11_offline"].shape == (6 * 48000, 2)


def test_lowpass_cuts_below_the_songs_own_cutoff(demo_mp3, tmp_path):
    audio, rate, _ = run(tmp_path, demo_mp3, '[variants.20_low]\nchain = ["decode", "lowpass"]\n')
    window = np.hanning(len(audio["20_low"]))
    low, base = (np.abs(np.fft.rfft(audio[v][:, 0] * window)) for v in ("20_low", "01_baseline"))
    frequency = np.fft.rfftfreq(len(window), 1 / rate)
    assert low[frequency > 16600].max() < 1e-4 * base[(frequency > 16600) & (frequency < 17300)].max()
    assert np.abs(low - base)[frequency < 15900].max() < 1e-3 * base.max()


needs_model = pytest.mark.skipif(bool(deepfilternet.unavailable_reason()), reason="DeepFilterNet is not installed here")
DENOISED = '[variants.09_denoised]\nchain = ["decode", { stage = "denoise", attenuation_limit_db = 30 }]\n'


@needs_model
def test_the_restorer_begins_where_what_comes_along_the_chain_ends(demo_mp3, tmp_path):
    """After a low-pass its input ends lower than the song: the band in between is rebuilt too."""
    text = (
        '[variants.20_low]\nchain = ["decode", { stage = "lowpass", cutoff_hz = 9000 }]\n'
        '[variants.21_rebuilt]\nfrom = "20_low"\nchain = ["restore"]\n'
    )
    audio, rate, _ = run(tmp_path, demo_mp3, text)

    def level(name):
        power = np.abs(np.fft.rfft(audio[name].mean(axis=1))) ** 2
        return 10 * np.log10(power[int(10500 * len(audio[name]) / rate) : int(13500 * len(audio[name]) / rate)].mean())

    assert level("21_rebuilt") > level("20_low") + 20
    note = FLAC(tmp_path / "out/21_rebuilt" / f"{demo_mp3.stem}.rebuilt.flac")["mp3restore_note"][0]
    assert "above 8.5 kHz" in note


def test_denoise_takes_noise_out_and_stays_in_step(tmp_path):
    rng = np.random.default_rng(0)
    time = np.arange(44100 * 4) / 44100
    voice = np.sin(2 * np.pi * 180 * time * (1 + 0.001 * np.sin(time))) * (np.sin(2 * np.pi * 1.5 * time) > 0)
    for harmonic in range(2, 20):
        voice = voice + np.sin(2 * np.pi * 180 * harmonic * time) / harmonic * (np.sin(2 * np.pi * 1.5 * time) > 0)
    clean = np.stack([voice, 0.5 * voice], axis=1) * 0.1
    soundfile.write(tmp_path / "n.wav", clean + rng.standard_normal(clean.shape) * 0.01, 44100, subtype="FLOAT")
    audio, _, _ = run(tmp_path, tmp_path / "n.wav", DENOISED)
    out, base = audio["09_denoised"], audio["01_baseline"]
    assert out.shape == base.shape
    pause = np.sin(2 * np.pi * 1.5 * time) < -0.5
    assert 10 * np.log10((out[pause] ** 2).mean() / (base[pause] ** 2).mean()) < -8
    spectrum = np.fft.irfft(np.conj(np.fft.rfft(base[:, 0])) * np.fft.rfft(out[:, 0]))
    assert abs((int(np.argmax(spectrum)) + 1000) % len(spectrum) - 1000) <= 1


@needs_model
def test_denoise_does_the_same_to_both_channels(demo_mp3, tmp_path):
    mono, rate = soundfile.read(demo_mp3, dtype="float32")
    soundfile.write(tmp_path / "p.wav", mono[:, :1] * np.array([0.9, 0.3], np.float32), rate, subtype="FLOAT")
    audio, _, _ = run(tmp_path, tmp_path / "p.wav", DENOISED)
    out = audio["09_denoised"]
    assert np.abs(out[:, 1] * 3 - out[:, 0]).max() < 2e-5


@needs_model
def test_denoise_never_goes_beyond_its_limit(demo_mp3, tmp_path):
    audio, _, _ = run(tmp_path, demo_mp3, DENOISED.replace("30", "6"))
    change = levels(audio["09_denoised"], 44100)[0] - levels(audio["01_baseline"], 44100)[0]
    assert -6.5 < change <= 0.1


MASTER = '[variants.07_mastered]\nfrom = "01_baseline"\nchain = [{ stage = "master", SETTINGS }]\n'


@pytest.mark.parametrize(
    ("gain", "settings", "target"),
    [
        (1.0, "", -14), (0.02, "", -14), (3.0, "", -14), (1.0, "loudness_lufs = -9.0", -9),
        (1.0, "loudness_lufs = -23.0", -23), (1.0, "tilt_db = 0.5, width = 1.3", -14),
    ],
)  # fmt: skip
def test_master_hits_loudness_and_peak(piece, tmp_path, gain, settings, target):
    soundfile.write(tmp_path / "s.wav", piece * gain, 44100, subtype="FLOAT")
    table = MASTER.replace(", SETTINGS", f", {settings}" if settings else "")
    audio, rate, _ = run(tmp_path, tmp_path / "s.wav", table)
    loudness, peak = levels(audio["07_mastered"], rate)
    assert loudness == pytest.approx(target, abs=0.1)
    assert peak <= -1.0
    assert audio["07_mastered"].shape == audio["01_baseline"].shape


def test_loudness_that_cannot_be_had_is_told_with_what_was_reached(piece, tmp_path):
    """Below a ceiling of -20 dBTP nothing has -10 LUFS, and no note may say so."""
    soundfile.write(tmp_path / "s.wav", piece, 44100)
    settings = "loudness_lufs = -10.0, ceiling_dbtp = -20.0"
    audio, rate, events = run(tmp_path, tmp_path / "s.wav", MASTER.replace("SETTINGS", settings))
    loudness, peak = levels(audio["07_mastered"], rate)
    assert peak <= -20.0
    (told,) = (e.text for e in events if isinstance(e, SongWarning) and "LUFS" in e.text)
    assert f"has {loudness:.1f} LUFS, not -10.0" in told and "below -20 dBTP" in told
    (note,) = FLAC(tmp_path / "out/07_mastered/s.mastered.flac")["mp3restore_note"]
    assert note.startswith(f"mastered to {loudness:.1f} LUFS")


def test_what_is_quiet_is_not_brought_up_for_a_loudness_that_peaks_do_not_allow(tmp_path):
    """Single clicks cannot have -14 LUFS, and the hiss between them must not be made to have it."""
    song = 1e-4 * np.random.default_rng(0).standard_normal((6 * 44100, 2))
    song[22050::44100] = 0.9
    soundfile.write(tmp_path / "s.wav", song, 44100, subtype="PCM_24")
    audio, _, events = run(tmp_path, tmp_path / "s.wav", MASTER.replace(", SETTINGS", ""))
    between = slice(44100, 44100 + 11025)
    hiss = [np.sqrt((audio[name][between] ** 2).mean()) for name in ("01_baseline", "07_mastered")]
    assert 20 * np.log10(hiss[1] / hiss[0]) < 30  # what the song lacks is 22 dB; it was 60
    assert any("its peaks leave no more" in e.text for e in events if isinstance(e, SongWarning))


def test_silence_is_not_mastered_but_told(tmp_path):
    soundfile.write(tmp_path / "s.wav", np.zeros((44100, 2)), 44100)
    audio, _, events = run(tmp_path, tmp_path / "s.wav", MASTER.replace(", SETTINGS", ""))
    assert not np.abs(audio["07_mastered"]).max() > 1e-6
    assert any("not mastered" in e.text for e in events if isinstance(e, SongWarning))


@pytest.mark.slow
def test_masters_of_real_songs_by_ffmpegs_meter(music, tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    session = Session([music / "songs" / "Various"], tmp_path / "out", variants=["01", "11", "07"])
    execute(session, jobs=2)
    made = sorted((tmp_path / "out/07_mastered").rglob("*.flac"))
    assert len(made) == 2
    for path in made:
        command = [
            "ffmpeg",
            "-hide_banner",
            "-nostats",
            "-i",
            path,
            "-af",
            "ebur128=peak=true",
            "-f",
            "null",
            "-",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        summary = said[said.rindex("Summary:") :].split()
        assert float(summary[summary.index("I:") + 1]) == pytest.approx(-14, abs=0.1)
        assert float(summary[summary.index("Peak:") + 1]) <= -1.0


def test_markers_tell_how_a_file_was_made(demo_mp3, tmp_path):
    run(tmp_path, demo_mp3, MASTER.replace(", SETTINGS", ", width = 0.9"))
    marker = json.loads((tmp_path / "out/_done" / demo_mp3.stem / "07_mastered.done.json").read_text())
    assert marker["recipe"]["stage"] == "master" and marker["recipe"]["params"]["width"] == 0.9
    tags = FLAC(tmp_path / "out/07_mastered" / f"{demo_mp3.stem}.mastered.flac")
    assert tags["title"] == ["Demo Song"] and "master(" in tags["mp3restore_chain"][0]
    assert tags["mp3restore_variant"] == ["07_mastered"] and "-14 LUFS" in tags["mp3restore_note"][0]
