"""The low end: harmonics that are bounded and in tune, one middle, phase kept, nothing done at zero."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soundfile

from engine.dsp.bass import Harmonics, mono_below
from engine.dsp.spectrum import band_power
from engine.run.session import Session

RATE = 44100
TIME = np.arange(3 * RATE) / RATE


def cut(audio, size=9973):
    """The same as an uneven stream that can be read again."""
    edges = [*range(0, len(audio), size), len(audio)]
    return lambda: (audio[a:b] for a, b in pairwise(edges))


def whole(blocks):
    return np.concatenate(list(blocks))


def level(audio, frequency, rate=RATE):
    """Amplitude of the tone at ``frequency`` Hz, away from the ends."""
    middle = audio[rate // 2 : -rate // 2, 0].astype(float)
    turns = np.exp(-2j * np.pi * frequency * np.arange(len(middle)) / rate) * np.hanning(len(middle))
    return 2 * abs((middle * turns).sum()) / np.hanning(len(middle)).sum()


@pytest.mark.parametrize("frequency", [41.2, 98.0, 180.0])
def test_harmonics_of_a_tone_are_in_tune_bounded_and_nothing_else(frequency):
    tone = (0.4 * np.cos(2 * np.pi * frequency * TIME)).astype(np.float32)[:, None]
    made = whole(Harmonics(0.5, RATE).added(cut(tone)))
    assert made.shape == tone.shape
    assert level(made, 2 * frequency) == pytest.approx(0.5 * 0.8 * 0.4, rel=0.02)
    assert level(made, 3 * frequency) == pytest.approx(0.5 * 0.6 * 0.4, rel=0.02)
    inner = made[RATE // 2 : -RATE // 2, 0]
    power = (0.5 * 0.4) ** 2 / 2
    assert (inner.astype(float) ** 2).mean() == pytest.approx(power, rel=0.03)  # so: only these two
    assert np.abs(inner).max() <= 0.5 * 1.4 * 0.4 * 1.01


def test_what_lies_above_makes_no_harmonics_and_no_alias_appears_at_low_rates():
    treble = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)[:, None]
    made = whole(Harmonics(1.0, RATE).added(cut(treble)))  # its ends are clicks, which have a low end
    assert np.abs(made[RATE // 2 : -RATE // 2]).max() < 1e-4
    slow = np.arange(3 * 8000) / 8000
    made = whole(Harmonics(1.0, 8000).added(cut((0.4 * np.cos(2 * np.pi * 190 * slow)).astype(np.float32)[:, None])))
    spectrum = np.abs(np.fft.rfft(made[4000:-4000, 0] * np.hanning(len(made) - 8000)))
    frequencies = np.fft.rfftfreq(len(made) - 8000, 1 / 8000)
    assert spectrum[frequencies > 800].max() < 1e-4 * spectrum.max()


def test_below_the_chosen_frequency_there_are_no_sides_and_above_nothing_is_changed():
    rng = np.random.default_rng(1)
    low = 0.2 * np.sin(2 * np.pi * 50 * TIME)
    high = 0.05 * np.sin(2 * np.pi * 1000 * TIME + 0.3)
    stereo = np.stack([low + high, 0.2 * low - high + 0.1 * low * rng.standard_normal()], axis=1).astype(np.float32)
    made = whole(mono_below(cut(stereo), 120.0, RATE))
    inner = slice(RATE // 2, -RATE // 2)
    middle = stereo.mean(axis=1)[inner]
    assert np.abs(made.mean(axis=1)[inner] - middle).max() < 1e-6  # the middle in step, its phase kept
    sides = (made[:, :1] - made[:, 1:]) / 2
    assert level(sides, 50) < 1e-4 and level(sides, 1000) == pytest.approx(0.05, rel=1e-3)


def test_at_zero_the_stage_changes_not_a_bit_and_else_it_tells_its_level(tmp_path):
    audio = 0.3 * np.random.default_rng(2).standard_normal((RATE, 2)).clip(-1, 1)
    (tmp_path / "lib").mkdir()
    soundfile.write(tmp_path / "lib" / "a.wav", audio, RATE, subtype="PCM_24")
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'format = 1\n[variants.01]\nchain = ["decode"]\n[variants.02]\nchain = ["decode", "bass"]\n'
        '[variants.03]\nchain = ["decode", { stage = "bass", harmonics = 0.5, mono_below_hz = 100 }]\n'
    )
    session = Session([tmp_path / "lib"], tmp_path / "out", str(recipe))
    session.start(jobs=1).join()
    assert session.outcome.done == 1
    read = {v: soundfile.read(next((tmp_path / "out" / v).iterdir()), dtype="int32")[0] for v in ("01", "02", "03")}
    assert np.array_equal(read["01"], read["02"]) and not np.array_equal(read["01"], read["03"])
    sides = np.diff(read["03"] / 2**31, axis=1)  # what is made is in the middle, so below 80 Hz there are none
    assert band_power(sides, RATE, 0, 80) < 1e-8 * band_power(read["03"] / 2**31, RATE, 0, 80)
    told = next(t for t in session.tasks if t.id == "03")
    assert "mono below 100 Hz, harmonics added, 6 dB below" in session.store.marker(session.songs[0], told).note
