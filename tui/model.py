"""The state that the screens show: songs and their tasks, fed by the engine's events. Knows no widget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from engine.analysis.headers import headers_of
from engine.analysis.song import SongAnalysis, lost_above
from engine.analysis.verdict import verdict_of
from engine.audio.headers import HeaderFacts
from engine.library.records import Marker, Song
from engine.library.verdicts import Verdict, read_verdict
from engine.planning.recipes import by_number
from engine.planning.task import State, Task
from engine.run import events
from engine.run.room import Needed
from engine.run.session import Session, SongPlan
from engine.text import counted, printable

TaskState = Literal["done", "working", "queued", "todo", "stale", "pruned", "failed", "skipped", "impossible", "off"]
GLYPHS: dict[TaskState, str] = {
    "done": "●", "working": "◐", "queued": "◌", "todo": "○", "stale": "◍", "pruned": "◇", "failed": "✗", "skipped": "–",
    "impossible": "∅", "off": "·",
}  # fmt: skip
RUINED = "!"  # beside a variant that lost much of what the song has
MEANINGS: dict[TaskState, str] = {
    "done": "done", "working": "in work", "queued": "queued", "todo": "to do",
    "stale": "out of date", "pruned": "pruned", "failed": "failed", "skipped": "skipped",
    "impossible": "not possible here", "off": "switched off",
}  # fmt: skip
_OF_PLAN: dict[State, TaskState] = {
    State.DONE: "done", State.STALE: "stale", State.PRUNED: "pruned", State.TODO: "todo",
    State.IMPOSSIBLE: "impossible",
}  # fmt: skip
_UNDONE = ("todo", "stale", "failed", "skipped")


@dataclass
class TaskView:
    """One task of one song as shown. ``fraction`` is 0 to 1; ``text`` is the reason or the warnings.

    ``ruined`` is empty, or one sentence about what its result lost of the song.
    """

    standing: TaskState = "todo"  # but for what the user wishes
    queued: bool = False
    off: bool = False
    fraction: float = 0.0
    seconds: float | None = None
    device: str = ""
    text: str = ""
    ruined: str = ""
    before: tuple[TaskState, str] = ("todo", "")  # standing and text, before it was begun

    @property
    def state(self) -> TaskState:
        """How it stands, as shown."""
        if self.off:
            return "off"
        return "queued" if self.queued and self.standing != "working" else self.standing

    def begin(self, device: str) -> None:
        """It is in work."""
        self.before = self.standing, self.text
        self.standing, self.text, self.device, self.fraction, self.queued = "working", "", device, 0.0, False

    def leave(self) -> None:
        """It is waited for no more; what was in work stands as it did before."""
        self.queued = False
        if self.standing == "working":
            (self.standing, self.text), self.fraction = self.before, 0.0


@dataclass
class SongView:
    """One song as shown; all text is safe to print. ``facts`` are known before the song was ever decoded."""

    song: Song
    name: str
    tasks: dict[str, TaskView]
    analysis: SongAnalysis | None = None
    facts: HeaderFacts | None = None
    marked: bool = False
    problem: str = ""
    skipped: bool = False
    favourite: str = ""
    is_proposed: bool = False  # the favourite was chosen from what the listener chose of other songs
    mixes: frozenset[str] = frozenset()  # variants that are made with a mix of the listener's own
    missing: frozenset[str] = frozenset()  # variants that it has no files of, and is to get
    warnings: list[str] = field(default_factory=list)
    at: Song | None = None  # with the place of its results, where that is another one

    def judge(self, verdict: Verdict) -> None:
        """Take over what was decided about the song."""
        self.favourite, self.is_proposed = verdict.favourite, verdict.is_proposed

    @property
    def place(self) -> Song:
        """The song with the place at which its results lie."""
        return self.at or self.song

    @property
    def failed(self) -> bool:
        return bool(self.problem) or any(t.state == "failed" for t in self.tasks.values())

    @property
    def ruined(self) -> bool:
        """Whether a variant lost much of the song."""
        return any(t.ruined and t.standing == "done" for t in self.tasks.values())

    @property
    def standing(self) -> Literal["done", "failed", "skipped", "open"]:
        """How the song stands as a whole."""
        if self.failed:
            return "failed"
        return "skipped" if self.skipped else "done" if self.progress >= 1.0 else "open"

    @property
    def duration(self) -> float | None:
        """Seconds."""
        if self.analysis is not None:
            return self.analysis.duration
        return self.facts.duration if self.facts is not None else None

    @property
    def cutoff(self) -> float | None:
        """Hz: as measured, else as the encoder's tag tells; 0 where nothing is cut off, None where nobody knows."""
        if self.analysis is not None:
            return self.analysis.cutoff.hz or 0.0
        return self.facts.lowpass if self.facts is not None else None

    @property
    def damage(self) -> int | None:
        """How much was lost at a glance, 0 to 4, as far as it is known yet."""
        if self.analysis is not None:
            return self.analysis.damage
        return lost_above(self.cutoff) if self.cutoff else None

    @property
    def progress(self) -> float:
        """Done share of the variants that are wanted, 0 to 1."""
        wanted = [t for t in self.tasks.values() if t.state not in ("off", "impossible", "skipped", "pruned")]
        if not wanted:
            return 1.0
        return sum(1.0 if t.state == "done" else t.fraction for t in wanted) / len(wanted)


