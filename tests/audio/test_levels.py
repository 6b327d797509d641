"""Loudness, true peak and sample rate, held against other implementations."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest

from engine.audio.loudness import SILENCE_DB, LoudnessMeter, TruePeakMeter, decibels
from engine.audio.resample import output_rate, resample, resample_stream, resampled_length


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_integrated_loudness_equals_pyloudnorm(piece, rate, channels):
    audio = np.concatenate([piece, np.zeros((rate * 2, 2), np.float32), piece * 0.05])[:, :channels]
    meter = LoudnessMeter(rate, channels)
    for block in np.array_split(audio, 37):
        meter.process(block)
    assert meter.integrated() == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(audio), abs=0.05)


def test_a_full_scale_sine_is_minus_3_lufs():
    time = np.arange(48000 * 5) / 48000
    meter = LoudnessMeter(48000, 1)
    meter.process(np.sin(2 * np.pi * 997 * time).astype(np.float32)[:, None])
    assert meter.integrated() == pytest.approx(-3.01, abs=0.05)  # BS.1770-4, below equation 2


def test_silence_and_very_short_sounds_have_no_loudness():
    meter = LoudnessMeter(48000, 2)
    meter.process(np.zeros((48000, 2), np.float32))
    assert meter.integrated() == SILENCE_DB
    meter = LoudnessMeter(48000, 2)
    meter.process(np.ones((1000, 2), np.float32))
    assert meter.integrated() == SILENCE_DB


def test_true_peak_finds_what_lies_between_the_samples():
    time = np.arange(9600)
    sine = np.sin(2 * np.pi * time / 4 + np.pi / 4).astype(np.float32)[:, None]  # samples at 0.707
    meter = TruePeakMeter(48000, 1)
    for block in np.array_split(sine, 5):
        meter.process(block)
    assert decibels(meter.true_peak()) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (8000, 48000),
        (11025, 44100),
        (16000, 48000),
        (22050, 44100),
        (24000, 48000),
        (32000, 48000),
        (44100, 44100),
        (96000, 96000),
    ],
)
def test_low_rates_are_lifted_and_others_kept(source, target):
    assert output_rate(source) == target


@pytest.mark.parametrize(("source", "target"), [(24000, 48000), (44100, 48000), (48000, 44100)])
def test_streamed_resampling_is_of_exact_length_and_in_step(piece, source, target):
    frames = resampled_length(len(piece), source, target)
    out = np.concatenate(list(resample_stream(np.array_split(piece, 23), source, target, frames)))
    whole = resample(piece, source, target)
    assert out.shape == whole.shape == (frames, 2)
    assert np.abs(out - whole).max() < 1e-3
