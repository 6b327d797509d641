"""The de-esser on a voice whose generated band is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from engine.stages import STAGES
from engine.stages.base import Signal
from engine.stages.deess import DeessParams
from tests.stages.test_stages import run
from tests.voices import FEMALE, RATE, melody, sung

CUTOFF = 8000.0
BURST = int(0.1 * RATE)
TOO_LOUD = (3, 7, 8)  # of the consonants


class Work:
    """A task on a file."""

    def __init__(self, path, cutoff=CUTOFF, exact_mono=False):
        info = soundfile.info(path)
        self.input = Signal(path, info.samplerate, info.channels, info.frames, 0.0)
        self.analysis = SimpleNamespace(cutoff=SimpleNamespace(hz=cutoff), exact_mono=exact_mono)
        self.chunks = {}

    def checkpoint(self):
        pass

    def progress(self, done, of, *, reused=False):
        pass

    def load_chunk(self, index, shape):
        return self.chunks.get(index)

    def save_chunk(self, index, chunk):
        self.chunks[index] = chunk


def done(path, params=None, **about):
    rendered = STAGES["deess"].run(Work(path, **about), params or DeessParams())
    return np.concatenate(list(rendered.blocks())), rendered.note


def consonants():
    return [slice(start, start + BURST) for start in range(RATE // 4, 6 * RATE, RATE // 2)]


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """(file, kept, new): vowels and hisses that end at the cutoff, and what a super-resolver made of them."""
    from scipy.signal import butter, firwin, oaconvolve, sosfilt

    rng = np.random.default_rng(0)
    low = firwin(1001, CUTOFF - 100, fs=RATE)
    hiss = sosfilt(butter(4, 3000, "high", fs=RATE, output="sos"), rng.standard_normal(6 * RATE))
    kept, made = np.zeros(6 * RATE), np.zeros(6 * RATE)
    for n, where in enumerate(consonants()):
        fade = np.hanning(BURST)
        kept[where] += 0.03 * hiss[where] * fade
        made[where] += 0.015 * hiss[where] * fade * (4 if n in TOO_LOUD else 1)
    hz = melody([(57, 6.0)], 0, 40)
    for where in consonants():
        hz[where] = 0
    kept = oaconvolve(kept + sung(hz, FEMALE), low, mode="same")
    made = made - oaconvolve(made, low, mode="same")
    both = np.stack([kept + made, 0.5 * (kept + made)], axis=1)
    path = tmp_path_factory.mktemp("voice") / "v.flac"
    soundfile.write(path, both, RATE, subtype="PCM_24")
    return path, kept, made


def band(audio, low, high):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / RATE)
    return 10 * np.log10(spectrum[(hz >= low) & (hz < high)].sum() + 1e-20)


def test_hisses_that_are_beyond_what_is_usual_are_turned_down_and_others_are_not(voice):
    path, _, _ = voice
    before, _ = soundfile.read(path, dtype="float32")
    after, note = done(path)
    assert after.shape == before.shape and np.abs(after[:, 1] * 2 - after[:, 0]).max() < 1e-6
    for n, where in enumerate(consonants()):
        change = band(after[where, 0], 9000, 14000) - band(before[where, 0], 9000, 14000)
        if n in TOO_LOUD:  # 12 dB too loud, of which the threshold leaves 4
            assert -10 < change < -5
        else:
            assert abs(change) < 1
    assert "above 8.0 kHz" in note and "9 dB" in note


def test_below_the_cutoff_and_between_the_hisses_nothing_is_touched(voice):
    path, _, _ = voice
    before, _ = soundfile.read(path, dtype="float32")
    after, _ = done(path)
    change = (after - before)[:, 0]
    assert band(change, 0, CUTOFF) < band(before[:, 0], 0, CUTOFF) - 80
    touched = np.zeros(len(change), bool)
    for where in consonants():
        touched[where.start - RATE // 20 : where.stop + RATE // 20] = True
    assert not change[~touched].any() and change[touched].any()


def test_no_hiss_is_turned_down_by_more_than_the_most(voice):
    path, _, _ = voice
    before, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(done(path, DeessParams(most_db=0.0))[0], before)
    after, _ = done(path, DeessParams(most_db=3.0, threshold_db=0.0))
    for where in consonants():
        assert band(after[where, 0], 9000, 14000) - band(before[where, 0], 9000, 14000) > -3.1


def test_a_hiss_that_is_always_too_loud_is_not_what_is_usual(tmp_path, voice):
    _, kept, made = voice
    soundfile.write(tmp_path / "v.flac", (kept + 3.5 * made)[:, None], RATE, subtype="PCM_24")
    before, _ = soundfile.read(tmp_path / "v.flac", dtype="float32")
    after, _ = done(tmp_path / "v.flac", DeessParams(threshold_db=0.0))
    changes = [band(after[where, 0], 9000, 14000) - band(before[where], 9000, 14000) for where in consonants()]
    assert max(changes) < -2


@pytest.mark.parametrize("rate", [8000, 96000])
def test_other_rates_silence_and_the_shortest_song(tmp_path, rate):
    noise = np.random.default_rng(0).standard_normal((rate, 1)).astype(np.float32) * 0.05
    for sound in (noise, np.zeros_like(noise), noise[:1]):
        soundfile.write(tmp_path / "v.flac", sound, rate, subtype="PCM_24")
        before, _ = soundfile.read(tmp_path / "v.flac", dtype="float32", always_2d=True)
        after, _ = done(tmp_path / "v.flac", cutoff=2500.0 if rate == 8000 else 16000.0)
        assert after.shape == before.shape and np.isfinite(after).all()
        assert np.array_equal(done(tmp_path / "v.flac", cutoff=None)[0], before)
        assert np.array_equal(done(tmp_path / "v.flac", cutoff=rate / 2 - 500)[0], before)


def test_a_run_with_it_keeps_what_the_mp3_kept(music, tmp_path):
    recipe = (
        '[variants.11_offline]\nchain = ["decode", { stage = "restore", engine = "learned" }]\n'
        '[variants.20_deessed]\nfrom = "11_offline"\nchain = [{ stage = "deess", threshold_db = 0 }]\n'
    )
    audio, rate, _ = run(tmp_path, music / "gm_rock" / "64.mp3", recipe)
    before, after = audio["11_offline"][:, 0], audio["20_deessed"][:, 0]
    assert rate == RATE and not np.array_equal(before, after)
    assert band(after - before, 0, 10900) < band(before, 0, 10900) - 80
    assert band(after, 11500, 16000) < band(before, 11500, 16000)
