"""What a run will take on the disk, and whether it fits.

A result takes the room of its samples times what FLAC leaves of them. How much that is, is learnt from the results that
are finished in the output folder, variant by variant; before there are any, it is guessed by how much of the band is
filled: what lies above a cutoff takes next to nothing.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from engine.analysis.song import SongAnalysis
from engine.audio.headers import HeaderFacts
from engine.audio.resample import output_rate
from engine.library.records import Marker, Song
from engine.library.store import Store
from engine.machine.monitor import free_disk
from engine.planning.task import Task
from engine.run.song_run import guess_duration
from engine.text import size

_BYTES, _CHUNK_BYTES = 3, 4  # of a sample in a result, and while it waits in a chunk
_EMPTY, _FILLED = 0.22, 0.46  # what FLAC leaves of 24 bits where nothing is heard, and what a full band adds to that
_STEM = 0.85  # of that for one of several stems, each of which has a part of the music
_BELIEF = 1e8  # bytes that were seen count for as much as the guess does: one song, or two
_ENOUGH = 500  # songs to learn from
_STEP = 250  # Hz that cutoffs are told apart by
_MOST_CUTOFF = 0.92  # of half the rate: what an encoder keeps that does not say
_RATE, _CHANNELS = 44100, 2  # of a song whose headers do not tell


@dataclass(frozen=True)
class Length:
    """What decides the room that a song's results take: ``cutoff`` in Hz (None: nothing is cut off).

    ``channels`` are those that differ: one where two are the same.
    """

    seconds: float
    rate: int
    channels: int
    cutoff: float | None


def length_of(song: Song, facts: HeaderFacts | None, analysis: SongAnalysis | None) -> Length:
    """From the analysis or else the headers; where neither tells, guessed from the size of the file."""
    if analysis is not None:
        channels = 1 if analysis.exact_mono else analysis.channels
        return Length(analysis.duration, analysis.rate, channels, analysis.cutoff.hz)
    facts = facts or HeaderFacts()
    if facts.problem:
        return Length(0.0, _RATE, _CHANNELS, None)
    rate = facts.rate or _RATE
    cutoff = facts.lowpass or (_MOST_CUTOFF * rate / 2 if facts.kind in ("", "MP3") else None)
    return Length(facts.duration or guess_duration(song), rate, facts.channels or _CHANNELS, cutoff)


@dataclass(frozen=True)
class Needed:
    """Bytes that a run adds to what is there (``kept``), and that it takes beside these while it works (``meanwhile``).

    ``free`` is what the disk has; None: nobody knows. ``at_most``: songs may turn out to be left alone.
    """

    kept: int
    meanwhile: int
    free: int | None
    at_most: bool = False

    @property
    def fits(self) -> bool:
        """Whether there is room for all of it."""
        return self.free is None or self.kept + self.meanwhile <= self.free

    def briefly(self) -> str:
        """The same as :meth:`in_words` where there is little room for words."""
        if not self.kept:
            return ""
        free = "" if self.free is None else f", {size(self.free)} free"
        takes = f"{'≤' if self.at_most else '≈'} {size(self.kept)}{free}"
        return f"Takes {takes}." if self.fits else f"Does not fit: {takes}.\nSwitch variants off, or prune (P)."

    def in_words(self) -> str:
        """What it takes; empty where nothing is added."""
        if not self.kept:
            return ""
        takes = f"takes {'at most ' if self.at_most else ''}about {size(self.kept)} on the disk"
        if self.free is None:
            return f"It {takes}."
        if self.fits:
            return f"It {takes}, where {size(self.free)} are free."
        more = f", and {size(self.meanwhile)} more while it works" if self.kept <= self.free else ""
        return (
            f"It does not fit: it {takes}{more}, where {size(self.free)} are free. Make fewer variants (--variants), "
            "make room (mp3restore prune), or give a folder on another disk (--out)."
        )


@dataclass(frozen=True)
class _Plan:
    """Bytes as guessed: ``kept`` by variant, ``works`` beside these while the song is worked on."""

    kept: dict[str, float]
    works: float
    sure: bool


class Room:
    """The room that the songs of a run need. May be used by several threads."""

    def __init__(self, store: Store, tasks: Sequence[Task]) -> None:
        self._store = store
        self._variants = {task.id: task for task in tasks if task.is_final and not task.impossible}
        self._lock = threading.Lock()
        self._planned: dict[str, _Plan] = {}
        self._seen: dict[str, dict[str, tuple[float, float]]] = {}  # by song and variant: bytes as guessed, and as is
        self._guessed: defaultdict[str, float] = defaultdict(float)  # the first of these, by variant
        self._found: defaultdict[str, float] = defaultdict(float)
        self._a_second: dict[tuple[str, int, float | None], float] = {}

    # --- what is there -----------------------------------------------------------------------------------

    @property
    def has_learnt(self) -> bool:
        """Whether more of what is finished would teach nothing new."""
        return len(self._seen) >= _ENOUGH

    def is_complete(self, song: Song) -> bool:
        """Whether something lies at the place of each of the song's results."""
        return all(
            os.path.lexists(self._store.output_path(song, task, port))
            for task in self._variants.values() for port in task.outputs
        )  # fmt: skip

    def look(
        self, at: Song, analysis: SongAnalysis | None, *, done: Container[str] = (), force: bool = False
    ) -> list[str]:
        """The variants of which the song (with the place of its results) has no files and is to get some.

        Those that were given up count only where all is made anew (``force``). What is there is learnt from; that
        the variants in ``done`` are need not be looked at. Reads markers.
        """
        missing: list[str] = []
        there: list[Marker] = []
        for task in self._variants.values():
            if task.id in done and self.has_learnt:
                continue
            marker = self._store.marker(at, task)
            if marker is not None and (task.id in done or self._store.is_kept(marker)):
                there.append(marker)
            elif marker is None or force or not marker.pruned:
                missing.append(task.id)
        if there and analysis is not None:
            self._learn(at.id, length_of(at, None, analysis), there)
        return missing

    def _learn(self, song: str, length: Length, there: Iterable[Marker]) -> None:
        seen = {
            marker.task: (self._guess(marker.task, length), float(sum(output.size for output in marker.outputs)))
            for marker in there
        }
        with self._lock:
            for sign, known in ((-1, self._seen.get(song, {})), (1, seen)):
                for variant, (guessed, found) in known.items():
                    self._guessed[variant] += sign * guessed
                    self._found[variant] += sign * found
            self._seen[song] = seen

    def _factor(self, variant: str) -> float:
        """How much larger results are than guessed: as such ones were seen to be, or others, or not at all."""
        others = (sum(self._found.values()) + _BELIEF) / (sum(self._guessed.values()) + _BELIEF)
        return (self._found[variant] + _BELIEF * others) / (self._guessed[variant] + _BELIEF)

    # --- what is to come ---------------------------------------------------------------------------------

    def plan(self, song: str, length: Length, missing: Sequence[str], *, sure: bool = True) -> None:
        """Set (or correct) what the song with that id is to get. Not ``sure``: it may turn out to be left alone."""
        kept = {name: self._guess(name, length) for name in missing if not self._is_passing(name)}
        plan = _Plan(kept, self._works(missing, length), sure)
        with self._lock:
            if kept:
                self._planned[song] = plan
            else:
                self._planned.pop(song, None)

    def clear(self) -> None:
        """No song is to get anything, as far as is known."""
        with self._lock:
            self._planned.clear()

    def needed(self, jobs: int = 1, songs: Iterable[str] | None = None) -> Needed:
        """What ``songs`` (None: all) need, ``jobs`` of them at a time."""
        with self._lock:
            found = map(self._planned.get, songs) if songs is not None else self._planned.values()
            plans = [plan for plan in found if plan is not None]
            whole: defaultdict[str, float] = defaultdict(float)
            for plan in plans:
                for variant, count in plan.kept.items():
                    whole[variant] += count
            kept = sum(count * self._factor(variant) for variant, count in whole.items())
        works = heapq.nlargest(jobs, (plan.works for plan in plans))
        try:
            free = free_disk(self._store.out)
        except OSError:
            free = None
        return Needed(round(kept), round(sum(works)), free, not all(plan.sure for plan in plans))

    def _guess(self, variant: str, length: Length) -> float:
        """Bytes of a result."""
        return self._bytes(self._variants[variant], length)

    def _bytes(self, task: Task, length: Length) -> float:
        cutoff = round(length.cutoff / _STEP) * _STEP if length.cutoff is not None else None
        key = task.id, length.rate, cutoff
        if key not in self._a_second:  # thousands of songs are like each other
            self._a_second[key] = _bytes_a_second(task, length.rate, cutoff)
        return length.seconds * length.channels * self._a_second[key]

    def _is_passing(self, variant: str) -> bool:
        """Whether the variant is temporary, and others are made from it."""
        task = self._variants[variant]
        return task.temporary and any(one.builds_on(task) for one in self._variants.values() if not one.temporary)

    def _works(self, missing: Iterable[str], length: Length) -> float:
        """Bytes of results on the way, and of the chunks of one task."""
        steps = {step.id: step for name in missing for step in self._variants[name].lineage()}
        passing = [step for step in steps.values() if not step.is_final or self._is_passing(step.id)]
        on_the_way = sum(self._bytes(step, length) for step in passing)
        most = max((len(step.outputs) for step in steps.values()), default=0)
        return on_the_way + length.seconds * length.channels * output_rate(length.rate) * most * _CHUNK_BYTES


def _bytes_a_second(task: Task, rate: int, cutoff: float | None) -> float:
    """Bytes of a task's result for each second of each channel of a song at ``rate``, cut off at ``cutoff`` Hz."""
    rates: dict[str, int] = {}
    for step in task.lineage():
        before = rates[step.parents[0].id] if step.parents else rate
        rates[step.id] = step.stage.rate_after(before, step.params)
    whole_to = task.cutoff(cutoff)
    filled = min(1.0, 2 * whole_to / rates[task.id]) if whole_to is not None else 1.0
    share = (_EMPTY + _FILLED * filled) * (_STEM if len(task.outputs) > 1 else 1.0)
    return rates[task.id] * len(task.outputs) * _BYTES * share