#: What can be asked for with ``is:``.
FILTERS: dict[str, Callable[[SongView], bool]] = {
    "failed": lambda view: view.failed,
    "skipped": lambda view: view.skipped,
    "done": lambda view: view.progress >= 1.0,
    "open": lambda view: view.progress < 1.0,
    "ruined": lambda view: view.ruined,
    "good": lambda view: view.analysis is not None and verdict_of(view.analysis).leave,
    "pruned": lambda view: any(t.standing == "pruned" for t in view.tasks.values()),
}


def matches(view: SongView, word: str) -> bool:
    """Whether the song is what ``word`` asks for: a part of its name, or ``is:`` and one of :data:`FILTERS`."""
    if word.startswith("is:"):
        return word[3:] in FILTERS and FILTERS[word[3:]](view)
    return word in view.name.casefold()


def explain_filter(text: str) -> str:
    """Empty, or one sentence about an ``is:`` in ``text`` that there is not."""
    for word in text.casefold().split():
        if word.startswith("is:") and word[3:] not in FILTERS:
            *names, last = FILTERS
            return f"No {printable(word)}; try is:{', '.join(names)} or {last}."
    return ""


@dataclass(frozen=True)
class Reading:
    """All that the disk tells of one song."""

    plan: SongPlan
    markers: dict[str, Marker]
    verdict: Verdict
    mixes: frozenset[str]
    missing: frozenset[str]


@dataclass(frozen=True)
class LogLine:
    """One line of the log pane."""

    level: Literal["info", "note", "error"]
    text: str


@dataclass
class Current:
    """What is in work right now, for the progress panel."""

    song: str = ""
    variant: str = ""
    stage: str = ""
    chunk: int = 0
    chunks: int = 0
    fraction: float = 0.0
    realtime: float = 0.0


