"""What is remembered on disk of songs and of finished tasks, and what it must look like to be believed.

Format 1 (versions up to 0.1) had no checksums and knew a song by the hash of its whole file, ``sha256``. That hash
stays the identity of what was made then, so that it stays finished.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.analysis.song import ANALYSIS_VERSION, SongAnalysis
from engine.dsp.level_fit import Fit
from engine.library.layout import CHUNKS
from engine.plain_data import as_kind
from engine.signals import MIX
from engine.text import printable

FORMAT = 2
_PLAIN_PATH = re.compile(r"[^/\\:\0.][^/\\:\0]*(/[^/\\:\0.][^/\\:\0]*)+")  # most are
UNCHECKED_FORMAT = 1

Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hash = Annotated[str, Meta(pattern=r"\A([0-9a-f]{32}|[0-9a-f]{64})?\Z")]  # empty: not known
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Rate = Annotated[int, Meta(ge=1, le=768000)]  # Hz
Channels = Annotated[int, Meta(ge=1, le=8)]
Decibels = Annotated[float, Meta(ge=-1000, le=1000)]


@dataclass(frozen=True)
class Song:
    """A source file and its place in the output tree. ``key`` is that place, without a suffix."""

    path: Path
    key: PurePath
    id: str


@dataclass(frozen=True)
class SongRecord:
    """What is remembered of a source: valid while its size and time of change stay the same.

    ``sound`` is the hash of its audio (empty in format 1), ``tags`` that of its tags. ``identity`` is the hash that
    stands for the song in fingerprints and seeds: its sound, or that of its file where it was first made by a version
    that knew no better.
    """

    source: str
    size: Count
    modified: int
    identity: Sha256
    sound: Hash
    tags: Hash
    analysis: SongAnalysis | None


@dataclass(frozen=True)
class Output:
    """A file of a finished task: the signal ``port``, at ``path`` relative to the output folder.

    ``sound`` is the MD5 of its samples. ``rate``, ``channels`` and ``frames`` are 0 where they are the marker's
    (versions up to 0.1 kept them there alone).
    """

    path: str
    size: Count
    sha256: Sha256
    sound: Hash = ""
    port: str = MIX
    rate: Annotated[int, Meta(ge=0, le=768000)] = 0
    channels: Annotated[int, Meta(ge=0, le=8)] = 0
    frames: Count = 0

    @property
    def content(self) -> str:
        """What tells whether it is the same to what builds on it, whatever its tags."""
        return self.sound or self.sha256


@dataclass(frozen=True)
class Marker:
    """The proof that a task is done. ``gain`` in dB is what the signal lost since the source, so as not to clip.

    ``ruined`` is empty, or one sentence about what the result lost of the song; ``bands`` are its levels in dB
    (:meth:`engine.analysis.loss.LossMeter.bands`, as loud as the source), where they were measured.

    ``inputs`` are the contents of the published results that it builds on, through steps on the way: those are known
    by the fingerprint, as nobody needs to get the same bytes when they are made again. ``tags`` is the hash of the
    source's tags that were written. ``fits`` are what a remix equalised its stems by, so that they can be heard alike.

    ``pruned`` says that its files were given up to make room, on purpose: they may be missing, and are not made again
    before somebody asks for them.
    """

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    program: str
    task: str
    recipe: dict[str, Any]
    fingerprint: Sha256
    inputs: list[Hash]
    outputs: list[Output]
    rate: Rate
    channels: Channels
    frames: Count
    gain: Decibels
    note: str
    device: str
    seconds: Annotated[float, Meta(ge=0)]
    warnings: list[str]
    ruined: str = ""
    bands: list[float] = field(default_factory=list)
    tags: Hash = ""
    fits: dict[str, Fit] = field(default_factory=dict)
    pruned: bool = False

    @property
    def is_published(self) -> bool:
        """Whether its outputs are variants, and not only on the way to one."""
        return not any(output.path.startswith(f"{CHUNKS}/") for output in self.outputs)


@dataclass(frozen=True)
class Outcome:
    """Why a task, or a song as a whole, was not finished: until what it is about changes its ``fingerprint``."""

    kind: Literal["failed", "skipped"]
    reason: str
    fingerprint: str


def treated_stems(markers: Sequence[Marker]) -> dict[str, str]:
    """Which variants are the stems of another one, treated: by the names of both."""
    joined: dict[str, str] = {}
    several = [marker for marker in markers if len(marker.outputs) > 1]
    for treated in several:
        plain = next((m for m in several if {o.content for o in m.outputs} & set(treated.inputs)), None)
        if plain is not None and plain is not treated and plain.task not in joined:
            joined[treated.task] = plain.task
    return joined


def marker_from_json(data: dict[str, Any]) -> Marker | None:
    """The marker that ``data`` tells of, its sentences safe to print; None where that cannot be one."""
    marker = as_kind(data, Marker)
    if marker is None or not all(_lies_below(output.path) for output in marker.outputs):
        return None
    if "".join((marker.note, marker.device, marker.ruined, *marker.warnings)).isprintable():  # as nearly all are
        return marker
    return replace(
        marker, note=printable(marker.note), device=printable(marker.device), ruined=printable(marker.ruined),
        warnings=[*map(printable, marker.warnings)],
    )  # fmt: skip


def _lies_below(path: str) -> bool:
    if _PLAIN_PATH.fullmatch(path):
        return True
    pure = PurePath(path)
    return (
        bool(pure.parts) and not pure.is_absolute() and not pure.drive and ".." not in pure.parts and "\0" not in path
    )


def outcome_from_json(data: dict[str, Any]) -> Outcome | None:
    """The outcome that ``data`` tells of, its reason safe to print; None where that cannot be one."""
    outcome = as_kind(data, Outcome)
    return replace(outcome, reason=printable(outcome.reason)) if outcome is not None else None


def marker_to_json(marker: Marker) -> dict[str, Any]:
    """Plain types only; :func:`marker_from_json` reads it back."""
    return dataclasses.asdict(marker)


def record_from_json(data: dict[str, Any]) -> SongRecord | None:
    """The record that ``data`` tells of, without an analysis of another version; None where that cannot be one."""
    if data.get("analysis_version") != ANALYSIS_VERSION:
        data = {**data, "analysis": None}
    if data.get("format") == UNCHECKED_FORMAT:
        data = {**data, "identity": data.get("sha256"), "sound": "", "tags": ""}
    if not FORMAT >= (as_kind(data.get("format"), int) or 0) >= 1:
        return None
    record = as_kind(data, SongRecord)
    return record if record is None or record.analysis is None or _is_plausible(record.analysis) else None


def _is_plausible(analysis: SongAnalysis) -> bool:
    cutoff = analysis.cutoff.hz
    return (
        1 <= analysis.rate <= 768000
        and 1 <= analysis.channels <= 8
        and 0 <= analysis.frames <= 1 << 53
        and 0 <= analysis.start <= 1 << 53
        and (cutoff is None or 0 < cutoff <= analysis.rate)
    )


def record_to_json(record: SongRecord) -> dict[str, Any]:
    """Plain types only; :func:`record_from_json` reads it back."""
    return {"format": FORMAT, **dataclasses.asdict(record), "analysis_version": ANALYSIS_VERSION}
