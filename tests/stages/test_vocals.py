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
