"""What the engine tells the outside. Every event is a frozen dataclass and can be written as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    def to_json(self) -> dict[str, Any]:
        """A flat dict with the event's name under ``event``."""
        return {"event": type(self).__name__, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class BatchStarted(Event):
    """Work begins: how many songs, tasks and seconds of audio are planned."""

    songs: int
    tasks: int
    out: str


@dataclass(frozen=True)
class RoomNeeded(Event):
    """Bytes that a run will add to the results (``kept``) and take beside these ``meanwhile``, as far as can be told
    before it begins; ``free`` is what the disk has (None: nobody knows)."""

    kept: int
    meanwhile: int
    free: int | None
    fits: bool


@dataclass(frozen=True)
class SongStarted(Event):
    """``tasks`` are to be done for the song; ``retried`` says that some of them failed or were skipped before."""

    song: str
    index: int
    tasks: int
    duration: float
    retried: bool = False


@dataclass(frozen=True)
class TaskEvent(Event):
    """What happens to one task of a song.

    ``task`` is its id, ``stage`` what it does, and ``variant`` for whose sake: another variant's than its own where
    its own is not wanted.
    """

    song: str
    task: str
    variant: str
    stage: str


@dataclass(frozen=True)
class TaskStarted(TaskEvent):
    device: str


@dataclass(frozen=True)
class Progress(TaskEvent):
    """A task moved on. ``chunk`` of ``chunks`` are done; ``fraction`` (0 to 1) is finer grained.

    ``reused`` says that this chunk came from an earlier, interrupted run.
    """

    chunk: int
    chunks: int
    fraction: float
    reused: bool = False


@dataclass(frozen=True)
class TaskDone(TaskEvent):
    """A task is finished. ``ruined`` is empty, or one sentence about what its result lost of the song."""

    seconds: float
    realtime: float
    outputs: tuple[str, ...]
    warnings: tuple[str, ...]
    ruined: str = ""


@dataclass(frozen=True)
class TaskFailed(TaskEvent):
    """A task failed: told once for every variant that cannot be made without it."""

    reason: str


@dataclass(frozen=True)
class TaskSkipped(TaskEvent):
    reason: str


@dataclass(frozen=True)
class SongWarning(Event):
    song: str
    text: str


@dataclass(frozen=True)
class SongLeft(Event):
    """A song is left alone, but for its plain decode: ``reason`` is one sentence about why."""

    song: str
    reason: str


@dataclass(frozen=True)
class SongDone(Event):
    """A song is finished: ``outcome`` is ``done``, ``failed``, ``skipped`` or ``up to date``.

    ``failed`` holds one sentence per thing that went wrong.
    """

    song: str
    made: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float
    outcome: str


@dataclass(frozen=True)
class Paused(Event):
    pass


@dataclass(frozen=True)
class Resumed(Event):
    pass


@dataclass(frozen=True)
class BatchDone(Event):
    """The run ended, in whatever way: the last event of every run, and told once.

    ``stopped`` is true when the user ended it before everything was done. ``error`` is empty, or one sentence
    about what ended it early or went wrong beside the songs. ``left`` of those that are done were left alone.
    """

    done: int
    failed: int
    up_to_date: int
    stopped: bool
    seconds: float
    skipped: int = 0
    error: str = ""
    left: int = 0
