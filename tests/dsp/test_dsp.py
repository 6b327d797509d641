"""The building blocks of restoring and mastering do what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio.loudness import TruePeakMeter, decibels
from engine.dsp import spectrum
from engine.dsp.channels import least, loudest, summed, windows
from engine.dsp.filters import apply_fir, lowpass, tilt
from engine.dsp.headroom import CEILING, duck_addition
from engine.dsp.holes import HoleFill, fill_gains
from engine.dsp.limiter import Limiter
from engine.dsp.spectrum import FFT, HOP, istft, noise_power, power, stft, white_noise

RATE = 44100


def test_the_spectrum_gives_the_signal_back(piece):
    audio = piece[: 100 * HOP]
    inner = slice(FFT // 2, -FFT // 2)
    assert np.abs(istft(stft(audio), len(audio)) - audio)[inner].max() < 1e-5


def test_noise_depends_on_its_place_alone():
    whole = white_noise(-5000, 100_000, 2, 7, 0.5)
    part = white_noise(30_000, 5000, 2, 7, 0.5)
    np.testing.assert_array_equal(whole[35_000:40_000], part)
    assert np.corrcoef(whole.T)[0, 1] == pytest.approx(0.5, abs=0.02)
    assert whole.std(axis=0) == pytest.approx(1.0, abs=0.02)
    assert power(stft(whole[: 100 * HOP]))[4:-4].mean() == pytest.approx(noise_power(), rel=0.05)


def test_holes_are_found_and_filled_below_their_surroundings():
    rng = np.random.default_rng(3)
    powers = rng.exponential(1.0, (80, 1, 1025)).astype(np.float32)
    powers[30:50, :, 400:412] = 1e-8
    gains = fill_gains(powers, 900, HoleFill(depth=30, level=17))
    filled = gains[32:48, 0, 402:410] ** 2
    assert 10 * np.log10(filled.mean()) == pytest.approx(-17, abs=3)
    gains[28:52, :, 396:416] = 0
    assert (gains > 0).mean() < 0.002  # next to nothing elsewhere


def test_noise_is_told_when_by_the_band_below_and_stays_as_loud():
    from engine.dsp.fill import swell
    from engine.dsp.spectrum import HANN

    dice = np.random.default_rng(0)
    noise = dice.standard_normal((120 * HOP, 2)).astype(np.float32)
    steady = swell(stft(noise, HANN), len(noise), 16000.0, 44100)
    assert steady.shape == (len(noise), 1) and np.abs(np.mean(steady[4096:-4096] ** 2) - 1) < 0.05
    assert np.std(steady[4096:-4096]) < 0.3
    noise[: 60 * HOP] *= 0.001
    gains = swell(stft(noise, HANN), len(noise), 16000.0, 44100)[:, 0]
    assert gains[60 * HOP - 700 : 60 * HOP - 100].max() < 0.05 and gains[60 * HOP + 100 : 60 * HOP + 300].min() > 1
    assert np.isfinite(swell(stft(0 * noise, HANN), len(noise), 16000.0, 44100)).all()


def test_silence_before_an_attack_stays_silent():
    powers = np.full((80, 1, 1025), 1e-9, np.float32)
    powers[40:] = 100.0
    gains = fill_gains(powers, 900, HoleFill(depth=30, level=17))
    assert 10 * np.log10(gains[:38].max() ** 2 + 1e-12) < -60


def test_what_is_added_never_clips_and_the_song_never_moves(piece):
    song = piece / np.abs(piece).max() * 0.999
    added = np.random.default_rng(1).standard_normal(song.shape).astype(np.float32) * 0.05
    ducked = duck_addition(song, added)
    assert np.abs(song + ducked).max() <= CEILING + 1e-6
    far = np.abs(song).max(axis=1) < 0.3
    assert np.abs(ducked[far]).std() > 0.9 * np.abs(added[far]).std()
    quiet = song * 0.5
    np.testing.assert_array_equal(duck_addition(quiet, added * 0.1), added * 0.1)


@pytest.mark.parametrize("blocks", [1, 3, 50])
def test_filters_stream_without_delay_or_seam(piece, blocks):
    taps = lowpass(8000, 500, RATE)
    out = np.concatenate(list(apply_fir(iter(np.array_split(piece, blocks)), taps)))
    whole = np.stack([np.convolve(piece[:, c], taps, "same") for c in (0, 1)], axis=1)
    assert out.shape == piece.shape and np.abs(out - whole).max() < 1e-5


def test_the_lowpass_passes_and_stops(piece):
    response = np.abs(np.fft.rfft(lowpass(8000, 500, RATE), 1 << 16))
    frequency = np.fft.rfftfreq(1 << 16, 1 / RATE)
    assert np.abs(20 * np.log10(response[frequency < 7500])).max() < 0.01
    assert 20 * np.log10(response[frequency > 8000].max()) < -90


def test_tilt_turns_around_one_kilohertz():
    response = np.abs(np.fft.rfft(tilt(1.0, RATE), 1 << 16))
    level = [20 * np.log10(response[round(f * (1 << 16) / RATE)]) for f in (500, 1000, 8000)]
    assert level == pytest.approx([-1, 0, 3], abs=0.15)


@pytest.mark.parametrize("blocks", [1, 7, 400])
def test_the_limiter_holds_the_true_peak_and_leaves_the_rest(piece, blocks):
    loud = np.concatenate([piece * 0.1, piece * 3, piece * 0.1])
    out = np.concatenate(list(Limiter(RATE, 0.5).process(iter(np.array_split(loud, blocks)), 1.0)))
    assert out.shape == loud.shape
    meter = TruePeakMeter(RATE, 2)
    meter.process(out)
    assert decibels(meter.true_peak()) < decibels(0.5) + 0.25
    np.testing.assert_allclose(out[: len(piece) - 1000], loud[: len(piece) - 1000], atol=1e-6)
    gain = out[len(piece) : 2 * len(piece)] / np.where(
        np.abs(loud[len(piece) : 2 * len(piece)]) < 1e-3, np.nan, loud[len(piece) : 2 * len(piece)]
    )
    steps = np.abs(np.diff(gain[:, 0]))
    assert np.nanmax(steps) < 0.05  # no clicks: the gain has no jumps


def test_the_limiter_does_not_depend_on_the_blocks(piece):
    one, many = (np.concatenate(list(Limiter(RATE, 0.3).process(iter(np.array_split(piece, n)), 1.5))) for n in (1, 61))
    assert np.abs(one - many).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_are_taken_together_as_numpy_does(channels):
    audio = np.random.default_rng(3).standard_normal((999, channels)).astype(np.float32)
    assert np.array_equal(loudest(audio), np.abs(audio).max(axis=1))
    assert np.array_equal(least(audio), audio.min(axis=1))
    assert np.array_equal(summed(audio), audio.sum(axis=1))
    cut = np.lib.stride_tricks.sliding_window_view(audio, 64, axis=0)[::16]
    assert np.array_equal(windows(audio, 64, 16), cut)


@pytest.mark.parametrize("frames", [HOP, 7 * HOP, 130 * HOP])
def test_spectra_and_signals_are_the_same_however_many_are_made_at_once(monkeypatch, frames):
    audio = np.random.default_rng(4).standard_normal((frames, 2)).astype(np.float32)
    whole = stft(audio)
    signal = istft(whole, frames)
    assert np.array_equal(whole[:, 1], stft(audio[:, 1:])[:, 0]), "channels do not know of each other"
    gains = np.linspace(0, 1, whole.shape[2])
    turned_down = np.asarray(whole * gains, np.complex64)
    assert np.array_equal(istft(whole, frames, gains=gains), istft(turned_down, frames))
    for few in (1, 3, 5, 1000):
        monkeypatch.setattr(spectrum, "_AT_ONCE", few)
        assert np.array_equal(stft(audio), whole)
        assert np.array_equal(istft(whole, frames), signal)
