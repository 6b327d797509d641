"""Blind tests: ABX (is there a difference?) and preference (which is better?), and what their outcome means.

The number of trials is fixed beforehand, assignments come from the operating system's random generator, and no
score can be asked for before the last answer is confirmed: looking and stopping when it suits makes any p-value
worthless. Statistics are exact binomial ones; ITU-R BS.1116 gives the frame for listening conditions.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine import __version__
from engine.errors import UsageError
from engine.files import write_json

TRIALS = (10, 25)
DEFAULT_TRIALS = 16
SIGNIFICANT = 0.05
BREAK_EVERY = 8  # trials
_LOG_FORMAT = 1


class Kind(StrEnum):
    """What is asked."""

    ABX = "abx"
    PREFERENCE = "preference"


_SYSTEM = random.SystemRandom()  # of the operating system: nobody can foresee it


@dataclass
class Trial:
    """One question. ``labels`` are what may be listened to, in order; ``_behind`` is what they play.

    In ABX these are A, B and X, and the answer is A or B; in preference 1 and 2, and the answer is one of them.
    """

    labels: tuple[str, ...]
    choices: tuple[str, ...]
    _behind: dict[str, str]
    answer: str = ""
    confirmed: bool = False
    switches: int = 0
    began: float = 0.0
    seconds: float = 0.0

    def candidate(self, label: str) -> str:
        """What to play for a label. For the player alone: never shown."""
        return self._behind[label]


@dataclass(frozen=True)
class PairResult:
    """How two candidates did: ``hits`` of ``trials`` for the first, and the exact p (adjusted by Holm's method
    where there are several pairs)."""

    pair: tuple[str, str]
    hits: int
    trials: int
    p: float


@dataclass(frozen=True)
class Outcome:
    """The end of a test, in numbers and in plain words."""

    kind: Kind
    correct: int
    trials: int
    p: float
    pairs: tuple[PairResult, ...]
    words: str


class BlindTest:
    """A test of ``trials`` questions about ``candidates`` (two for ABX, two or more for preference).

    ``names`` are what the outcome calls them; a ``dice`` of one's own is for simulations, never for a test that
    counts.

    Raises:
        UsageError: the number of trials or candidates does not fit.
    """

    def __init__(
        self, kind: Kind, candidates: Sequence[str], trials: int = DEFAULT_TRIALS, *,
        names: Mapping[str, str] | None = None, dice: random.Random = _SYSTEM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if not TRIALS[0] <= trials <= TRIALS[1]:
            raise UsageError(f"A blind test takes {TRIALS[0]} to {TRIALS[1]} trials, not {trials}.")
        if len(set(candidates)) != len(candidates) or len(candidates) < 2:
            raise UsageError("A blind test needs at least two different things to compare.")
        if kind is Kind.ABX and len(candidates) != 2:
            raise UsageError("An ABX test compares exactly two things.")
        self.kind = kind
        self.candidates = tuple(candidates)
        self.names = {key: (names or {}).get(key, key) for key in candidates}
        self.place = 0
        self._clock = clock
        self._started = datetime.now(UTC)
        self.trials = _abx(candidates, trials, dice) if kind is Kind.ABX else _preference(candidates, trials, dice)
        self.trials[0].began = clock()

    @property
    def current(self) -> Trial:
        """The question that is to be answered now."""
        return self.trials[self.place]

    @property
    def finished(self) -> bool:
        """Whether all answers are confirmed."""
        return all(t.confirmed for t in self.trials)

    @property
    def time_for_a_break(self) -> bool:
        """Whether ears should rest before the next question."""
        return 0 < self.place < len(self.trials) and self.place % BREAK_EVERY == 0 and not self.current.answer

    def answer(self, choice: str) -> None:
        """Choose, or choose otherwise, as long as it is not confirmed."""
        if choice in self.current.choices and not self.current.confirmed:
            self.current.answer = choice

    def confirm(self) -> bool:
        """Fix the answer and go on to the next question; False where there is no answer yet."""
        trial = self.current
        if not trial.answer:
            return False
        trial.confirmed = True
        trial.seconds = self._clock() - trial.began
        if self.place + 1 < len(self.trials):
            self.place += 1
            self.current.began = self._clock()
        return True

    def outcome(self) -> Outcome:
        """The result.

        Raises:
            RuntimeError: there are answers to be given yet; until then nobody learns anything.
        """
        if not self.finished:
            raise RuntimeError("the test is not finished: its score is hidden until the end")
        return _abx_outcome(self) if self.kind is Kind.ABX else _preference_outcome(self)

    def save(self, folder: Path, facts: dict[str, Any]) -> Path:
        """Write the log of all trials, with ``facts`` (hashes, levels); an unfinished test is marked so, and is
        given no score. Raises OSError."""
        log: dict[str, Any] = {
            "format": _LOG_FORMAT, "program": __version__, "kind": self.kind.value,
            "started": self._started.isoformat(timespec="seconds"), "finished": self.finished,
            "contenders": list(self.candidates), "planned_trials": len(self.trials), **facts,
            "trials": [
                {
                    "played": dict(t._behind), "answer": t.answer, "confirmed": t.confirmed,
                    "switches": t.switches, "seconds": round(t.seconds, 2),
                }
                for t in self.trials if t.confirmed
            ],
        }  # fmt: skip
        if self.finished:
            outcome = self.outcome()
            log["result"] = {
                "correct": outcome.correct, "trials": outcome.trials, "p": outcome.p, "words": outcome.words,
                "pairs": [{"pair": r.pair, "hits": r.hits, "trials": r.trials, "p": r.p} for r in outcome.pairs],
            }  # fmt: skip
        name = f"{self.kind.value}-{self._started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.json"
        write_json(folder / name, log)
        return folder / name


def _abx(candidates: Sequence[str], trials: int, dice: random.Random) -> list[Trial]:
    a, b = candidates
    return [Trial(("A", "B", "X"), ("A", "B"), {"A": a, "B": b, "X": (a, b)[dice.randrange(2)]}) for _ in range(trials)]


def _preference(candidates: Sequence[str], trials: int, dice: random.Random) -> list[Trial]:
    """Pairs in turn, as evenly as the number allows, in random order and each way round by chance."""
    pairs = list(itertools.combinations(candidates, 2))
    dice.shuffle(pairs)
    asked = [pairs[n % len(pairs)] for n in range(trials)]
    dice.shuffle(asked)
    result = []
    for pair in asked:
        first, second = pair if dice.randrange(2) else pair[::-1]
        result.append(Trial(("1", "2"), ("1", "2"), {"1": first, "2": second}))
    return result


# --- statistics -------------------------------------------------------------------------------------------


def one_sided_p(hits: int, trials: int) -> float:
    """Chance of at least ``hits`` of ``trials`` by coin tossing (exact binomial)."""
    return sum(math.comb(trials, k) for k in range(hits, trials + 1)) / 2**trials


def two_sided_p(hits: int, trials: int) -> float:
    """Chance of a split at least as uneven as this, either way, by coin tossing (exact binomial)."""
    return min(1.0, 2 * one_sided_p(max(hits, trials - hits), trials))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for having looked at several (Holm, Scand. J. Statist. 6, 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def show_p(p: float) -> str:
    """``0.002``; below that ``< 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _abx_outcome(test: BlindTest) -> Outcome:
    correct = sum(t.candidate(t.answer) == t.candidate("X") for t in test.trials)
    count = len(test.trials)
    p = one_sided_p(correct, count)
    if p <= SIGNIFICANT:
        meaning = "you do hear a difference"
    else:
        meaning = "no difference was shown; guessing does as well. That does not prove that there is none"
    words = f"{correct} of {count}, {show_p(p)}: {meaning}."
    pair = (test.candidates[0], test.candidates[1])
    return Outcome(test.kind, correct, count, p, (PairResult(pair, correct, count, p),), words)


