"""EQ, width and compression: what each does to known signals, and what none of them may do."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from engine.audio.chunks import read_window
from engine.audio.loudness import LoudnessMeter
from engine.dsp import equaliser
from engine.dsp.dynamics import Compression, MultiBand
from engine.dsp.width import SideMeter
from engine.errors import NotPossibleError, UsageError
from engine.planning import plan, recipes
from engine.run.events import TaskFailed, TaskStarted
from engine.run.session import Session
from engine.stages import STAGES
from engine.stages.base import Signal
from tests.conftest import execute, write_mp3

RATE = 44100


class Running:
    """What a stage sees of a task with one input; nobody stops it."""

    def __init__(self, signal, cutoff=None, exact_mono=False):
        self.input, self.cutoff, self.warnings = signal, cutoff, []
        self.analysis = dataclasses.make_dataclass("Analysis", ["exact_mono"])(exact_mono)

    def checkpoint(self):
        pass

    def fraction(self, done):
        assert 0 <= done <= 1

    def warn(self, text):
        self.warnings.append(text)


def stored(folder, audio, rate=RATE):
    """The audio as a task's result lies on disk, and what is read of it."""
    path = folder / f"{len(list(folder.iterdir()))}.flac"
    soundfile.write(path, audio, rate, subtype="PCM_24")
    return Signal(path, rate, audio.shape[1], len(audio), 0.0), soundfile.read(path, dtype="float32", always_2d=True)[0]


def made(folder, stage, audio, rate=RATE, cutoff=None, exact_mono=False, **params):
    """(what goes in, what comes out)."""
    signal, before = stored(folder, audio, rate)
    kind = STAGES[stage]
    rendered = kind.run(Running(signal, cutoff, exact_mono), kind.Parameters(**params))
    after = np.concatenate(list(rendered.blocks()))
    assert (rendered.frames, rendered.channels, rendered.rate) == (len(before), before.shape[1], rate)
    assert after.shape == before.shape and after.dtype == np.float32 and np.isfinite(after).all()
    return before, after


@pytest.fixture(scope="module")
def noise():
    """Four seconds: what both channels share, and something of their own."""
    rng = np.random.default_rng(7)
    return 0.05 * (rng.standard_normal((4 * RATE, 1)) + 0.7 * rng.standard_normal((4 * RATE, 2)))


def change(before, after, rate=RATE):
    """(Hz, dB) by thirds of octaves of what was done to the first channel."""
    frequencies = np.fft.rfftfreq(len(before), 1 / rate)
    powers = [np.abs(np.fft.rfft(audio[:, 0])) ** 2 for audio in (before, after)]
    centres = 1000 * 2 ** (np.arange(-12, 13) / 3)
    shares = equaliser.third_octaves(frequencies, centres)
    return centres, 10 * np.log10((shares @ powers[1]) / (shares @ powers[0]))


EVERYTHING = {
    "eq": {"tilt_db": 0.5, "low_shelf_db": 3.0, "presence_db": -2.0},
    "width": {"low": 0.5, "high": 1.5, "mono_below_hz": 100.0},
    "compress": {"ratio": 3.0, "threshold_db": -6.0},
}


UNCHANGED = {
    "eq": ({}, "spectrum left as it is"),
    "width": ({}, "width left as it is"),
    "compress": ({"ratio": 1.0}, "dynamics left as they are"),
    "bass": ({}, "the low end left as it is"),
    "transients": ({"pre_echo": 0.0}, "attacks left as they are"),
    "deess": ({"most_db": 0.0}, "nothing was generated, so nothing could hiss"),
    "lowpass": ({"cutoff_hz": 30000.0}, "nothing cut"),
    "restore": ({}, "nothing was cut off, so nothing was made"),
}


@pytest.mark.parametrize("stage", UNCHANGED)
def test_what_changes_nothing_passes_bit_by_bit_through_a_whole_run_and_says_so(piece, tmp_path, stage):
    params, note = UNCHANGED[stage]
    soundfile.write(tmp_path / "s.wav", piece[:RATE], RATE, subtype="PCM_24")
    settings = "".join(f", {name} = {value}" for name, value in params.items())
    (tmp_path / "r.toml").write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
        f'[variants.20_same]\nfrom = "01_baseline"\nchain = [{{ stage = "{stage}"{settings} }}]\nsuffix = ""\n'
    )
    execute(Session([tmp_path / "s.wav"], tmp_path / "o", str(tmp_path / "r.toml")))
    one, other = (soundfile.read(tmp_path / "o" / v / "s.flac", dtype="int32")[0] for v in ("01_baseline", "20_same"))
    assert np.array_equal(one, other)
    assert FLAC(tmp_path / "o" / "20_same" / "s.flac")["mp3restore_note"] == [note]