class DashboardModel:
    """All songs of a session. Events may come from any thread; all else belongs to the thread of the screen."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks: list[Task] = session.tasks
        self.final: list[Task] = sorted((t for t in session.tasks if t.is_final), key=lambda t: by_number(t.id))
        self._final_ids = {t.id for t in self.final}
        self.songs: list[SongView] = []
        self.by_id: dict[str, SongView] = {}
        self.current: dict[str, Current] = {}
        self.log: deque[LogLine] = deque(maxlen=1000)
        self.new_lines: list[LogLine] = []
        self.finished: events.BatchDone | None = None
        self.learned = False  # whether facts came in since the screen last sorted
        self._facts: dict[str, HeaderFacts] = {}
        self._inbox: deque[tuple[events.Event, Reading | None]] = deque()
        self._closed = False
        self._lock = threading.Lock()
        for song in session.songs:
            view = SongView(song, printable(song.id), {t.id: TaskView() for t in self.tasks})
            self.songs.append(view)
            self.by_id[song.id] = view
        self._place = {view.song.id: place for place, view in enumerate(self.songs)}
        self._standing = bytearray(b"o" * len(self.songs))
        session.subscribe(self.receive)

    def close(self) -> None:
        """Nobody looks any more: take no events, and keep none."""
        self._closed = True
        self.session.unsubscribe(self.receive)
        with self._lock:
            self._inbox.clear()

    # --- from the disk, on any thread but the screen's ----------------------------------------------------

    def read(self, song: Song) -> Reading:
        """How a song stands on disk. Reads files, so it is for other threads than the screen's."""
        plan = self.session.song_plan(song)
        done = [task for task in self.tasks if plan.states[task.id] is State.DONE]
        at = plan.at or song
        markers = {task.id: marker for task in done if (marker := self.session.store.marker(at, task)) is not None}
        verdict = read_verdict(self.session.store.places.listening(at.key))
        missing = frozenset(self.session.missing(at, plan.analysis, done=markers))
        return Reading(plan, markers, verdict, frozenset(self.session.store.mixes(at)), missing)

    # --- from the engine ---------------------------------------------------------------------------------

    def receive(self, event: events.Event) -> None:
        """Take an event, from any thread; a newer progress of the same task replaces an older one."""
        if self._closed:
            return
        view = self.by_id.get(getattr(event, "song", ""))
        asks = isinstance(event, events.SongDone) or (
            isinstance(event, events.TaskStarted) and view is not None and view.analysis is None
        )
        reading = self.read(view.song) if asks and view is not None else None
        with self._lock:
            last = self._inbox[-1][0] if self._inbox else None
            if isinstance(event, events.Progress) and isinstance(last, events.Progress) and last.song == event.song:
                self._inbox.pop()
            if not self._closed:
                self._inbox.append((event, reading))

    def learn(self, facts: dict[str, HeaderFacts]) -> None:
        """Take what the headers of songs say, from any thread."""
        with self._lock:
            self._facts.update(facts)

    def drain(self) -> set[str]:
        """Apply what came in; gives the ids of the songs that changed."""
        with self._lock:
            waiting, facts = list(self._inbox), self._facts
            self._inbox.clear()
            self._facts = {}
        for song, found in facts.items():
            self.by_id[song].facts = found
        self.learned = self.learned or bool(facts)
        changed = {song for event, reading in waiting if (song := self._apply(event, reading))} | facts.keys()
        if any(isinstance(event, events.BatchDone) for event, _ in waiting):
            changed = set(self.by_id)
        self.recount(changed)
        return changed

    def _apply(self, event: events.Event, reading: Reading | None) -> str:
        match event:
            case events.SongStarted():
                view = self.by_id.get(event.song)
                if view is not None:
                    view.problem, view.skipped = "", False
            case events.TaskStarted():
                if (task := self._own(event)) is not None:
                    task.begin(event.device)
                if reading is not None:
                    self.by_id[event.song].analysis = reading.plan.analysis
                self.current[event.song] = Current(event.song, event.variant, event.stage)
            case events.Progress():
                if (task := self._own(event)) is not None:
                    task.fraction = event.fraction
                current = self.current.setdefault(event.song, Current(event.song))
                current.variant, current.stage, current.fraction = event.variant, event.stage, event.fraction
                if event.chunks:
                    current.chunk, current.chunks = event.chunk, event.chunks
            case events.TaskDone():
                if (task := self._own(event)) is not None:
                    task.standing, task.fraction, task.seconds = "done", 1.0, event.seconds
                    task.text, task.ruined = " ".join(event.warnings), event.ruined
                    self.by_id[event.song].missing -= {event.task}
                self.current.setdefault(event.song, Current(event.song)).realtime = event.realtime
            case events.TaskFailed():
                for key in {event.task, event.variant}:
                    self._end(event.song, key, "failed", event.reason)
                self._say("error", f"{event.song}: {event.variant}: {event.reason}")
            case events.TaskSkipped():
                self._end(event.song, event.task, "skipped", event.reason)
            case events.SongWarning():
                if event.song in self.by_id and event.text not in self.by_id[event.song].warnings:
                    self.by_id[event.song].warnings.append(event.text)
                    self._say("note", f"{event.song}: {event.text}")
            case events.SongLeft():
                self._say("info", f"{event.song}: {event.reason}")
            case events.SongDone():
                self._song_done(event, reading)
            case events.BatchDone():
                self._batch_done(event)
                return ""
        return str(getattr(event, "song", ""))

    def _own(self, event: events.TaskEvent) -> TaskView | None:
        """The task that the event is about; None where it is only done for another variant's sake."""
        view = self.by_id.get(event.song)
        task = view.tasks.get(event.task) if view is not None else None
        return None if view is None or (event.task in self._final_ids and event.task != event.variant) else task

    def _end(self, song: str, key: str, state: TaskState, reason: str) -> None:
        task = self.by_id[song].tasks.get(key) if song in self.by_id else None
        if task is not None and not task.off and task.standing != "impossible":
            task.standing, task.text, task.queued, task.fraction = state, reason, False, 0.0

    def _song_done(self, event: events.SongDone, reading: Reading | None) -> None:
        self.current.pop(event.song, None)
        view = self.by_id.get(event.song)
        if view is None:
            return
        view.skipped = event.outcome == "skipped"
        if event.failed and not any(t.state == "failed" for t in view.tasks.values()):
            view.problem = event.failed[0]
            self._say("error", f"{event.song}: {event.failed[0]}")
        for key, task in view.tasks.items():
            if task.queued or task.standing == "working":
                task.leave()
                if view.problem:
                    self._end(event.song, key, "failed", view.problem)
        if event.made:
            self._say("info", f"{event.song}: {', '.join(sorted(event.made, key=by_number))}")
        if reading is not None:
            view.analysis, view.at = reading.plan.analysis or view.analysis, reading.plan.at
            view.missing = reading.missing
            for key, state in reading.plan.states.items():
                if state in (State.DONE, State.PRUNED):
                    view.tasks[key].standing = _OF_PLAN[state]

    def _batch_done(self, event: events.BatchDone) -> None:
        self.finished = event
        self.current.clear()
        for view in self.songs:
            for task in view.tasks.values():
                task.leave()
        how = "broke off" if event.error else "stopped" if event.stopped else "finished"
        counts = {"done": event.done, "up to date": event.up_to_date, "failed": event.failed, "skipped": event.skipped}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        self._say("info", f"Run {how}: {told or 'nothing was finished'}.")
        if event.error:
            self._say("error", event.error)

    def _say(self, level: Literal["info", "note", "error"], text: str) -> None:
        line = LogLine(level, printable(text))
        self.log.append(line)
        self.new_lines.append(line)

    # --- from the screen ---------------------------------------------------------------------------------

    def look_at_favourites(self) -> None:
        """Read again which variants the listener likes best."""
        for view in self.songs:
            view.judge(read_verdict(self.session.store.places.listening(view.place.key)))

    def load(self, reading: Reading) -> None:
        """Take over how a song stands on disk."""
        plan, view = reading.plan, self.by_id[reading.plan.song.id]
        view.judge(reading.verdict)
        view.mixes, view.analysis = reading.mixes, plan.analysis
        view.at, view.missing = plan.at, reading.missing
        if plan.analysis is not None:
            view.facts = headers_of(plan.analysis)
            view.warnings = list(plan.analysis.warnings)
        whole = plan.outcome
        view.problem = whole.reason if whole is not None and whole.kind == "failed" else ""
        view.skipped = whole is not None and whole.kind == "skipped"
        for task in self.tasks:
            shown = view.tasks[task.id]
            shown.standing, shown.text = _OF_PLAN[plan.states[task.id]], task.impossible or " ".join(task.left_out)
            shown.off = self.is_off(view, task)
            outcome = plan.outcomes.get(task.id) or whole
            if outcome is not None and shown.standing in ("todo", "stale"):
                shown.standing, shown.text = outcome.kind, outcome.reason
            if (marker := reading.markers.get(task.id)) is not None:
                shown.seconds, shown.device, shown.text = marker.seconds, marker.device, " ".join(marker.warnings)
                shown.ruined = marker.ruined
        self.recount([view.song.id])

    def queue(self, songs: Iterable[SongView], *, force: bool = False) -> list[Song]:
        """Show what is to be done of ``songs`` as queued (``force``: what is done, too); gives the songs to start."""
        self.finished = None
        chosen = []
        for view in songs:
            for task in view.tasks.values():
                task.queued = task.standing in _UNDONE or (force and task.standing in ("done", "pruned"))
            chosen.append(view.song)
        self.recount(song.id for song in chosen)
        return chosen

    def retry(self) -> str:
        """Have the run that is under way work on the songs that failed once more. Gives a sentence about it."""
        failed = [view for view in self.songs if view.failed and not any(t.queued for t in view.tasks.values())]
        if not failed:
            return "No song has failed."
        if not self.session.add(view.song for view in failed):
            return "The run is just ending: press r again in a moment."
        finished = self.finished
        self.queue(failed)
        self.finished = finished
        return f"{counted(len(failed), 'song')} that failed will be tried again in this run."

    def remix(self, view: SongView) -> str:
        """The mix of a song was changed: see what is to be made again. Gives the rest of a sentence about when."""
        if view.song.id not in self.current:
            self.load(self.read(view.song))
        if not self.session.add([view.song]):
            return "is made with it when you start the run (s in the library)."
        finished = self.finished
        self.queue([view])
        self.finished = finished
        return "is made with it in this run."

    def skip_song(self, view: SongView) -> str:
        """Leave the rest of a song out in the run that is under way. Gives a sentence about it."""
        if not any(task.queued or task.standing == "working" for task in view.tasks.values()):
            return f"{view.name} is neither in work nor waiting."
        self.session.control.skip_song(view.song.id)
        view.skipped = True
        working = any(task.standing == "working" for task in view.tasks.values())
        for key, task in view.tasks.items():
            if task.queued and task.standing in ("done", "pruned"):
                task.leave()  # it was to be made anew: what is there stays
            elif task.queued:
                self._end(view.song.id, key, "skipped", "skipped by the user")
        self.recount([view.song.id])
        return f"{view.name} will be skipped after this chunk." if working else f"{view.name} will be skipped."

    def skip_variant(self, view: SongView, variant: str) -> str:
        """Leave a variant of a song out in the run that is under way. Gives a sentence about it."""
        control = self.session.control
        control.skip_variant(view.song.id, variant)
        task = next((t for t in self.final if t.id == variant), None)
        others = sorted(v for v in (task.serves if task is not None else ()) if control.wants(view.song.id, v))
        told = f"{variant} will be skipped for this song after this chunk"
        return f"{told}; what {' and '.join(others)} needs of it goes on." if others else f"{told}."

    def is_off(self, view: SongView, task: Task) -> bool:
        """Whether the task is switched off for the song: a step on the way with all that it serves."""
        variants = [task.id] if task.is_final else task.serves
        return all((view.song.id, variant) in self.session.off for variant in variants)

    def toggle(self, views: Iterable[SongView], variant: str) -> bool:
        """Switch a variant off for all of ``views``, or on where it is off for the first. Gives whether it is on."""
        views = list(views)
        turn_on = bool(views) and (views[0].song.id, variant) in self.session.off
        for view in views:
            key = (view.song.id, variant)
            if turn_on:
                self.session.off.discard(key)
            else:
                self.session.off.add(key)
            for task in self.tasks:
                view.tasks[task.id].off = self.is_off(view, task)
        self.recount(view.song.id for view in views)
        return turn_on

    def counts(self) -> dict[str, int]:
        """Songs by how they stand: done, failed, skipped, open."""
        return {name: self._standing.count(name[0].encode()) for name in ("done", "failed", "skipped", "open")}

    def recount(self, ids: Iterable[str]) -> None:
        """Look again at how some songs stand; with thousands of them, not all at every frame."""
        for song in ids:
            view = self.by_id.get(song)
            if view is not None:
                self._standing[self._place[song]] = ord(view.standing[0])
                if view.analysis is not None or view.facts is not None:
                    self.session.plan_room(view.song, view.facts, view.analysis, view.missing)

    def needs(self, jobs: int = 0) -> Needed:
        """What a run of the marked songs (none: all) will take on the disk, as far as it is known yet."""
        marked = [view.song.id for view in self.songs if view.marked]
        return self.session.room.needed(self.session.jobs(jobs), marked or None)
