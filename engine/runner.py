"""The background engine: runs the plan song by song, tells what happens, survives each song's failure."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine import __version__, costs
from engine.analysis.song import SongAnalysis, analyze
from engine.audio.encode import Encoded, need_room, write_flac
from engine.audio.readers import Audio
from engine.audio.tags import Tags, read_tags, write_tags
from engine.control import Control, SkipSong, SkipVariant, StopRun
from engine.errors import RestoreError, explain_os_error
from engine.estimate import Estimate
from engine.events import (
    BatchDone,
    BatchStarted,
    Event,
    Progress,
    SongDone,
    SongStarted,
    SongWarning,
    TaskDone,
    TaskFailed,
    TaskSkipped,
    TaskStarted,
)
from engine.plan import State, Task
from engine.priority import work_in_background
from engine.stages.base import Rendered, Signal
from engine.store import FORMAT, ChunkCache, Marker, Song, SongRecord, Store
from engine.text import printable

_MIN_INTERVAL = 0.1  # seconds between progress events within a chunk
_BYTES_PER_SECOND = 24000  # of an MP3 of unknown length (192 kbit/s)


@dataclass
class Runner:
    """Works off ``songs`` x ``tasks``, ``jobs`` songs at a time; :class:`BatchDone` is the last event.

    ``emit`` is called from the working threads. ``force`` does again what is done.
    """

    store: Store
    songs: Sequence[Song]
    tasks: Sequence[Task]
    emit: Callable[[Event], None]
    control: Control
    jobs: int = 1
    force: bool = False
    device: str = "cpu"
    estimate: Estimate = field(default_factory=Estimate)

    def cost(self, task: Task) -> float:
        """Seconds of work per second of audio, as far as can be known before."""
        return costs.factor(task.stage, task.params, self.device)

    def device_of(self, task: Task) -> str:
        """Where the task is worked on."""
        return self.device if task.stage.neural else "cpu"

    def run(self) -> None:
        """Work until all is done or stopped."""
        started = time.monotonic()
        self.emit(BatchStarted(len(self.songs), len(self.songs) * len(self.tasks), str(self.store.out)))
        cost = sum(self.cost(task) for task in self.tasks if not task.impossible)
        for song in self.songs:
            self.estimate.plan(song.id, _guess_duration(song) * cost)
        waiting: queue.SimpleQueue[tuple[int, Song]] = queue.SimpleQueue()
        for item in enumerate(self.songs):
            waiting.put(item)
        counts = {"done": 0, "failed": 0, "up to date": 0}
        lock = threading.Lock()

        def work() -> None:
            work_in_background()
            while not self.control.stopped:
                try:
                    index, song = waiting.get_nowait()
                except queue.Empty:
                    return
                outcome = _SongRun(self, song, index).run()
                with lock:
                    counts[outcome] = counts.get(outcome, 0) + 1

        threads = [threading.Thread(target=work, name=f"engine-{n}", daemon=True) for n in range(1, self.jobs)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        self.emit(BatchDone(counts["done"], counts["failed"], counts["up to date"], self.control.stopped, seconds))


def _guess_duration(song: Song) -> float:
    with suppress(OSError):
        return song.path.stat().st_size / _BYTES_PER_SECOND
    return 0.0


class _SongRun:
    """One song through all tasks."""

    def __init__(self, runner: Runner, song: Song, index: int) -> None:
        self._runner, self._song, self._index = runner, song, index
        self._store, self._emit, self._control = runner.store, runner.emit, runner.control
        self._log = _Log(self._store.log_path(song))
        self._made: list[str] = []
        self._failed: list[str] = []
        self._skipped: list[str] = []
        self._unusable: dict[str, str] = {}  # tasks that failed or were skipped, and why
        self._tags: Tags | None = None

    def run(self) -> str:
        """``done``, ``failed``, ``up to date`` or ``stopped``."""
        started = time.monotonic()
        outcome = "stopped"
        try:
            outcome = self._work()
        except StopRun:
            self._log.line("stopped by the user")
        except SkipSong:
            self._skipped.append("the rest of the song, by the user")
            outcome = "done"
        except RestoreError as error:
            outcome = self._fail(str(error))
        except OSError as error:
            outcome = self._fail(explain_os_error(error, "the song"))
        except Exception as error:
            self._log.line(traceback.format_exc())
            outcome = self._fail(_unexpected(error, self._log.path))
        if outcome != "stopped":
            self._runner.estimate.finish(self._song.id)
            seconds = time.monotonic() - started
            self._emit(SongDone(self._song.id, tuple(self._made), tuple(self._failed), tuple(self._skipped), seconds))
        self._log.close()
        return outcome

    def _fail(self, reason: str) -> str:
        self._log.line(f"failed: {reason}")
        self._failed.append(reason)
        return "failed"

    def _work(self) -> str:
        record = self._store.identify(self._song)
        tasks = self._runner.tasks
        todo = [t for t in tasks if self._is_todo(t, record.sha256)]
        duration = record.analysis.duration if record.analysis is not None else _guess_duration(self._song)
        self._emit(SongStarted(self._song.id, self._index, len(todo), duration))
        if not todo:
            self._report_impossible()
            return "up to date"
        self._control.checkpoint(self._song.id, "")
        self._log.line(f"mp3restore {__version__}: {self._song.path}")
        if record.analysis is None:
            self._log.line("analysing")
            record = dataclasses.replace(record, analysis=analyze(self._song.path))
        assert record.analysis is not None
        self._store.remember(self._song, record)
        for warning in record.analysis.warnings:
            self._log.line(f"warning: {warning}")
            self._emit(SongWarning(self._song.id, warning))
        work = record.analysis.duration * sum(self._runner.cost(t) for t in todo)
        self._runner.estimate.plan(self._song.id, work)
        for task in tasks:
            self._visit(task, record)
        self._store.drop_chunks(self._song, [t for t in tasks if t.id not in self._unusable])
        self._report_impossible()
        return "failed" if self._failed else "done"

    def _is_todo(self, task: Task, source_hash: str) -> bool:
        state = self._store.state(self._song, task, source_hash)
        if state is State.IMPOSSIBLE:
            return False
        return self._runner.force or state is not State.DONE

    def _report_impossible(self) -> None:
        for task in self._runner.tasks:
            if task.impossible and task.is_final:
                self._skip(task, task.impossible)

    def _skip(self, task: Task, reason: str) -> None:
        self._skipped.append(f"{task.variant}: {reason}")
        self._emit(TaskSkipped(self._song.id, task.variant, task.stage.name, reason))

    def _visit(self, task: Task, record: SongRecord) -> None:
        """Do the task unless it is done, cannot be done, or what it needs could not be done."""
        if task.impossible:
            self._unusable[task.id] = task.impossible
            return
        if task.parent is not None and task.parent.id in self._unusable:
            self._unusable[task.id] = self._unusable[task.parent.id]
            if task.is_final:
                self._skip(task, f"{task.parent.variant} is missing")
            return
        if not self._is_todo(task, record.sha256):
            return
        if self._control.is_off(self._song.id, task.variant):
            self._unusable[task.id] = "switched off"
            self._skip(task, "switched off")
            return
        try:
            self._do(task, record)
        except SkipVariant:
            self._unusable[task.id] = "skipped"
            self._skip(task, "skipped by the user")
        except (StopRun, SkipSong):
            raise
        except RestoreError as error:
            self._task_failed(task, str(error))
        except OSError as error:
            self._log.line(traceback.format_exc())
            self._task_failed(task, explain_os_error(error, "the result"))
        except MemoryError:
            self._task_failed(task, "There is not enough memory for it: close other programs, or use fewer --jobs.")
        except Exception as error:
            self._log.line(traceback.format_exc())
            self._task_failed(task, _unexpected(error, self._log.path))

    def _task_failed(self, task: Task, reason: str) -> None:
        self._unusable[task.id] = reason
        self._failed.append(f"{task.variant}: {reason}")
        self._log.line(f"{task.id}: failed: {reason}")
        self._emit(TaskFailed(self._song.id, task.variant, task.stage.name, reason))

    def _do(self, task: Task, record: SongRecord) -> None:
        """Run one task to its marker. The parent's result is made again first where it is gone."""
        parent = task.parent
        if parent is not None and not parent.is_final and not self._store.output_path(self._song, parent).exists():
            self._do(parent, record)
        assert record.analysis is not None
        fingerprint = task.fingerprint(record.sha256)
        self._control.checkpoint(self._song.id, task.variant)
        self._log.line(f"{task.id}: {task.stage.name} {dataclasses.asdict(task.params)}")
        self._emit(TaskStarted(self._song.id, task.variant, task.stage.name, self._runner.device_of(task)))
        started = time.monotonic()
        context = _TaskContext(self._runner, self._song, task, record, fingerprint, self._log)
        if self._runner.force:
            context.cache.drop()
        rendered = task.stage.run(context, task.params)
        encoded = self._write(task, record, rendered, context)
        seconds = time.monotonic() - started
        self._store.write_marker(self._song, task, self._marker(task, fingerprint, rendered, encoded, context, seconds))
        context.cache.drop()
        context.finished()
        if task.is_final:
            self._made.append(task.id)
        length = record.analysis.duration
        if not context.reused:
            costs.learn(task.stage, task.params, context.device, length, seconds)
        self._log.line(f"{task.id}: done in {seconds:.1f} s ({length / max(seconds, 1e-3):.1f} x real time)")
        realtime = length / max(seconds, 1e-3)
        outputs = (str(encoded.path),) if task.is_final else ()
        warnings = tuple(context.warnings)
        self._emit(TaskDone(self._song.id, task.variant, task.stage.name, seconds, realtime, outputs, warnings))

    def _write(self, task: Task, record: SongRecord, rendered: Rendered, context: _TaskContext) -> Encoded:
        path = self._store.output_path(self._song, task)
        path.parent.mkdir(parents=True, exist_ok=True)
        need_room(path.parent, rendered.frames * rendered.channels * 2)
        gain = context.gain_before + rendered.gain
        if self._tags is None:
            self._tags, problem = read_tags(self._song.path)
            if problem:
                context.warn(problem)
        tags = self._tags
        provenance = _provenance(task, record, rendered, gain)
        untouched = task.stage.name == "decode" and gain == 0.0

        def tag(file: Path) -> None:
            write_tags(file, tags, provenance, keep_replaygain=untouched)

        return write_flac(
            path, rendered.blocks, rate=rendered.rate, channels=rendered.channels, frames=rendered.frames,
            seed=_seed(record.sha256, task.id), tag=tag if task.is_final else None,
        )  # fmt: skip

    def _marker(
        self,
        task: Task,
        fingerprint: str,
        rendered: Rendered,
        encoded: Encoded,
        context: _TaskContext,
        seconds: float,
    ) -> Marker:
        before = self._store.marker(self._song, task.parent) if task.parent is not None else None
        if encoded.gain:
            context.warn(f"The result was turned down by {-encoded.gain:.1f} dB so that it does not clip.")
        return Marker(
            format=FORMAT,
            program=__version__,
            task=task.id,
            recipe=task.recipe_of(),
            fingerprint=fingerprint,
            inputs=[o.sha256 for o in before.outputs] if before is not None else [],
            outputs=[self._store.output(encoded.path, encoded.size, encoded.sha256)],
            rate=encoded.rate,
            channels=encoded.channels,
            frames=encoded.frames,
            gain=context.gain_before + rendered.gain + encoded.gain,
            note=rendered.note,
            device=self._runner.device_of(task),
            seconds=round(seconds, 3),
            warnings=context.warnings,
        )