@pytest.mark.parametrize("stage", EVERYTHING)
@pytest.mark.parametrize("rate", [8000, 192000])
def test_any_rate_and_any_length(tmp_path, stage, rate):
    rng = np.random.default_rng(1)
    for frames, channels in [(1, 2), (700, 1), (rate // 2, 2)]:
        made(tmp_path, stage, 0.1 * rng.standard_normal((frames, channels)), rate, **EVERYTHING[stage])


@pytest.mark.parametrize("stage", EVERYTHING)
def test_silence_stays_silent_and_equal_channels_equal(tmp_path, stage, noise):
    assert not made(tmp_path, stage, np.zeros((RATE, 2)), exact_mono=True, **EVERYTHING[stage])[1].any()
    equal = np.repeat(noise[:RATE, :1], 2, axis=1)
    for exact in (True, False):
        after = made(tmp_path, stage, equal, exact_mono=exact, **EVERYTHING[stage])[1]
        assert np.array_equal(after[:, 0], after[:, 1])


@pytest.mark.parametrize("stage", EVERYTHING)
def test_a_click_stays_where_it_was(tmp_path, stage):
    """Linear phase: what comes out is centred on what went in."""
    click = np.zeros((RATE, 2))
    click[20000] = 0.5, -0.2
    after = made(tmp_path, stage, click, **EVERYTHING[stage])[1]
    assert np.abs(after).max(axis=1).argmax() == 20000
    if stage != "compress":
        np.testing.assert_allclose(after[20000 - 5000 : 20000], after[20001 : 20000 + 5001][::-1], atol=1e-6)


def test_a_run_that_was_stopped_in_the_middle_gives_the_same_bytes(piece, tmp_path):
    soundfile.write(tmp_path / "s.wav", piece[: 3 * RATE], RATE, subtype="PCM_16")
    chain = ", ".join(
        f"{{ stage = '{stage}', {', '.join(f'{k} = {v}' for k, v in params.items())} }}"
        for stage, params in EVERYTHING.items()
    )
    (tmp_path / "r.toml").write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\n[variants.07_mastered]\nfrom = "01_baseline"\n'
        f'chain = [{chain}, "master"]\nsuffix = ""\n'
    )

    def run(folder, stop_in=""):
        session = Session([tmp_path / "s.wav"], tmp_path / folder, str(tmp_path / "r.toml"))
        session.subscribe(lambda e: isinstance(e, TaskStarted) and e.stage == stop_in and session.stop())
        execute(session)
        return tmp_path / folder / "07_mastered/s.flac"

    undisturbed = run("one").read_bytes()
    for stage in ("width", "compress", "master"):
        assert not run("other", stage).exists()
    assert run("other").read_bytes() == undisturbed


# --- eq ---------------------------------------------------------------------------------------------------


def test_tilt_shelf_and_presence_are_what_they_say(tmp_path, noise):
    centres, tilted = change(*made(tmp_path, "eq", noise, tilt_db=0.5))
    expected = 0.5 * np.log2(centres / 1000)
    np.testing.assert_allclose(tilted, expected, atol=0.15)
    centres, shelf = change(*made(tmp_path, "eq", noise, low_shelf_db=4.0, low_shelf_hz=150.0))
    assert shelf[centres < 70].mean() > 3 and abs(shelf[centres > 1500]).max() < 0.1
    centres, voice = change(*made(tmp_path, "eq", noise, presence_db=-3.0))
    assert voice[np.abs(centres - 4000) < 100] == pytest.approx(-3, abs=0.2) and abs(voice[centres < 900]).max() < 0.1


def test_a_song_gets_the_balance_of_its_reference_but_never_more_than_the_limit(tmp_path, noise):
    signal, _ = stored(tmp_path, noise)
    kind = STAGES["eq"]
    shaped = np.concatenate(list(kind.run(Running(signal), kind.Parameters(tilt_db=-0.8, presence_db=4.0)).blocks()))
    soundfile.write(tmp_path / "ref.flac", 0.3 * shaped[: 3 * RATE], RATE)
    before, after = made(tmp_path, "eq", noise, reference=str(tmp_path / "ref.flac"))
    centres, found = change(before, after)
    wanted = change(before, shaped)[1]
    heard = (centres > 80) & (centres < 14000)
    difference = (found - wanted)[heard]
    assert np.abs(difference - difference.mean()).max() < 0.4
    soundfile.write(tmp_path / "dark.wav", np.cumsum(noise, axis=0) * 0.01, RATE)
    found = change(*made(tmp_path, "eq", noise, reference=str(tmp_path / "dark.wav"), match_limit_db=3.0))[1]
    assert found.max() == pytest.approx(3, abs=0.15) and found.min() == pytest.approx(-3, abs=0.15)


def test_nothing_is_matched_above_what_song_and_reference_hold(tmp_path, noise, piece):
    write_mp3(tmp_path / "ref.mp3", piece, level=0.9)
    before, after = made(tmp_path, "eq", noise, cutoff=9000.0, reference=str(tmp_path / "ref.mp3"))
    centres, found = change(before, after)
    assert np.ptp(found[centres > 9500]) < 0.1  # what is beyond goes with the last band that was compared


def test_a_reference_that_is_not_there_or_no_music_is_told_and_costs_only_its_song(tmp_path, noise):
    kind = STAGES["eq"]
    assert kind.unavailable_reason(kind.Parameters(reference=str(tmp_path / "gone.flac"))).startswith(
        f"The reference track {tmp_path}/gone.flac is not there"
    )
    for bad in ("", "a\0b", "~nobody-of-that-name/x"):
        assert bool(kind.unavailable_reason(kind.Parameters(reference=bad))) is bool(bad)
    soundfile.write(tmp_path / "s.wav", noise[:RATE], RATE)
    (tmp_path / "liar.mp3").write_bytes(os.urandom(4096))
    (tmp_path / "r.toml").write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.20_eq]\nfrom = "01_baseline"\n'
        f"chain = [{{ stage = 'eq', reference = '{tmp_path}/liar.mp3' }}]\n"
    )
    events = execute(Session([tmp_path / "s.wav"], tmp_path / "o", str(tmp_path / "r.toml")))
    (failed,) = [e for e in events if isinstance(e, TaskFailed)]
    assert "liar.mp3 cannot be read" in failed.reason and (tmp_path / "o/01_baseline/s.flac").is_file()


