"""Pitch correction on voices of which everything is known, measured by other means than its own."""

from __future__ import annotations

import numpy as np
import pytest

from engine.dsp import notes, pitch
from engine.dsp.psola import Bend, bent
from engine.errors import UsageError
from engine.stages.pitch import PitchParams, plan
from tests.voices import FEMALE, MALE, RATE, cents_between, melody, sung

TUNE = ((0, 0.5), (2, 0.4), (4, 0.7), (5, 0.35), (7, 1.0))
WHOLE = PitchParams(strength=1.0)


def listened(audio, rate=RATE):
    import soxr

    return pitch.track(soxr.resample(audio.reshape(len(audio), -1).mean(axis=1), rate, pitch.RATE, "VHQ"))


def corrected(audio, params=WHOLE, rate=RATE, block=65536):
    audio = audio.reshape(len(audio), -1)
    bends, note = plan(listened(audio, rate), rate, len(audio), params)
    return np.concatenate(list(bent((audio[at : at + block] for at in range(0, len(audio), block)), bends))), note


def held(tune):
    """What of a tune is within its notes, for each of them: slices of frames."""
    at = 0.0
    for _, seconds in tune:
        yield slice(int((at + 0.08) * RATE), int((at + seconds - 0.08) * RATE))
        at += seconds


def swing(cents, start):
    """(centre, depth) of what sways at 5.5 Hz."""
    phase = 2 * np.pi * 5.5 * (start + np.arange(len(cents))) / RATE
    parts = np.stack([np.ones(len(cents)), np.sin(phase), np.cos(phase)], axis=1)
    centre, *depth = np.linalg.lstsq(parts, cents, rcond=None)[0]
    return centre, np.hypot(*depth)


@pytest.mark.parametrize("hz", [82.0, 220.0, 523.0, 1046.0])
def test_the_pitch_of_a_voice_is_found(hz):
    found = listened(sung(np.full(RATE, hz), breath=0.05))
    assert (found[5:-5, 0] > 0).all() and np.abs(1200 * np.log2(found[5:-5, 0] / hz)).max() < 3
    assert np.median(found[:, 1]) > 0.85


