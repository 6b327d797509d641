"""What is done to a vocal: the lighter denoiser, the de-esser and the pitch correction, through real runs."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from engine.models import deepfilternet, rnnoise
from engine.stages import STAGES
from engine.stages.denoise import DenoiseParams
from tests.stages.test_stages import run
from tests.voices import FEMALE, cents_between, melody, sung

needs_rnnoise = pytest.mark.skipif(bool(rnnoise.unavailable_reason()), reason="RNNoise is not installed here")
RATE = 44100


def power(audio):
    return float(np.square(audio, dtype=np.float64).mean())


# Denoise


@needs_rnnoise
def test_rnnoise_takes_noise_from_a_voice_alike_on_both_sides_and_within_its_limit(tmp_path):
    rate = 48000  # the model's own: no resampler has a say in the top
    rng = np.random.default_rng(0)
    time = np.arange(rate * 4) / rate
    sung = np.sin(2 * np.pi * 1.5 * time) > 0
    phase = 2 * np.pi * np.cumsum(180 * (1 + 0.02 * np.sin(2 * np.pi * 5 * time))) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 30)) * sung * 0.1
    noisy = voice + rng.standard_normal(len(time)) * 0.003
    soundfile.write(tmp_path / "n.wav", noisy[:, None] * [0.9, 0.3], rate, subtype="FLOAT")
    audio, _, _ = run(
        tmp_path, tmp_path / "n.wav",
        '[variants.09_denoised]\nchain = ["decode", { stage = "denoise", engine = "rnnoise", attenuation_limit_db = 9 }]\n',
    )  # fmt: skip
    out, base = audio["09_denoised"], audio["01_baseline"]
    assert out.shape == base.shape
    assert np.abs(out[:, 1] * 3 - out[:, 0]).max() < 2e-5
    pause = np.sin(2 * np.pi * 1.5 * time) < -0.5
    assert -9.3 < 10 * np.log10(power(out[pause]) / power(base[pause])) < -7
    # The limit holds at the very top, too, of which the library keeps nothing at all; and the two stay in step.
    tops = [np.abs(np.fft.rfft(a[:, 0]))[20500 * 4 : 21500 * 4] for a in (out, base)]
    assert 20 * np.log10(np.linalg.norm(tops[0]) / np.linalg.norm(tops[1])) > -9.5
    match = np.fft.irfft(np.conj(np.fft.rfft(base[:, 0])) * np.fft.rfft(out[:, 0]))
    assert abs((int(np.argmax(match)) + 1000) % len(match) - 1000) <= 1
    note = FLAC(tmp_path / "out/09_denoised/n.denoised.flac")["mp3restore_note"][0]
    assert "RNNoise" in note and "9 dB" in note and "music" not in note


def test_the_denoiser_is_what_it_was_until_another_engine_is_named(monkeypatch):
    assert DenoiseParams().decisive() == {"attenuation_limit_db": 12.0}
    assert DenoiseParams(engine="rnnoise").decisive()["engine"] == "rnnoise"
    monkeypatch.setattr(rnnoise, "_library_path", lambda: None)
    stage = STAGES["denoise"]
    assert "pip install --no-deps pyrnnoise" in stage.unavailable_reason(DenoiseParams(engine="rnnoise"))
    assert stage.unavailable_reason(DenoiseParams()) == deepfilternet.unavailable_reason()


# Pitch

PITCHED = '[variants.20_sung]\nchain = ["decode", { stage = "pitch", strength = %s }]\n'


def write_song(path, left=0.9, right=0.4):
    tune = [(57, 0.6), (61, 0.6), (64, 0.8)]
    voice = sung(melody(tune, 40, 40), FEMALE, breath=0.05)
    soundfile.write(path, voice[:, None] * [left, right], RATE, subtype="PCM_24")
    return tune


def test_a_voice_is_brought_into_tune_by_a_run_and_both_sides_alike(tmp_path):
    tune = write_song(tmp_path / "v.wav")
    audio, rate, _ = run(tmp_path, tmp_path / "v.wav", PITCHED % "1.0")
    out, base = audio["20_sung"], audio["01_baseline"]
    assert out.shape == base.shape
    assert np.abs(out[:, 0] / 0.9 - out[:, 1] / 0.4).max() < 2e-6
    right, within = melody(tune), slice(int(1.3 * rate), int(1.9 * rate))
    off = [np.mean(cents_between(a[:, 0].astype(float), right)[within]) for a in (base, out)]
    assert off[0] == pytest.approx(40, abs=6) and abs(off[1]) < 6
    note = FLAC(tmp_path / "out/20_sung/v.sung.flac")["mp3restore_note"][0]
    assert note.startswith("pitch corrected toward chromatic by up to 4")


def test_at_strength_0_and_where_nothing_is_sung_the_samples_are_the_same(tmp_path, piece):
    write_song(tmp_path / "v.wav", right=0.9)
    audio, _, _ = run(tmp_path, tmp_path / "v.wav", PITCHED % "0.0")
    assert np.array_equal(audio["20_sung"], audio["01_baseline"])
    for name, sound in (("one", np.full((1, 2), 0.1)), ("still", np.zeros((RATE, 2)))):
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE, subtype="PCM_24")
        audio, _, _ = run(tmp_path, tmp_path / f"{name}.wav", PITCHED % "1.0")
        assert np.array_equal(audio["20_sung"], audio["01_baseline"]) and len(audio["20_sung"]) == len(sound)


def test_a_mono_song_on_two_channels_stays_mono(tmp_path):
    write_song(tmp_path / "v.wav", right=0.9)
    audio, _, _ = run(tmp_path, tmp_path / "v.wav", PITCHED % "1.0")
    out = audio["20_sung"]
    assert np.array_equal(out[:, 0], out[:, 1]) and not np.array_equal(out, audio["01_baseline"])
