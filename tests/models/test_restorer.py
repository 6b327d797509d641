"""The network that comes with the program: what it hears, that it is small, quick and the same everywhere."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.commands.demo import compose
from engine.dsp.spectrum import FFT, HANN, HOP, bin_of, istft, power, stft
from engine.models.restorer import features, network, synthesis
from engine.models.restorer.bands import CENTRES, COUNT, EDGES, band_grid

RATE = 44100
needs_weights = pytest.mark.skipif(not network.is_here(), reason="needs the weights that python -m training.make makes")


def restorer(audio, cutoff, **changes):
    """One for a song, with what it says of itself."""
    meter = features.SongMeter(cutoff, RATE)
    meter.process(power(stft(audio[: len(audio) // HOP * HOP], HANN)))
    settings = {
        "song": meter.facts(128.0), "correlation": 0.5, "cutoff": cutoff, "rate": RATE, "holes": True,
        "extend": True, "top": 21500.0, "caution": 0.0, "seed": 1,
    }  # fmt: skip
    return synthesis.Restorer(**(settings | changes))


def cut(audio, cutoff):
    """Without anything above ``cutoff`` Hz."""
    spectrum = np.fft.rfft(audio, axis=0)
    spectrum[round(cutoff * len(audio) / RATE) :] = 0
    return np.fft.irfft(spectrum, len(audio), axis=0).astype(np.float32)


@pytest.fixture(scope="module")
def song():
    return cut(compose(8.0), 12000)


def test_a_hann_window_gives_the_signal_back():
    noise = np.random.default_rng(0).normal(size=(40 * HOP, 2)).astype(np.float32)
    inner = slice(FFT, -FFT)
    assert np.abs(istft(stft(noise, HANN), len(noise), HANN) - noise)[inner].max() < 1e-5


@pytest.mark.parametrize("rate", [44100, 48000, 88200, 96000, 192000])
def test_bands_cover_the_spectrum_once(rate):
    grid = band_grid(rate)
    assert len(EDGES) - 1 == COUNT == 82 and EDGES[-1] == 22000
    assert (grid.widths >= 1).all() and grid.starts[0] == 0 and abs(grid.top * rate / FFT - 22000) < rate / FFT
    ramp = np.arange(FFT // 2 + 1, dtype=np.float32)[None]
    assert np.abs(grid.mean(ramp)[0] * rate / FFT - CENTRES).max() < 2 * rate / FFT
    assert np.allclose(grid.spread.sum(axis=0), 1, atol=1e-5)


def test_features_do_not_depend_on_where_a_window_begins():
    powers = power(stft(compose(9.0)[: 700 * HOP], HANN))
    whole = features.moments(powers, 16000.0, RATE)
    part = features.moments(powers[150:600], 16000.0, RATE)
    inner = slice(features.REACH, -features.REACH)
    assert np.allclose(part.values[inner], whole.values[150:600][inner], atol=2e-3)
    assert np.allclose(part.loudness[inner], whole.loudness[150:600][inner], atol=1e-2)


@needs_weights
def test_what_is_made_does_not_depend_on_where_a_window_begins(song):
    made = restorer(song, 12000)
    start = 90 * HOP
    inner = slice(start + synthesis.CONTEXT, start + synthesis.CONTEXT + 60 * HOP)
    whole = made(song, 0)[inner]
    part = made(song[start : start + 60 * HOP + 2 * synthesis.CONTEXT], start)
    assert len(part) == 60 * HOP + 2 * synthesis.CONTEXT
    difference = part[synthesis.CONTEXT : synthesis.CONTEXT + 60 * HOP] - whole
    assert np.abs(difference).max() < 1e-3 * np.abs(whole).max()


@needs_weights
def test_silence_stays_silence_and_one_channel_one_channel(song):
    assert np.abs(restorer(song, 12000)(np.zeros_like(song), 0)).max() == 0
    assert restorer(song[:, :1], 12000)(song[:, :1], 0).shape == (len(song), 1)


@needs_weights
def test_the_new_band_lies_above_the_cutoff_and_ends_at_the_top(song):
    added = power(stft(restorer(song, 12000, holes=False, top=18000.0)(song, 0)[: 600 * HOP], HANN))[8:-8]
    assert added[:, :, bin_of(12200, RATE) : bin_of(17800, RATE)].mean() > 0
    edge = added[:, :, bin_of(11700, RATE) : bin_of(12000, RATE)].mean()  # it fades in below the cutoff
    last = added[:, :, bin_of(17500, RATE) : bin_of(17900, RATE)].mean()
    assert added[:, :, : bin_of(11400, RATE)].mean() < 1e-6 * edge
    assert added[:, :, bin_of(18300, RATE) :].mean() < 1e-4 * last


@needs_weights
def test_noise_above_the_cutoff_keeps_the_attacks_to_two_milliseconds():
    """What an attack is made of begins with it, though a spectrum of 46 ms tells how much there is of it."""
    hits = RATE * np.arange(1, 7)
    dice = np.random.default_rng(0)
    whole = dice.normal(0, 0.003, (7 * RATE, 2)).astype(np.float32)
    hit = dice.normal(0, 0.2, (RATE // 8, 2)) * np.exp(-np.arange(RATE // 8) / (0.02 * RATE))[:, None]
    for at in hits:
        whole[at : at + len(hit)] += hit.astype(np.float32)
    heard = cut(whole, 16000)
    added = restorer(heard, 16000, holes=False)(heard, 0)

    def ahead_and_after(audio):
        high = np.square(audio - cut(audio, 16500)).sum(axis=1)
        ahead, after = (np.mean([high[at + a : at + b].sum() for at in hits]) for a, b in ((-900, -88), (0, 900)))
        risen = [np.argmax(np.cumsum(high[at - 900 : at + 900]) > 0.1 * high[at - 900 : at + 900].sum()) for at in hits]
        return ahead / after, np.array(risen) - 900

    (was, original), (now, made) = ahead_and_after(whole), ahead_and_after(added)
    assert np.abs(original - made).max() <= 0.002 * RATE
    assert now < was + 0.01


@needs_weights
def test_caution_makes_less(song):
    bold, careful = (np.square(restorer(song, 12000, caution=c)(song, 0)).mean() for c in (0.0, 1.0))
    assert careful < 0.7 * bold


@needs_weights
def test_what_is_loud_passes_untouched(song):
    """Bins that stand out of their band are not what is filled."""
    frames = len(song) // HOP * HOP
    before = power(stft(song[:frames], HANN))
    change = power(stft(restorer(song, 12000, extend=False)(song, 0)[:frames], HANN))
    grid = band_grid(RATE)
    loud = before[..., : grid.top] > grid.repeat(grid.mean(before))
    assert change[..., : grid.top][loud].sum() < 1e-3 * before[..., : grid.top][loud].sum()


@needs_weights
def test_the_weights_are_small_and_hold_no_code():
    path = Path(network.__file__).with_name("weights.npz")
    assert path.stat().st_size <= 3_000_000
    with np.load(path, allow_pickle=False) as stored:
        assert {stored[name].dtype for name in stored.files} == {np.dtype(np.float16)}
        assert all(np.isfinite(stored[name]).all() for name in stored.files)


@needs_weights
def test_it_needs_no_pytorch():
    code = "import sys; from engine.models.restorer import network; network.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@needs_weights
def test_it_is_quick(song):
    made = restorer(song, 12000)
    made(song, 0)
    started = time.process_time()
    made(song, 0)
    assert time.process_time() - started < 8.0 / 5  # 20 times real time on a core that is free; this one may not be
