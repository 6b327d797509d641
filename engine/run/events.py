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
class SongStarted(Event):
    song: str
    index: int
    tasks: int
    duration: float


@dataclass(frozen=True)
class TaskStarted(Event):
    song: str
    variant: str
    stage: str
    device: str


@dataclass(frozen=True)
class Progress(Event):
    """A task moved on. ``chunk`` of ``chunks`` are done; ``fraction`` (0 to 1) is finer grained.

    ``reused`` says that this chunk came from an earlier, interrupted run.
    """

    song: str
    variant: str
    stage: str
    chunk: int
    chunks: int
    fraction: float
    reused: bool = False


@dataclass(frozen=True)
class TaskDone(Event):
    song: str
    variant: str
    stage: str
    seconds: float
    realtime: float
    outputs: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TaskFailed(Event):
    song: str
    variant: str
    stage: str
    reason: str


@dataclass(frozen=True)
class TaskSkipped(Event):
    song: str
    variant: str
    stage: str
    reason: str


@dataclass(frozen=True)
class SongWarning(Event):
    song: str
    text: str


@dataclass(frozen=True)
class SongDone(Event):
    """A song is finished. ``failed`` holds one sentence per thing that went wrong."""

    song: str
    made: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Paused(Event):
    pass


@dataclass(frozen=True)
class Resumed(Event):
    pass


@dataclass(frozen=True)
class BatchDone(Event):
    """The run ended. ``stopped`` is true when the user ended it before everything was done."""

    done: int
    failed: int
    up_to_date: int
    stopped: bool
    seconds: float
