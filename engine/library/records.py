"""What is remembered on disk of songs and of finished tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

from engine.analysis.song import SongAnalysis

FORMAT = 1


@dataclass(frozen=True)
class Song:
    """A source file and its place in the output tree. ``key`` is that place, without a suffix."""

    path: Path
    key: PurePath
    id: str


@dataclass(frozen=True)
class SongRecord:
    """What is remembered of a source: valid while its size and time of change stay the same."""

    source: str
    size: int
    modified: int
    sha256: str
    analysis: SongAnalysis | None


@dataclass(frozen=True)
class Output:
    """A file of a finished task; ``path`` is relative to the output folder."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Marker:
    """The proof that a task is done. ``gain`` in dB is what the signal lost since the source, so as not to clip.

    ``ruined`` is empty, or one sentence about what the result lost of the song; ``bands`` are its levels in dB
    (:meth:`engine.analysis.loss.LossMeter.bands`, as loud as the source), where they were measured.
    """

    format: int
    program: str
    task: str
    recipe: dict[str, Any]
    fingerprint: str
    inputs: list[str]
    outputs: list[Output]
    rate: int
    channels: int
    frames: int
    gain: float
    note: str
    device: str
    seconds: float
    warnings: list[str]
    ruined: str = ""
    bands: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """Why a task, or a song as a whole, was not finished: until what it is about changes its ``fingerprint``."""

    kind: Literal["failed", "skipped"]
    reason: str
    fingerprint: str
