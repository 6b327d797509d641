"""The figures that say how far a sound is from its original."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.compare.metrics import log_spectral_distance, matched, si_sdr

RATE = 44100


def noise(seed, frames=RATE):
    return np.random.default_rng(seed).normal(0, 0.1, (frames, 2)).astype(np.float32)


def test_equal_sounds_are_no_distance_apart_and_two_noises_are_where_theory_says():
    assert log_spectral_distance(noise(1), noise(1), RATE) == 0
    # The logarithm of an exponentially distributed power has a standard deviation of pi / sqrt(6) nepers.
    expected = math.sqrt(2) * math.pi / math.sqrt(6) / math.log(10)
    assert log_spectral_distance(noise(1), noise(2), RATE) == pytest.approx(expected, abs=0.02)


def test_a_gain_is_its_decibels_and_only_the_asked_band_counts():
    one = noise(1)
    assert log_spectral_distance(one, one * 10, RATE) == pytest.approx(2.0, abs=1e-3)
    spectrum = np.fft.rfft(one, axis=0)
    spectrum[round(10000 * len(one) / RATE) :] = 0
    dull = np.fft.irfft(spectrum, len(one), axis=0).astype(np.float32)
    assert log_spectral_distance(one, dull, RATE, 0, 9500) < 0.02
    assert log_spectral_distance(one, dull, RATE, 10500) > 2


def test_what_is_below_sixteen_bits_is_no_distance():
    assert log_spectral_distance(noise(1) * 1e-6, noise(2) * 0, RATE) == 0


def test_si_sdr_knows_no_loudness_and_neither_does_a_matched_sound():
    one, other = noise(1), noise(2) * 0.1
    assert si_sdr(one, 3 * (one + other)) == pytest.approx(20.0, abs=0.1)
    assert np.allclose(matched(one, one * 4), one, atol=1e-6)
    assert np.array_equal(matched(one, one * 0), one * 0)


def test_sounds_that_are_too_short_have_no_distance():
    assert math.isnan(log_spectral_distance(noise(1, 100), noise(2, 100), RATE))
