"""Stems brought back to their mix, band by band."""

from __future__ import annotations

import numpy as np
import pytest

from engine.dsp.filters import apply_fir, filtered, lowpass
from engine.dsp.level_fit import Fit, LevelFit, band_edges
from engine.dsp.spectrum import band_power

RATE = 44100


def _noise(seed: int, frames: int = 4 * RATE) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, 2))).astype(np.float32)


def _fitted(target, parts, top=None):
    fit = LevelFit(len(parts), RATE, top)
    for start in range(0, len(target), 1 << 16):
        fit.process(target[start : start + (1 << 16)], [p[start : start + (1 << 16)] for p in parts])
    return fit, fit.gains()


def _db(audio) -> float:
    return 10 * np.log10(float((audio**2).mean()) + 1e-20)


def test_parts_that_add_up_already_stay_as_they_are():
    parts = [_noise(1), 0.01 * _noise(2), np.zeros((4 * RATE, 2), np.float32), _noise(3)]
    fit, gains = _fitted(sum(parts), parts)
    assert np.abs(gains - 1).max() < 1e-4
    assert all(one.equaliser(RATE) is None for one in fit.fits())


def test_a_part_that_was_turned_down_or_dulled_comes_back():
    plain = [_noise(1), _noise(2)]
    down = plain[1] * 0.7
    low = apply_fir([plain[0]], lowpass(4000.0, 2000.0, RATE))
    dulled = np.concatenate(list(low)) * 0.3 + plain[0] * 0.7  # 3 dB less above 4 kHz
    fit, gains = _fitted(sum(plain), [dulled, down])
    assert np.allclose(gains[1], 1 / 0.7, rtol=0.05)
    made = []
    for one, part in zip(fit.fits(), (dulled, down), strict=True):
        assert one.is_possible()
        taps = one.equaliser(RATE)
        assert taps is not None and len(taps) % 2 == 1
        made.append(np.concatenate(list(apply_fir([part], taps))))
    before = _db(sum(plain) - dulled - down) - _db(sum(plain))
    after = _db(sum(plain) - sum(made)) - _db(sum(plain))
    assert after < before - 10 and after < -25


def test_two_that_are_alike_are_not_played_against_each_other():
    part = _noise(1)
    _, gains = _fitted(part, [part, part])
    assert gains.min() >= 0.5 and np.ptp(gains, axis=0).max() < 1e-6


def test_nothing_is_compared_above_the_cutoff():
    low = np.concatenate(list(apply_fir([_noise(1)], lowpass(10000.0, 500.0, RATE))))
    generated = low + (_noise(2) - np.concatenate(list(apply_fir([_noise(2)], lowpass(10500.0, 500.0, RATE)))))
    _, gains = _fitted(low, [generated], top=9000.0)
    assert np.abs(gains - 1).max() < 0.01


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
@pytest.mark.parametrize("top", [None, 90.0, 4000.0, 1e6])
def test_bands_cover_what_is_compared_and_no_more(rate, top):
    edges = band_edges(rate, top)
    assert edges[0] == 0 and (np.diff(edges) > 0).all() and edges[-1] == min(top or rate / 2, rate / 2)


@pytest.mark.parametrize(
    ("gains", "edges"),
    [((), ()), ((1.0,), (0.0,)), ((1.0,), (100.0, 0.0)), ((9.0,), (0.0, 100.0)), ((float("nan"),), (0.0, 100.0)),
     ((1.0,), (0.0, float("nan"))), ((1.0, 1.0), (0.0, 100.0))],
)  # fmt: skip
def test_what_no_fit_can_have_found_is_known(gains, edges):
    assert not Fit(gains, edges).is_possible()


def test_by_level_nothing_is_lost_for_what_was_added_and_above_the_last_band_all_stays():
    """Noise in two parts, one 3 dB too quiet and with noise of its own: the sum is as loud as the target again."""
    rng = np.random.default_rng(3)
    clean = [(0.1 * rng.standard_normal((RATE, 2))).astype(np.float32) for _ in range(2)]
    parts = [clean[0], np.float32(0.7) * clean[1] + (0.06 * rng.standard_normal((RATE, 2))).astype(np.float32)]
    fit = LevelFit(2, RATE, 12000.0)
    fit.process(clean[0] + clean[1], parts)

    def levels(fits):
        taps = [one.equaliser(RATE) for one in fits]
        made = sum(part if t is None else filtered(part, t) for part, t in zip(parts, taps, strict=True))
        powers = [
            [band_power(a, RATE, low, high) for low, high in ((500, 2000), (2000, 9000), (13000, 20000))]
            for a in (made, clean[0] + clean[1], parts[0] + parts[1])
        ]
        return 10 * np.log10(np.array(powers))

    made, target, before = levels(fit.level_fits())
    assert np.abs(made - target)[:2].max() < 0.1 and abs(made - before)[2] < 0.05
    assert (levels(fit.fits())[0] - target)[0] < -0.3  # by waveform, as it was
    assert all(one.is_possible() for one in fit.level_fits())
    exact = LevelFit(2, RATE, 12000.0)
    exact.process(clean[0] + clean[1], clean)
    assert [one.equaliser(RATE) for one in exact.level_fits()] == [None, None]