def test_another_reference_makes_another_result_and_the_same_one_elsewhere_does_not(tmp_path, noise):
    def fingerprint(path):
        text = f"format = 1\n[variants.a]\nchain = ['decode', {{ stage = 'eq', reference = '{path}' }}]\n"
        return plan.build(recipes.parse(text, "r", "r"))[-1].spec()["reference"]

    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, noise[:RATE], RATE)
    first = fingerprint(tmp_path / "a.wav")
    assert fingerprint(tmp_path / "b.wav") == first
    soundfile.write(tmp_path / "a.wav", noise[: RATE // 2], RATE)
    assert fingerprint(tmp_path / "a.wav") != first
    (tmp_path / "a.wav").unlink()
    with pytest.raises(NotPossibleError, match="not there"):
        STAGES["eq"].fingerprint(STAGES["eq"].Parameters(reference=str(tmp_path / "a.wav")))


# --- width ------------------------------------------------------------------------------------------------


def sides(audio):
    return (audio[:, :1] + audio[:, 1:]) / 2, (audio[:, :1] - audio[:, 1:]) / 2


def loudness(audio, rate=RATE):
    meter = LoudnessMeter(rate, audio.shape[1])
    meter.process(np.asarray(audio, np.float32))
    return meter.integrated()


def test_the_side_alone_is_changed_and_by_what_was_asked_for(tmp_path, noise):
    before, after = made(tmp_path, "width", noise, low=0.5, low_hz=400.0, high=1.25, mono_below_hz=80.0)
    np.testing.assert_allclose(sides(after)[0], sides(before)[0], atol=1e-6)
    centres, found = change(sides(before)[1], sides(after)[1])
    assert found[(centres > 190) & (centres < 230)] == pytest.approx(-6, abs=0.3)
    assert abs(found[(centres > 700) & (centres < 2500)]).max() < 0.2 and found[0] < -30
    assert found[(centres > 6000) & (centres < 14000)] == pytest.approx(1.94, abs=0.2)


def test_a_song_never_loses_more_than_a_decibel_in_mono(tmp_path, noise):
    wide = noise @ np.array([[1.0, -0.8], [-0.8, 1.0]])
    for audio in (noise, wide):
        before, after = made(tmp_path, "width", audio, low=2.0, middle=2.0, high=2.0)
        lost = [loudness(a) - loudness(np.repeat(sides(a)[0], 2, axis=1)) for a in (before, after)]
        assert 0.5 < lost[1] - lost[0] <= 1.0


def test_what_an_encoder_left_of_a_side_is_not_widened(tmp_path, noise):
    """Side bands that come and go, or lie far below the mid, are none of the music's width."""
    middle, side = sides(noise)
    gone = (np.arange(len(noise)) // 8820 % 3 > 0)[:, None]
    for kept in (side * gone, side * 0.05):
        audio = np.concatenate([middle + kept, middle - kept], axis=1)
        before, after = made(tmp_path, "width", audio, middle=1.5, high=1.5)
        centres, found = change(sides(before)[1], sides(after)[1])
        assert found[centres > 300].max() < 2  # of 3.5 dB
    meter = SideMeter(RATE)
    meter.process(np.asarray(noise, np.float32))
    assert (
        meter.trust(None)[meter.centres < 17000].min() == 1.0 and meter.trust(9000.0)[meter.centres > 9000].max() == 0.0
    )


def test_bass_cannot_be_mono_below_what_nobody_hears():
    with pytest.raises(UsageError, match="mono_below_hz"):
        STAGES["width"].Parameters(mono_below_hz=5.0)


# --- compress ---------------------------------------------------------------------------------------------


def test_the_bands_add_up_to_the_song(tmp_path, noise):
    signal, before = stored(tmp_path, noise)
    how = Compression(2.0, 0.0, 0.02, 0.1, (150.0, 3000.0))
    bands = MultiBand(how, lambda a, b: read_window(signal.path, a, b, signal.frames), len(before), RATE).bands(0, RATE)
    assert np.abs(sum(bands) - before[:RATE]).max() < 1e-6
    for band, (inside, outside) in zip(bands, [(60, 600), (700, 40), (9000, 700)], strict=True):
        power = np.abs(np.fft.rfft(band[:, 0])) ** 2
        levels = [10 * np.log10(power[int(f * 0.9) : int(f * 1.1)].mean()) for f in (inside, outside)]
        assert levels[0] > levels[1] + 15


def test_loud_moments_come_down_by_the_ratio_in_their_own_band_alone(tmp_path):
    """A hiss that is 12 dB louder for a second; the bass below it goes on as it was."""
    time = np.arange(6 * RATE) / RATE
    rng = np.random.default_rng(3)
    treble = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(time))) * (np.fft.rfftfreq(len(time), 1 / RATE) > 6000))
    loud = (time > 3) & (time < 4)
    bass = 0.1 * np.sin(2 * np.pi * 60 * time)
    audio = np.stack([bass + 0.01 * treble * np.where(loud, 4, 1)] * 2, axis=1)
    before, after = made(tmp_path, "compress", audio, ratio=2.0, threshold_db=-3.0)

    def hiss(a, since, until):
        piece = np.diff(a[int(since * RATE) : int(until * RATE), 0], n=2)
        return 10 * np.log10((piece**2).mean())

    steps = [hiss(a, 3.3, 3.8) - hiss(a, 1, 2) for a in (before, after)]
    assert steps[0] == pytest.approx(12, abs=0.3) and 5 < steps[1] < 9
    low = [np.abs(np.fft.rfft(a[3 * RATE : 4 * RATE, 0]))[60] for a in (before, after)]
    assert low[1] == pytest.approx(low[0], rel=0.15)


def test_left_and_right_are_turned_down_alike_and_levels_do_not_matter(tmp_path, noise):
    swelling = noise * np.linspace(0.3, 1.2, len(noise))[:, None] ** 2 * np.array([1.0, 0.25])
    before, after = made(tmp_path, "compress", swelling, ratio=3.0)
    factor = 10 ** (-12 / 20)
    quiet = made(tmp_path, "compress", swelling * factor, ratio=3.0)[1]
    assert np.abs(quiet / factor - after).max() < 2e-3 and np.abs(after - before).max() > 0.01
    by_itself = made(tmp_path, "compress", swelling * np.array([1.0, -1.0]), ratio=3.0)[1]
    assert np.abs(by_itself * np.array([1.0, -1.0]) - after).max() < 1e-6
