"""Choosing for a whole library: what the listener's choices so far say of the songs that nobody has judged.

Choices are favourites that a person gave, the answers of preference tests, and the comparisons that were asked for
here. What is chosen for the rest is marked as such, and never takes the place of what a person chose.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engine.analysis.song import SongAnalysis
from engine.files import read_json, write_json
from engine.library.records import Marker, Song
from engine.library.store import Store
from engine.library.verdicts import change_verdict, read_verdict
from engine.player.listening_sets import PLAIN
from engine.player.preference import Answer, Prediction, Taste
from engine.signals import MIX

_FILE = "comparisons.json"
_MOST_KEPT = 200  # comparisons of one song
_TESTS = "preference-*.json"
_POOL = 200  # songs among which the next to be asked for is looked for
NOTHING_YET = (
    "No song is ready to be compared: run mp3restore on them first, so that this version has looked at each and it has "
    "two variants. What is done already is not made again."
)
ASKED = 24  # comparisons of a sitting: ten minutes with loops of 15 s
_DARK, _BRIGHT = slice(3, 13), slice(15, 22)  # third octaves (see LossMeter.bands): 125 Hz to 1 kHz, 2 to 8 kHz
FIGURES = ("bitrate", "cutoff", "brightness", "loudness", "dynamics")


@dataclass(frozen=True)
class Heard:
    """A song that can be chosen for: its finished variants, what is known of it, and what was chosen already."""

    song: Song
    variants: tuple[str, ...]
    figures: tuple[float, ...]
    favourite: str
    is_proposed: bool  # the favourite was chosen here, not by a person
    answers: tuple[Answer, ...]

    @property
    def is_judged(self) -> bool:
        """Whether a person gave a favourite."""
        return bool(self.favourite) and not self.is_proposed


@dataclass(frozen=True)
class Question:
    """Which of two variants of a song is liked better?"""

    song: Song
    pair: tuple[str, str]


@dataclass(frozen=True)
class Proposal:
    """What would be chosen of a song."""

    song: Song
    prediction: Prediction


def tally(proposals: Sequence[Proposal]) -> list[tuple[str, int, int]]:
    """For each variant that would be chosen, of how many songs, and of how many of them that is sure; most first."""
    chosen = Counter(proposal.prediction.chosen for proposal in proposals)
    sure = Counter(proposal.prediction.chosen for proposal in proposals if proposal.prediction.is_sure)
    return [(variant, number, sure[variant]) for variant, number in chosen.most_common()]


class Chooser:
    """Learns from a library's choices, asks for more of them, and chooses for the rest.

    Reads what is known of every song: some milliseconds for each. ``checkpoint`` is called between songs, to leave.
    """

    def __init__(self, store: Store, songs: Sequence[Song], checkpoint: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self.heard: list[Heard] = []
        for song in songs:
            checkpoint()
            if (heard := _hear(store, song)) is not None:
                self.heard.append(heard)
        self._figures = np.array([heard.figures for heard in self.heard] or [(0.0,) * len(FIGURES)])
        self._variants = sorted({PLAIN} | {name for heard in self.heard for name in heard.variants})
        self._asked = {
            _asked(heard.song, answer.among)
            for heard in self.heard
            for answer in heard.answers
            if len(answer.among) == 2
        }
        self.answers = [answer for heard in self.heard for answer in heard.answers]
        self.taste = Taste(self.answers, self._figures, self._variants)

    @property
    def open_songs(self) -> int:
        """How many songs no person has judged."""
        return sum(not heard.is_judged for heard in self.heard)

    def question(self) -> Question | None:
        """What to ask next; None where there is nothing more to ask.

        By turns the one that would tell most, and one of any song about the two that are most likely to be chosen:
        the former teaches fastest, and by the latter it shows whether there is a taste at all.
        """
        dice = random.Random(len(self.answers))
        open_places = [place for place, heard in enumerate(self.heard) if not heard.is_judged]
        pool = dice.sample(open_places, min(_POOL, len(open_places)))
        asked: list[tuple[int, tuple[str, str]]] = []
        for place, prediction in self._predicted(pool):
            if _asked(self.heard[place].song, prediction.closest) not in self._asked:
                asked.append((place, prediction.closest))
        if not asked:
            return None
        place, pair = dice.choice(asked) if len(self.answers) % 2 else max(asked, key=self._gains(asked).__getitem__)
        first, second = dice.sample(pair, 2)
        return Question(self.heard[place].song, (first, second))

    def _gains(self, asked: Sequence[tuple[int, tuple[str, str]]]) -> dict[tuple[int, tuple[str, str]], float]:
        """Bits that each of the questions would tell."""
        found: dict[tuple[int, tuple[str, str]], float] = {}
        for pair in {pair for _, pair in asked}:
            places = [place for place, other in asked if other == pair]
            for place, bits in zip(places, self.taste.told_by(self._figures[places], pair), strict=True):
                found[place, pair] = float(bits)
        return found

    def answer(self, question: Question, better: str) -> None:
        """Keep that ``better`` is liked better, and learn from it. Raises OSError: it could not be kept."""
        heard = next(heard for heard in self.heard if heard.song == question.song)
        worse = next(name for name in question.pair if name != better)
        keep_comparison(self._store.places.listening(question.song.key), better, worse)
        self.answers.append(Answer(heard.figures, better, question.pair))
        self.skip(question)
        self.taste = Taste(self.answers, self._figures, self._variants)

    def skip(self, question: Question) -> None:
        """Do not ask this again: no difference was heard."""
        self._asked.add(_asked(question.song, question.pair))

    def proposals(self) -> list[Proposal]:
        """What would be chosen of the songs that no person has judged; nothing where there is no preference."""
        if not self.taste.is_there:
            return []
        places = [place for place, heard in enumerate(self.heard) if not heard.is_judged]
        return [Proposal(self.heard[place].song, prediction) for place, prediction in self._predicted(places)]

    def choose(self, proposals: Sequence[Proposal]) -> int:
        """Make them favourites, marked as chosen here, and withdraw what was chosen here before and is not among them.

        A song that was judged by a person meanwhile keeps its verdict. Gives how many were chosen.

        Raises:
            OSError: one could not be kept; those before it are.
        """
        wanted = {proposal.song: proposal.prediction.chosen for proposal in proposals}
        for heard in self.heard:
            folder = self._store.places.listening(heard.song.key)
            now = read_verdict(folder, to_change=True)
            if now.favourite and not now.is_proposed:
                wanted.pop(heard.song, None)
            elif wanted.get(heard.song, "") != now.favourite:
                change_verdict(folder, favourite=wanted.get(heard.song, ""), is_proposed=True)
        return len(wanted)

    def _predicted(self, places: Sequence[int]) -> list[tuple[int, Prediction]]:
        """Those with the same variants are predicted at once; the order is that of ``places``."""
        alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for place in places:
            alike[self.heard[place].variants].append(place)
        found: dict[int, Prediction] = {}
        for variants, own in alike.items():
            found.update(zip(own, self.taste.predict(self._figures[own], variants), strict=True))
        return [(place, found[place]) for place in places]


def _asked(song: Song, pair: Sequence[str]) -> Question:
    """A question whichever way round it was asked."""
    first, second = sorted(pair)
    return Question(song, (first, second))


# --- what is known of a song --------------------------------------------------------------------------------


def _hear(store: Store, song: Song) -> Heard | None:
    """The song, where there are at least two variants to choose from."""
    record = store.record_at(song.key)
    if record is None or record.analysis is None:
        return None
    markers = {marker.task: marker for marker in store.markers(song)}
    variants = {PLAIN} | {name for name, marker in markers.items() if _can_be_chosen(store, marker)}
    if len(variants) < 2:
        return None
    folder = store.places.listening(song.key)
    verdict = read_verdict(folder)
    figures = figures_of(record.analysis, markers[PLAIN].bands if PLAIN in markers else [])
    answers = [Answer(figures, better, (better, worse)) for better, worse in read_comparisons(folder)]
    answers += [Answer(figures, better, (better, worse)) for better, worse in _tested(folder)]
    if verdict.favourite in variants and not verdict.is_proposed:
        answers.append(Answer(figures, verdict.favourite, tuple(sorted(variants))))
    known = tuple(answer for answer in answers if variants.issuperset(answer.among))
    return Heard(song, tuple(sorted(variants)), figures, verdict.favourite, verdict.is_proposed, known)


def _can_be_chosen(store: Store, marker: Marker) -> bool:
    """One file that is there, and is no ruin."""
    if not marker.is_published or marker.ruined or [output.port for output in marker.outputs] != [MIX]:
        return False
    return (store.out / marker.outputs[0].path).is_file()


def figures_of(analysis: SongAnalysis, bands: Sequence[float]) -> tuple[float, ...]:
    """What a taste may depend on, see :data:`FIGURES`: octaves, kHz, dB, LUFS, dB.

    ``bands`` are the levels of the plain decode, as its marker has them; brightness is that of 2 to 8 kHz over that of
    125 Hz to 1 kHz.
    """
    nyquist = analysis.rate / 2
    bitrate = analysis.mpeg.bitrate if analysis.mpeg is not None and analysis.mpeg.bitrate else 1_411_000
    brightness = _level(bands[_BRIGHT]) - _level(bands[_DARK]) if bands else -15.0
    return (
        float(np.log2(bitrate / 1000)),
        min(analysis.cutoff.hz or nyquist, nyquist) / 1000,
        float(np.clip(brightness, -60.0, 30.0)),
        float(np.clip(analysis.loudness, -60.0, 0.0)),
        float(np.clip(analysis.true_peak - analysis.loudness, 0.0, 40.0)),
    )


def _level(bands: Sequence[float]) -> float:
    return float(10 * np.log10(np.mean(10 ** (np.array(bands) / 10)) + 1e-12))


# --- what was answered ---------------------------------------------------------------------------------------


def read_comparisons(folder: Path) -> list[tuple[str, str]]:
    """The comparisons kept in ``folder``: the better one and the worse one of each."""
    data = read_json(folder / _FILE) or {}
    rows: Any = data.get("comparisons", [])
    found = []
    for row in rows if isinstance(rows, list) else []:
        better, worse = (row.get("better"), row.get("worse")) if isinstance(row, dict) else (None, None)
        if isinstance(better, str) and isinstance(worse, str) and better != worse:
            found.append((better, worse))
    return found[-_MOST_KEPT:]


def keep_comparison(folder: Path, better: str, worse: str) -> None:
    """Add one. Raises OSError."""
    data = read_json(folder / _FILE, to_change=True) or {}
    rows = data.get("comparisons", [])
    row = {"better": better, "worse": worse, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    kept = [*(rows if isinstance(rows, list) else []), row][-_MOST_KEPT:]
    write_json(folder / _FILE, {"format": 1, "comparisons": kept})


def _tested(folder: Path) -> list[tuple[str, str]]:
    """What finished preference tests say of each pair; many trials of one song are one opinion."""
    wins: defaultdict[tuple[str, str], int] = defaultdict(int)
    for path in sorted(folder.glob(_TESTS)):
        data = read_json(path) or {}
        trials = data.get("trials") if data.get("finished") is True else None
        for trial in trials if isinstance(trials, list) else []:
            played = trial.get("played") if isinstance(trial, dict) else None
            if not isinstance(played, dict) or len(played) != 2:
                continue
            better = played.get(str(trial.get("answer")))
            worse = next((name for name in played.values() if name != better), None)
            if isinstance(better, str) and isinstance(worse, str):
                wins[better, worse] += 1
    return [pair for pair, count in wins.items() if count > wins.get(pair[::-1], 0)]
