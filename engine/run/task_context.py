"""What a stage sees of its task."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.analysis.song import SongAnalysis
from engine.audio.readers import Audio
from engine.errors import OutputError
from engine.library.chunk_cache import ChunkCache
from engine.library.records import Song, SongRecord
from engine.planning.task import Port, Task
from engine.run.events import Progress, SongWarning
from engine.run.song_log import SongLog
from engine.stages.base import Signal

if TYPE_CHECKING:
    from engine.run.runner import Runner

_MIN_INTERVAL = 0.1  # seconds between progress events within a chunk


def seed_of(source_hash: str, purpose: str) -> int:
    """The seed for one purpose of the song whose source has that hash."""
    return int.from_bytes(hashlib.sha256(f"{source_hash}/{purpose}".encode()).digest()[:8], "big")


def beneficiary(task: Task, needed_by: Sequence[str]) -> str:
    """The variant for whose sake the task is done: its own, where that is wanted."""
    return task.variant if task.variant in needed_by or not needed_by else needed_by[0]


def _signal(runner: Runner, song: Song, port: Port) -> Signal:
    """A finished signal, as its marker tells of it."""
    marker = runner.store.marker(song, port.task)
    if marker is None:
        raise OutputError(
            f"{port.task.variant}, which it starts from, is not there any more: see whether the results' "
            "drive is there, and run again."
        )
    output = next(o for o in marker.outputs if o.port == port.name)
    return Signal(
        runner.store.out / output.path, output.rate or marker.rate, output.channels or marker.channels,
        output.frames or marker.frames, marker.gain,
    )  # fmt: skip


class TaskContext:
    """What a stage sees of its task (:class:`engine.stages.base.Context`)."""

    def __init__(
        self, runner: Runner, song: Song, task: Task, record: SongRecord, fingerprint: str, log: SongLog,
        needed_by: Sequence[str],
    ) -> None:  # fmt: skip
        assert record.analysis is not None
        self._runner, self._song, self._task, self._log = runner, song, task, log
        self._needed_by = needed_by
        self.source = song.path
        self.analysis: SongAnalysis = record.analysis
        self.seed = seed_of(record.identity, "song")
        self.device = runner.device_of(task)
        heard = [port.task.cutoff(self.analysis.cutoff.hz) for _, port in task.inputs]
        self.cutoff = min((hz for hz in heard if hz is not None), default=None)
        self.warnings: list[str] = []
        self.cache: ChunkCache = runner.store.chunks(song, task, fingerprint)
        self.inputs = {name: _signal(runner, song, port) for name, port in task.inputs}
        self.gain_before = min((signal.gain for signal in self.inputs.values()), default=0.0)
        self._work = self.analysis.duration * runner.cost(task)
        self._told = 0.0
        self.reused = False  # whether a part was done in an earlier run
        self._last_event = 0.0

    @property
    def input(self) -> Signal:
        (signal,) = self.inputs.values()
        return signal

    def checkpoint(self) -> None:
        self._runner.control.checkpoint(self._song.id, self._needed_by)

    def progress(self, done: int, of: int, *, reused: bool = False) -> None:
        self.reused |= reused
        self._log.line(f"{self._task.id}: chunk {done} of {of}{' (kept from before)' if reused else ''}")
        self._advance(done / of, reused)
        self._event(done, of, done / of, reused)

    def fraction(self, done: float) -> None:
        self._advance(done, False)
        now = time.monotonic()
        if now - self._last_event >= _MIN_INTERVAL:
            self._last_event = now
            self._event(0, 0, min(1.0, done), False)

    def _advance(self, done: float, reused: bool) -> None:
        if done > self._told:
            self._runner.estimate.advance(self._song.id, (done - self._told) * self._work, reused=reused)
            self._told = done

    def finished(self) -> None:
        """All of the task's work is done."""
        self._advance(1.0, False)

    def _event(self, chunk: int, chunks: int, fraction: float, reused: bool) -> None:
        self._runner.emit(
            Progress(
                self._song.id, self._task.id, beneficiary(self._task, self._needed_by), self._task.stage.name,
                chunk, chunks, fraction, reused,
            )
        )  # fmt: skip

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            self._log.line(f"{self._task.id}: warning: {text}")
            self._runner.emit(SongWarning(self._song.id, text))

    def load_chunk(self, index: int, shape: tuple[int, int]) -> Audio | None:
        return self.cache.load(index, shape)

    def save_chunk(self, index: int, chunk: Audio) -> None:
        self.cache.save(index, chunk)

    def together(self, wanted: int) -> int:
        return self.cache.together(wanted)