def _preference_outcome(test: BlindTest) -> Outcome:
    counts: dict[tuple[str, str], list[int]] = {}
    for trial in test.trials:
        chosen = trial.candidate(trial.answer)
        both = {trial.candidate("1"), trial.candidate("2")}
        first, second = (c for c in test.candidates if c in both)
        tally = counts.setdefault((first, second), [0, 0])
        tally[0] += chosen == first
        tally[1] += 1
    adjusted = holm([two_sided_p(hits, total) for hits, total in counts.values()])
    pairs = tuple(
        PairResult(pair, hits, total, p) for (pair, (hits, total)), p in zip(counts.items(), adjusted, strict=True)
    )
    wins = {c: sum(t.candidate(t.answer) == c for t in test.trials) for c in test.candidates}
    best = max(wins, key=wins.__getitem__)
    lowest = min(p.p for p in pairs)
    return Outcome(test.kind, wins[best], len(test.trials), lowest, pairs, _preference_words(test, pairs, wins))


def _preference_words(test: BlindTest, pairs: tuple[PairResult, ...], wins: dict[str, int]) -> str:
    names = test.names
    if len(pairs) == 1:
        result = pairs[0]
        winner, hits = result.pair[0], result.hits
        if hits * 2 < result.trials:
            winner, hits = result.pair[1], result.trials - hits
        if result.p <= SIGNIFICANT:
            return f"{hits} of {result.trials} for {names[winner]}, {show_p(result.p)}: you do prefer it."
        return (
            f"{result.hits} to {result.trials - result.hits}, {show_p(result.p)}: no preference was shown; "
            "tossing a coin does as well."
        )
    ranking = ", ".join(f"{names[c]} {n}" for c, n in sorted(wins.items(), key=lambda item: -item[1]))
    clear = [r for r in pairs if r.p <= SIGNIFICANT]
    if not clear:
        return f"Chosen how often: {ranking}. No pair shows a preference; tossing a coin does as well."
    found = "; ".join(
        f"{names[winner]} over {names[loser]} ({show_p(r.p)})"
        for r in clear
        for winner, loser in (r.pair if r.hits * 2 > r.trials else r.pair[::-1],)
    )
    return f"Chosen how often: {ranking}. You do prefer {found}."
