"""Blind tests: exact statistics, honest chance, and nothing told before the end."""

from __future__ import annotations

import json
import math
import random

import pytest

from engine.errors import UsageError
from engine.player.blind import BlindTest, Kind, holm, one_sided_p, show_p, two_sided_p


def run(test, choose):
    while not test.finished:
        test.answer(choose(test.current))
        assert test.confirm()
    return test.outcome()


@pytest.mark.parametrize(
    ("hits", "trials", "p"),
    [
        (12, 16, 0.0384),
        (11, 16, 0.1051),
        (14, 16, 0.0021),
        (16, 16, 0.0000153),
        (8, 10, 0.0547),
        (9, 10, 0.0107),
        (18, 25, 0.0216),
        (0, 16, 1.0),
    ],
)
def test_p_is_that_of_the_exact_binomial_tables(hits, trials, p):
    assert one_sided_p(hits, trials) == pytest.approx(p, rel=5e-3)


def test_p_agrees_with_scipy():
    from scipy.stats import binomtest

    for trials in range(10, 26):
        for hits in range(trials + 1):
            assert one_sided_p(hits, trials) == pytest.approx(binomtest(hits, trials, alternative="greater").pvalue)
            assert two_sided_p(hits, trials) == pytest.approx(binomtest(hits, trials).pvalue)


def test_holm_adjusts_in_order_and_never_lowers():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]


@pytest.mark.parametrize(("kind", "candidates"), [(Kind.ABX, "ab"), (Kind.PREFERENCE, "ab"), (Kind.PREFERENCE, "abcd")])
def test_a_guesser_is_rarely_significant(kind, candidates):
    """10,000 sessions of tossing coins: significant at 5 % in no more than 5 % of them."""
    dice = random.Random(20261122)
    significant = 0
    for _ in range(10_000):
        test = BlindTest(kind, list(candidates), 16, dice=dice)
        outcome = run(test, lambda trial: trial.choices[dice.randrange(2)])
        significant += outcome.p <= 0.05
    assert significant / 10_000 <= 0.05
    if len(candidates) == 2:
        assert significant > 100  # a test that nobody can pass would be no test


def test_who_hears_it_passes_and_is_told_in_plain_words():
    test = BlindTest(Kind.ABX, ["a", "b"])
    outcome = run(test, lambda trial: "A" if trial.candidate("X") == "a" else "B")
    assert outcome.correct == outcome.trials == 16 and outcome.words == "16 of 16, p < 0.001: you do hear a difference."
    test = BlindTest(Kind.ABX, ["a", "b"])
    outcome = run(test, lambda trial: "B" if trial.candidate("X") == "a" else "A")
    assert outcome.p == 1.0 and "no difference was shown" in outcome.words


def test_leaving_it_alone_can_win():
    test = BlindTest(Kind.PREFERENCE, ["01_baseline", "11_offline"], names={"01_baseline": "Plain decode"})
    outcome = run(test, lambda trial: "1" if trial.candidate("1") == "01_baseline" else "2")
    assert outcome.words == "16 of 16 for Plain decode, p < 0.001: you do prefer it."


def test_several_contenders_are_paired_evenly_and_ranked():
    test = BlindTest(Kind.PREFERENCE, ["a", "b", "c"], 24)
    outcome = run(test, lambda trial: min(trial.choices, key=trial.candidate))
    assert [r.trials for r in outcome.pairs] == [8, 8, 8]
    assert outcome.words.startswith("Chosen how often: a 16, b 8, c 0. You do prefer ") and "a over c" in outcome.words


def test_assignments_are_fair_and_come_from_the_system():
    chosen = [t.candidate("X") for _ in range(200) for t in BlindTest(Kind.ABX, ["a", "b"], 25).trials]
    assert abs(chosen.count("a") - 2500) < 5 * math.sqrt(5000) / 2
    one, other = (BlindTest(Kind.ABX, ["a", "b"], 25) for _ in range(2))
    assert [t.candidate("X") for t in one.trials] != [t.candidate("X") for t in other.trials]


def test_answers_can_be_changed_until_confirmed_and_the_score_is_hidden():
    test = BlindTest(Kind.ABX, ["a", "b"], 10)
    assert not test.confirm()
    test.answer("A")
    test.answer("B")
    test.answer("X")  # no answer at all
    assert test.current.answer == "B" and test.place == 0
    first = test.current
    assert test.confirm() and test.place == 1
    assert first.confirmed
    with pytest.raises(RuntimeError, match="hidden"):
        test.outcome()
    for _ in range(9):
        test.answer("A")
        test.confirm()
    assert test.finished and test.outcome().trials == 10
    test.answer("B")
    assert test.current.answer == "A"  # confirmed is confirmed


def test_the_log_holds_every_trial_and_what_was_compared(tmp_path):
    test = BlindTest(Kind.ABX, ["a", "b"], 10)
    run(test, lambda trial: "A")
    path = test.save(tmp_path, {"hashes": {"a": "12", "b": "34"}})
    log = json.loads(path.read_text())
    assert len(log["trials"]) == 10 and log["finished"] and log["hashes"] == {"a": "12", "b": "34"}
    correct = sum(t["played"]["X"] == t["played"][t["answer"]] for t in log["trials"])
    assert log["result"]["correct"] == correct and log["result"]["p"] == one_sided_p(correct, 10)
    unfinished = BlindTest(Kind.ABX, ["a", "b"], 10)
    unfinished.answer("A")
    unfinished.confirm()
    log = json.loads(unfinished.save(tmp_path, {}).read_text())
    assert not log["finished"] and "result" not in log and len(log["trials"]) == 1


def test_breaks_are_proposed_now_and_then():
    test = BlindTest(Kind.ABX, ["a", "b"], 16)
    breaks = []
    while not test.finished:
        breaks.append(test.time_for_a_break)
        test.answer("A")
        test.confirm()
    assert [n for n, b in enumerate(breaks) if b] == [8]


@pytest.mark.parametrize("trials", [0, 9, 26])
def test_the_number_of_trials_is_kept_in_bounds(trials):
    with pytest.raises(UsageError, match="10 to 25"):
        BlindTest(Kind.ABX, ["a", "b"], trials)


def test_contenders_must_differ():
    with pytest.raises(UsageError):
        BlindTest(Kind.ABX, ["a", "a"])
    with pytest.raises(UsageError):
        BlindTest(Kind.ABX, ["a", "b", "c"])
    assert show_p(0.0002) == "p < 0.001"