def _seed(source_hash: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{source_hash}/{purpose}".encode()).digest()[:8], "big")


def _unexpected(error: Exception, log: Path) -> str:
    return f"Something unexpected went wrong ({type(error).__name__}: {error}); details are in {printable(str(log))}."


def _provenance(task: Task, record: SongRecord, rendered: Rendered, gain: float) -> dict[str, str]:
    """Comments that say how a file was made. No dates: the same work must give the same bytes."""
    steps = []
    for item in task.lineage():
        values = ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(item.params).items())
        steps.append(f"{item.stage.name}({values})")
    return {
        "MP3RESTORE_VERSION": __version__,
        "MP3RESTORE_VARIANT": task.variant,
        "MP3RESTORE_CHAIN": " > ".join(steps),
        "MP3RESTORE_NOTE": rendered.note or task.stage.title,
        "MP3RESTORE_GAIN": f"{gain:.2f} dB",
        "MP3RESTORE_SOURCE_SHA256": record.sha256,
    }


class _TaskContext:
    """What a stage sees of its task (:class:`engine.stages.base.Context`)."""

    def __init__(self, runner: Runner, song: Song, task: Task, record: SongRecord, fingerprint: str, log: _Log) -> None:
        assert record.analysis is not None
        self._runner, self._song, self._task, self._log = runner, song, task, log
        self.source = song.path
        self.analysis: SongAnalysis = record.analysis
        self.seed = _seed(record.sha256, "song")
        self.device = runner.device_of(task)
        self.cutoff = task.parent.cutoff(self.analysis.cutoff.hz) if task.parent is not None else None
        self.warnings: list[str] = []
        self.cache: ChunkCache = runner.store.chunks(song, task, fingerprint)
        self._input: Signal | None = None
        self.gain_before = 0.0
        if task.parent is not None:
            marker = runner.store.marker(song, task.parent)
            assert marker is not None
            path = runner.store.output_path(song, task.parent)
            self._input = Signal(path, marker.rate, marker.channels, marker.frames, marker.gain)
            self.gain_before = marker.gain
        self._work = self.analysis.duration * runner.cost(task)
        self._told = 0.0
        self.reused = False  # whether a part was done in an earlier run
        self._last_event = 0.0

    @property
    def input(self) -> Signal:
        assert self._input is not None, "the first stage has no input"
        return self._input

    def checkpoint(self) -> None:
        self._runner.control.checkpoint(self._song.id, self._task.variant)

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
            Progress(self._song.id, self._task.variant, self._task.stage.name, chunk, chunks, fraction, reused)
        )

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            self._log.line(f"{self._task.id}: warning: {text}")
            self._runner.emit(SongWarning(self._song.id, text))

    def load_chunk(self, index: int, shape: tuple[int, int]) -> Audio | None:
        return self.cache.load(index, shape)

    def save_chunk(self, index: int, chunk: Audio) -> None:
        self.cache.save(index, chunk)


class _Log:
    """The song's log file. It must never be what a song fails for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._broken = False

    def line(self, text: str) -> None:
        """Append ``text`` with the time, escaped line by line."""
        if self._broken:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = "".join(f"{stamp} {printable(part)}\n" for part in text.splitlines())
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(self._file, lines.encode("utf-8", "replace"))
        except OSError:
            self._broken = True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
