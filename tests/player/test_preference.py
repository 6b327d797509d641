"""A listener's taste, learnt from few answers: simulated listeners, and one who guesses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from engine.files import read_json
from engine.library.verdicts import change_verdict, read_verdict
from engine.player.choosing import Chooser, figures_of, keep_comparison, read_comparisons
from engine.player.preference import Answer, Taste
from engine.player.telling import telling_place
from engine.run.session import Session
from tests.conftest import execute, mp3restore

VARIANTS = ("01_baseline", "11_offline", "12_apollo")


def library(dice, count=1000):
    """Figures of songs as libraries have them: bitrate, cutoff, brightness, loudness, dynamics."""
    bitrate = dice.choice([64, 96, 128, 160, 192, 256, 320], count, p=[0.05, 0.1, 0.35, 0.1, 0.2, 0.1, 0.1])
    cutoff = np.interp(bitrate, [64, 128, 192, 320], [11, 16, 18.6, 20]) + dice.normal(0, 0.4, count)
    rest = (dice.normal(-18, 5, count), dice.normal(-12, 4, count), dice.normal(9, 3, count))
    return np.stack([np.log2(bitrate), cutoff, *rest], axis=1)


def by_slopes(songs, dice):
    """Utilities that rise and fall with bitrate and brightness."""
    z = (songs - songs.mean(axis=0)) / songs.std(axis=0)
    weights = dice.normal(0, 4.5, (len(VARIANTS), 3))
    return weights[:, 0] + z[:, [0, 2]] @ weights[:, 1:].T


def by_rule(songs, dice):
    """Apollo for what is coded low, else nothing for what is bright, and the restorer for what is dark."""
    low, bright = songs[:, 0] < np.log2(150), songs[:, 2] > dice.normal(-18, 2)
    best = np.where(low, 2, np.where(bright, 0, 1))
    return 4.0 * (np.arange(3) == best[:, None])


def asked(songs, utility, dice, count=40):
    """The taste after so many comparisons, asked for as the program does (see Chooser.question); by logistic choice."""
    answers = []
    taste = Taste(answers, songs, VARIANTS)
    for number in range(count):
        pool = dice.choice(len(songs), 200, replace=False)
        pairs = [prediction.closest for prediction in taste.predict(songs[pool], VARIANTS)]
        if number % 2:
            place = 0
        else:
            bits = np.zeros(len(pool))
            for pair in set(pairs):
                same = np.array([other == pair for other in pairs])
                bits[same] = taste.told_by(songs[pool[same]], pair)
            place = int(bits.argmax())
        song, (first, second) = pool[place], pairs[place]
        better = utility[song, VARIANTS.index(first)] - utility[song, VARIANTS.index(second)]
        is_first = dice.random() < 1 / (1 + np.exp(-better))
        answers.append(Answer(tuple(songs[song]), first if is_first else second, (first, second)))
        taste = Taste(answers, songs, VARIANTS)
    return taste


@pytest.mark.parametrize("kind", [by_slopes, by_rule])
def test_forty_comparisons_tell_what_a_listener_would_pick(kind):
    agreed, right, sure = [], 0, 0
    for seed in range(6):
        dice = np.random.default_rng(seed)
        songs = library(dice)
        utility = kind(songs, dice)
        taste = asked(songs, utility, dice)
        assert taste.is_there
        predicted = taste.predict(songs, VARIANTS)
        best = [VARIANTS[place] for place in utility.argmax(axis=1)]
        agreed.append(np.mean([p.chosen == one for p, one in zip(predicted, best, strict=True)]))
        sure += sum(p.is_sure for p in predicted)
        right += sum(p.is_sure and p.chosen == one for p, one in zip(predicted, best, strict=True))
    assert np.mean(agreed) >= 0.85
    assert right / sure >= 0.9  # what it calls sure is sure


def test_a_listener_who_guesses_has_no_preference():
    found = 0
    for seed in range(12):
        dice = np.random.default_rng(100 + seed)
        songs = library(dice, 300)
        found += asked(songs, np.zeros((300, 3)), dice, 30).is_there
    assert found <= 1


def test_without_answers_everything_is_open():
    songs = library(np.random.default_rng(1), 50)
    taste = Taste([], songs, VARIANTS)
    assert not taste.is_there
    assert all(0.2 < chance < 0.5 for p in taste.predict(songs, VARIANTS) for chance in p.chances.values())


def test_a_favourite_among_several_counts_as_one_choice_and_alike_songs_are_no_trouble():
    songs = np.ones((30, 5))
    answers = [Answer((1.0,) * 5, "12_apollo", VARIANTS)] * 12
    taste = Taste(answers, songs, VARIANTS)
    assert taste.is_there
    only_two = taste.predict(songs[:1], ("01_baseline", "11_offline"))[0]
    assert not only_two.is_sure  # of these two nothing is known
    assert taste.predict(songs[:1], VARIANTS)[0].chosen == "12_apollo"


# --- in a library -------------------------------------------------------------------------------------------


@pytest.fixture
def made(songs, tmp_path):
    """A finished library of two songs with two variants."""
    (tmp_path / "quick.toml").write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
        '[variants.11_offline]\nchain = ["decode", "restore"]\nsuffix = ".offline"\n'
    )
    session = Session([songs], recipe=str(tmp_path / "quick.toml"))
    execute(session)
    return session


def folder_of(session, number):
    return session.store.places.listening(session.songs[number].key)


def test_answers_are_kept_and_come_back(made):
    chooser = Chooser(made.store, made.songs)
    question = chooser.question()
    chooser.answer(question, question.pair[1])
    again = Chooser(made.store, made.songs)
    assert [answer.chosen for answer in again.answers] == [question.pair[1]]
    other = again.question()
    assert other.song != question.song  # the same is not asked twice
    again.skip(other)
    assert again.question() is None


def test_what_a_person_chose_is_never_overwritten_and_proposals_are_marked_and_withdrawn(made):
    for _ in range(12):
        keep_comparison(folder_of(made, 0), "11_offline", "01_baseline")
    chooser = Chooser(made.store, made.songs)
    proposals = chooser.proposals()
    assert {p.prediction.chosen for p in proposals} == {"11_offline"} and len(proposals) == 2
    change_verdict(folder_of(made, 1), favourite="01_baseline")  # meanwhile, by a person
    assert chooser.choose(proposals) == 1
    first, second = (read_verdict(folder_of(made, number)) for number in (0, 1))
    assert (first.favourite, first.is_proposed) == ("11_offline", True)
    assert (second.favourite, second.is_proposed) == ("01_baseline", False)
    again = Chooser(made.store, made.songs)
    assert sum(a.chosen == "11_offline" for a in again.answers) == 12  # what was proposed teaches nothing
    assert again.choose([]) == 0
    assert read_verdict(folder_of(made, 0)).favourite == ""
    assert read_verdict(folder_of(made, 1)).favourite == "01_baseline"


def test_a_preference_test_is_one_opinion_however_many_trials(made):
    folder = folder_of(made, 0)
    folder.mkdir(parents=True)
    trials = [{"played": {"1": "01_baseline", "2": "11_offline"}, "answer": "2"}] * 14
    trials += [{"played": {"1": "01_baseline", "2": "11_offline"}, "answer": "1"}] * 2
    (folder / "preference-1.json").write_text(json.dumps({"finished": True, "trials": trials}))
    (folder / "preference-2.json").write_text(json.dumps({"finished": False, "trials": trials}))
    (folder / "preference-3.json").write_text('{"finished": true, "trials": [1, {"played": 3}, null]}')
    assert [a.chosen for a in Chooser(made.store, made.songs).answers] == ["11_offline"]


@pytest.mark.parametrize("text", ["[1,", "{}", '{"comparisons": 3}', '{"comparisons": [{"better": 1}, 2, null]}'])
def test_broken_answers_cost_themselves(made, text):
    folder = folder_of(made, 0)
    folder.mkdir(parents=True)
    (folder / "comparisons.json").write_text(text)
    assert read_comparisons(folder) == []
    chooser = Chooser(made.store, made.songs)
    assert not chooser.answers and not chooser.proposals()
    keep_comparison(folder, "a", "b")
    assert read_comparisons(folder) == [("a", "b")]


def test_figures_of_a_song_tell_bright_from_dark(made):
    analysis = made.store.record(made.songs[0]).analysis
    dark, bright = ([-20.0] * 13 + [level] * 13 for level in (-60.0, -25.0))
    assert figures_of(analysis, bright)[2] > figures_of(analysis, dark)[2] + 20
    assert all(np.isfinite(figures_of(analysis, [-400.0] * 26)))


def test_the_command_proposes_and_applies(made, songs, tmp_path):
    told = mp3restore("choose", str(songs))
    assert told.returncode == 1 and "No preference found" in told.stdout
    for _ in range(12):
        keep_comparison(folder_of(made, 0), "11_offline", "01_baseline")
    told = mp3restore("choose", str(songs))
    assert told.returncode == 0 and "11_offline" in told.stdout and "Nothing was changed" in told.stdout
    assert not (folder_of(made, 1) / "verdict.json").exists()
    told = mp3restore("choose", str(songs), "--apply", "all")
    assert told.returncode == 0 and "Chosen for 2 songs" in told.stdout
    assert read_json(folder_of(made, 1) / "verdict.json")["is_proposed"] is True
    assert mp3restore("choose", str(songs), "--apply", "some").returncode == 2


# --- where to listen ---------------------------------------------------------------------------------------


def test_the_telling_place_is_where_two_files_differ(tmp_path, piece):
    rate = 44100
    song = np.tile(piece, (7, 1))
    other = song.copy()
    dice = np.random.default_rng(1)
    other[25 * rate : 31 * rate] += dice.normal(0, 0.05, (6 * rate, 2)).astype(np.float32)
    for name, audio, at in (("a", song, rate), ("b", other * 0.5, rate)):
        soundfile.write(tmp_path / f"{name}.flac", audio, at, subtype="PCM_24")
    start, stop = telling_place(tmp_path / "a.flac", tmp_path / "b.flac")
    assert stop - start == 15.0 and start <= 25.0 and stop >= 31.0
    short = tmp_path / "short.flac"
    soundfile.write(short, piece[:100], rate)
    assert telling_place(short, tmp_path / "a.flac")[0] == 0.0


def test_equal_and_silent_files_have_some_place(tmp_path):
    soundfile.write(tmp_path / "s.flac", np.zeros((8000 * 20, 1), np.float32), 8000)
    start, stop = telling_place(tmp_path / "s.flac", tmp_path / "s.flac")
    assert (start, stop) == (0.0, 15.0)
