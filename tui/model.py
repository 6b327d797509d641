"""The state that the screens show: songs and their tasks, fed by the engine's events. Knows no widget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from engine.analysis.song import SongAnalysis
from engine.commands.export import favourites
from engine.library.records import Song
from engine.planning.plan import State, Task
from engine.run import events
from engine.run.session import Session, SongPlan
from engine.text import printable

TaskState = Literal["done", "working", "queued", "todo", "stale", "failed", "skipped", "impossible", "off"]
GLYPHS: dict[TaskState, str] = {
    "done": "●", "working": "◐", "queued": "◌", "todo": "○", "stale": "◍", "failed": "✗", "skipped": "–",
    "impossible": "∅", "off": "·",
}  # fmt: skip
MEANINGS: dict[TaskState, str] = {
    "done": "done", "working": "in work", "queued": "queued", "todo": "to do",
    "stale": "made with other settings, to be redone", "failed": "failed", "skipped": "skipped",
    "impossible": "not possible here", "off": "switched off",
}  # fmt: skip
_OF_PLAN: dict[State, TaskState] = {
    State.DONE: "done", State.STALE: "stale", State.TODO: "todo", State.IMPOSSIBLE: "impossible",
}  # fmt: skip
_PENDING = ("todo", "stale", "queued")


@dataclass
class TaskView:
    """One task of one song as shown. ``fraction`` is 0 to 1; ``text`` is the reason or the warnings."""

    state: TaskState = "todo"
    fraction: float = 0.0
    seconds: float | None = None
    device: str = ""
    text: str = ""


@dataclass
class SongView:
    """One song as shown; all text is safe to print."""

    song: Song
    name: str
    tasks: dict[str, TaskView]
    analysis: SongAnalysis | None = None
    marked: bool = False
    problem: str = ""
    favourite: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.problem) or any(t.state == "failed" for t in self.tasks.values())

    @property
    def progress(self) -> float:
        """Done share of the variants that are wanted, 0 to 1."""
        wanted = [t for t in self.tasks.values() if t.state not in ("off", "impossible", "skipped")]
        if not wanted:
            return 1.0
        return sum(1.0 if t.state == "done" else t.fraction for t in wanted) / len(wanted)


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
        self.final: list[Task] = [t for t in session.tasks if t.is_final]
        self.songs: list[SongView] = []
        self.by_id: dict[str, SongView] = {}
        self.current: dict[str, Current] = {}
        self.log: deque[LogLine] = deque(maxlen=1000)
        self.new_lines: list[LogLine] = []
        self.finished: events.BatchDone | None = None
        self._inbox: deque[events.Event] = deque()
        self._lock = threading.Lock()
        self._ids = {(t.variant, t.stage.name): t.id for t in self.tasks}
        for song in session.songs:
            view = SongView(song, printable(song.id), {t.id: TaskView() for t in self.tasks})
            self.songs.append(view)
            self.by_id[song.id] = view
        self._place = {view.song.id: place for place, view in enumerate(self.songs)}
        self._standing = bytearray(b"o" * len(self.songs))
        session.subscribe(self.receive)

    # --- from the engine ---------------------------------------------------------------------------------

    def receive(self, event: events.Event) -> None:
        """Take an event, from any thread; a newer progress of the same task replaces an older one."""
        with self._lock:
            last = self._inbox[-1] if self._inbox else None
            if isinstance(event, events.Progress) and isinstance(last, events.Progress) and last.song == event.song:
                self._inbox.pop()
            self._inbox.append(event)

    def drain(self) -> set[str]:
        """Apply what came in; gives the ids of the songs that changed."""
        with self._lock:
            waiting = list(self._inbox)
            self._inbox.clear()
        changed = {song for event in waiting if (song := self._apply(event))}
        self.recount(self.by_id if self.finished in waiting else changed)
        return changed

    def _apply(self, event: events.Event) -> str:
        match event:
            case events.TaskStarted():
                self._task(event).state = "working"
                self._task(event).fraction = 0.0
                self._task(event).device = event.device
                view = self.by_id.get(event.song)
                if view is not None and view.analysis is None:
                    record = self.session.store.record(view.song)
                    view.analysis = record.analysis if record is not None else None
                self.current[event.song] = Current(event.song, event.variant, event.stage)
            case events.Progress():
                self._task(event).fraction = event.fraction
                current = self.current.setdefault(event.song, Current(event.song))
                current.variant, current.stage, current.fraction = event.variant, event.stage, event.fraction
                if event.chunks:
                    current.chunk, current.chunks = event.chunk, event.chunks
            case events.TaskDone():
                task = self._task(event)
                task.state, task.fraction, task.seconds = "done", 1.0, event.seconds
                task.text = " ".join(event.warnings)
                self.current.setdefault(event.song, Current(event.song)).realtime = event.realtime
            case events.TaskFailed():
                self._task(event).state = "failed"
                self._task(event).text = event.reason
                self._say("error", f"{event.song}: {event.variant}: {event.reason}")
            case events.TaskSkipped():
                task = self._task(event)
                if task.state not in ("off", "impossible"):
                    task.state, task.text = "skipped", event.reason
            case events.SongWarning():
                if event.song in self.by_id and event.text not in self.by_id[event.song].warnings:
                    self.by_id[event.song].warnings.append(event.text)
                    self._say("note", f"{event.song}: {event.text}")
            case events.SongDone():
                self._song_done(event)
            case events.BatchDone():
                self._batch_done(event)
                return ""
        return str(getattr(event, "song", ""))

    def _task(self, event: events.Event) -> TaskView:
        view = self.by_id.get(getattr(event, "song", ""))
        key = self._ids.get((getattr(event, "variant", ""), getattr(event, "stage", "")), "")
        return view.tasks.get(key, TaskView()) if view is not None else TaskView()

    def _song_done(self, event: events.SongDone) -> None:
        self.current.pop(event.song, None)
        view = self.by_id.get(event.song)
        if view is None:
            return
        if event.failed and not any(t.state == "failed" for t in view.tasks.values()):
            view.problem = event.failed[0]
            self._say("error", f"{event.song}: {event.failed[0]}")
        for task in view.tasks.values():
            if task.state in ("queued", "working"):
                task.state, task.fraction = "failed" if view.problem else "todo", 0.0
                task.text = view.problem
        if event.made:
            self._say("info", f"{event.song}: {', '.join(event.made)}")
        record = self.session.store.record(view.song)
        if record is not None and record.analysis is not None:
            view.analysis = record.analysis
        for task_id, state in self.session.song_plan(view.song).states.items():
            if state is State.DONE:
                view.tasks[task_id].state = "done"

    def _batch_done(self, event: events.BatchDone) -> None:
        self.finished = event
        self.current.clear()
        for view in self.songs:
            for task in view.tasks.values():
                if task.state in ("queued", "working"):
                    task.state, task.fraction = "todo", 0.0
        how = "stopped" if event.stopped else "finished"
        self._say("info", f"Run {how}: {event.done} done, {event.up_to_date} up to date, {event.failed} failed.")

    def _say(self, level: Literal["info", "note", "error"], text: str) -> None:
        line = LogLine(level, printable(text))
        self.log.append(line)
        self.new_lines.append(line)

    # --- from the screen ---------------------------------------------------------------------------------

    def look_at_favourites(self) -> None:
        """Read again which variants the listener likes best."""
        known = {song.id: favourite for song, favourite in favourites(self.session.store, self.session.songs)}
        for view in self.songs:
            view.favourite = known.get(view.song.id, "")

    def load(self, plan: SongPlan) -> None:
        """Take over how a song stands on disk."""
        view = self.by_id[plan.song.id]
        view.favourite = next((f for _, f in favourites(self.session.store, [plan.song])), "")
        view.analysis = plan.analysis
        if plan.analysis is not None:
            view.warnings = list(plan.analysis.warnings)
        for task in self.tasks:
            shown = view.tasks[task.id]
            shown.state = _OF_PLAN[plan.states[task.id]]
            shown.text = task.impossible
            if shown.state == "done" and (marker := self.session.store.marker(plan.song, task)) is not None:
                shown.seconds, shown.device, shown.text = marker.seconds, marker.device, " ".join(marker.warnings)
            if self.is_off(view, task):
                shown.state = "off"
        self.recount([plan.song.id])

    def queue(self, songs: Iterable[SongView], *, force: bool = False) -> list[Song]:
        """Show what is to be done of ``songs`` as queued (``force``: what is done, too); gives the songs to start."""
        self.finished = None
        chosen = []
        for view in songs:
            view.problem = ""
            for task in view.tasks.values():
                if task.state in ("todo", "stale", "failed", "skipped"):
                    task.state, task.text = "queued", ""
                elif force and task.state == "done":
                    task.state = "queued"
            chosen.append(view.song)
        self.recount(song.id for song in chosen)
        return chosen

    def is_off(self, view: SongView, task: Task) -> bool:
        """Whether the task, or one that it needs, is switched off for the song."""
        return any((view.song.id, step.variant) in self.session.off for step in task.lineage())

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
                shown = view.tasks[task.id]
                if self.is_off(view, task):
                    if shown.state in _PENDING or shown.state in ("failed", "skipped", "done"):
                        shown.state = "off"
                elif shown.state == "off":
                    state = self.session.song_plan(view.song).states[task.id]
                    shown.state = _OF_PLAN[state]
        self.recount(view.song.id for view in views)
        return turn_on

    def counts(self) -> dict[str, int]:
        """Songs by how they stand: done, failed, open."""
        done, failed = self._standing.count(b"d"), self._standing.count(b"f")
        return {"done": done, "failed": failed, "open": len(self.songs) - done - failed}

    def recount(self, ids: Iterable[str]) -> None:
        """Look again at how some songs stand; with thousands of them, not all at every frame."""
        for song in ids:
            view = self.by_id.get(song)
            if view is not None:
                self._standing[self._place[song]] = ord("f" if view.failed else "d" if view.progress >= 1.0 else "o")