def test_there_is_no_pitch_in_noise_silence_or_an_offset():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    for audio in (noise, np.zeros(RATE, np.float32), np.full(RATE, 0.1, np.float32), np.zeros(1, np.float32)):
        assert not (listened(audio)[10:-10, 0] > 0).any()
    assert pitch.track(np.zeros(0, np.float32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("lowest", "formants", "off", "vibrato"),
    [(43, MALE, -40, 40), (52, MALE, 45, 60), (57, FEMALE, 35, 0), (64, FEMALE, -45, 50), (72, FEMALE, 25, 70)],
)
def test_notes_come_to_where_they_belong_and_vibrato_stays(lowest, formants, off, vibrato):
    tune = [(lowest + step, seconds) for step, seconds in TUNE]
    voice = sung(melody(tune, off, vibrato), formants, breath=0.02)
    out, _ = corrected(voice)
    assert len(out) == len(voice)
    right = melody(tune)
    errors = []
    for note in held(tune):
        before, after = (
            swing(cents_between(audio, right)[note], note.start)
            for audio in (voice.astype(float), out[:, 0].astype(float))
        )
        assert before[0] == pytest.approx(off, abs=4)  # the measure is right
        errors.append(abs(after[0]))
        assert after[1] == pytest.approx(before[1], rel=0.15, abs=2)
    assert np.median(errors) < 8 and max(errors) < 12


def test_half_the_strength_goes_half_the_way():
    tune = [(60, 1.5)]
    out, note = corrected(sung(melody(tune, 40), FEMALE), PitchParams(strength=0.5))
    (within,) = held(tune)
    assert np.median(cents_between(out[:, 0].astype(float), melody(tune))[within]) == pytest.approx(20, abs=2)
    assert "20 cents" in note


def formants_of(audio):
    """The first three formants, by linear prediction over all frames together."""
    import soxr
    from scipy.linalg import solve_toeplitz

    low = np.diff(soxr.resample(audio.astype(float), RATE, 8000))
    total = np.zeros(11)
    for at in range(800, len(low) - 1200, 200):
        piece = low[at : at + 320] * np.hanning(320)
        total += np.correlate(piece, piece, "full")[319:330]
    poles = np.roots([1, *-solve_toeplitz(total[:10], total[1:])])
    poles = poles[(poles.imag > 0) & (np.abs(poles) > 0.8)]
    return np.sort(np.angle(poles) * 8000 / 2 / np.pi)[:3]


@pytest.mark.parametrize("cents", [300, -300])
def test_formants_stay_where_they_are_however_far_the_pitch_moves(cents):
    time = np.arange(3 * RATE) / RATE
    hz = 105 * 2 ** (np.sin(2 * np.pi * time / 3) / 12)  # so that harmonics pass over every formant
    voice = sung(hz, MALE)
    times = np.arange(0, len(hz), 220)
    bend = Bend(0, len(hz), times.astype(float), RATE / hz[times], np.full(len(times), float(cents)))
    (out,) = [np.concatenate(list(bent([voice[:, None]], [bend])))[:, 0]]
    within = slice(RATE // 4, -RATE // 4)
    moved = cents_between(out.astype(float), hz * 2 ** (cents / 1200))[within]
    assert np.abs(np.median(moved)) < 3
    assert formants_of(out) == pytest.approx(formants_of(voice), rel=0.05)
    assert formants_of(out) == pytest.approx([f for f, _ in MALE[:3]], rel=0.05)


def test_what_is_in_tune_is_not_touched():
    voice = sung(melody([(57 + step, seconds) for step, seconds in TUNE], 3, 50), FEMALE, breath=0.05)
    out, note = corrected(voice)
    assert np.array_equal(out[:, 0], voice) and "nothing was changed" in note


def test_a_voice_that_begins_in_tune_is_touched_only_from_where_it_is_not():
    hz = np.concatenate([melody([(60, 0.8)]), melody([(64, 0.8)], 35)])
    voice = sung(hz, FEMALE)
    out, _ = corrected(voice)
    assert np.array_equal(out[: int(0.7 * RATE), 0], voice[: int(0.7 * RATE)])
    assert not np.array_equal(out[RATE:, 0], voice[RATE:])


def test_glides_several_voices_and_noise_pass_as_they_are():
    thirds = [sung(melody([(57 + step, 1.0)], 30 - step, 40), FEMALE) for step in (0, 4)]
    slow = np.geomspace(200, 230, 2 * RATE)
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    for audio in (thirds[0] + np.roll(thirds[1], 300), sung(np.geomspace(200, 400, RATE)), sung(slow), noise):
        assert np.array_equal(corrected(audio)[0][:, 0], audio)


def test_consonants_and_pauses_between_notes_stay_to_the_sample():
    rng = np.random.default_rng(0)
    hz = np.concatenate([melody([(60, 0.5)], 40), np.zeros(RATE // 2), melody([(64, 0.5)], 40)])
    voice = sung(hz, FEMALE)
    hiss = slice(int(0.6 * RATE), int(0.9 * RATE))
    voice[hiss] += (rng.standard_normal(hiss.stop - hiss.start) * 0.02).astype(np.float32)
    out, _ = corrected(voice)
    assert np.array_equal(out[hiss, 0], voice[hiss])
    assert not np.array_equal(out[: RATE // 2, 0], voice[: RATE // 2])


@pytest.mark.parametrize("rate", [8000, 192000])
def test_at_every_rate_and_however_the_song_is_cut_alike_on_both_sides(rate):
    tune = [(57, 0.6), (61, 0.6)]
    voice = np.repeat(sung(melody(tune, 40, rate=rate), MALE[:3], rate=rate)[:, None], 2, axis=1)
    out, _ = corrected(voice, rate=rate)
    assert out.shape == voice.shape and np.array_equal(out[:, 0], out[:, 1])
    assert np.array_equal(out, corrected(voice, rate=rate, block=777)[0])
    off = cents_between(out[:, 0].astype(float), melody(tune, rate=rate), rate)
    assert abs(np.median(off[int(0.1 * rate) : int(0.5 * rate)])) < 5


def test_a_stretch_that_is_cut_for_the_memory_goes_on_in_step():
    hz = melody([(60, 24.0)], 40)
    out, _ = corrected(sung(hz, FEMALE))
    cents = cents_between(out[:, 0].astype(float), melody([(60, 24.0)]))
    off = np.abs(cents[RATE // 2 : -RATE // 2])
    assert off.max() < 42 and np.count_nonzero(off > 8) < 0.03 * RATE  # at the cut, a few periods pass as they were


def test_scales_are_named_or_found():
    assert notes.scale_named("C major") == notes.scale_named("a minor") == (0, 2, 4, 5, 7, 9, 11)
    assert notes.scale_named("F# minor") == notes.scale_named("G♭ minor") and len(notes.scale_named("chromatic")) == 12
    for wrong in ("H major", "C dorian", "", "C"):
        with pytest.raises(UsageError, match="scale must be"):
            PitchParams(scale=wrong)
    with pytest.raises(UsageError, match="400 and 480"):
        PitchParams(tuning_hz=100.0)

    def held_at(*tones):
        return [notes.Note(0, length, np.full(length, 100.0 * tone)) for tone, length in tones]

    assert (
        notes.detected_scale(held_at((62, 90), (64, 30), (66, 60), (67, 30), (69, 70), (71, 30), (73, 30))) == "D major"
    )
    assert notes.detected_scale(held_at(*((60 + tone, 50) for tone in range(12)))) == "chromatic"
    assert notes.detected_scale([]) == "chromatic"
    assert notes.tuning_offset(held_at((60.2, 50), (67.2, 50), (64.18, 50))) == pytest.approx(19.3, abs=0.5)


def test_the_scale_and_the_tuning_of_a_voice_are_taken_from_it():
    tune = [(60 + step, 0.35) for step in (2, 6, 9, 7, 11, 9, 1, 2)]  # D major
    voice = sung(melody(tune, 30, 40), FEMALE)
    out, note = corrected(voice, PitchParams(strength=1.0, scale="auto"))
    assert "toward D major" in note and not np.array_equal(out[:, 0], voice)
    # All of it is 30 cents sharp: as its own tuning, that is in tune.
    assert np.array_equal(corrected(voice, PitchParams(strength=1.0, scale="auto", tuning_hz=0.0))[0][:, 0], voice)


def test_a_note_beside_the_scale_goes_into_it_unless_it_is_too_far():
    tune = [(62, 0.6), (63, 0.6)]  # D, and an E that is sung 60 cents too low
    voice = sung(melody([(62, 0.6), (63.4, 0.6)]), FEMALE)
    wanted = melody([(62, 0.6), (64, 0.6)])
    _, second = held(tune)
    for most, there in ((80.0, 0), (50.0, -60)):
        out, _ = corrected(voice, PitchParams(strength=1.0, scale="C major", most_cents=most))
        assert np.median(cents_between(out[:, 0].astype(float), wanted)[second]) == pytest.approx(there, abs=4)
