"""What is remembered on disk of songs and of finished tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

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
    """The proof that a task is done. ``gain`` in dB is what the signal lost since the source, so as not to clip."""

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
