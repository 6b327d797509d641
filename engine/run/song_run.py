"""One song through all tasks."""

from __future__ import annotations

import dataclasses
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__
from engine.analysis.song import analyze
from engine.audio.encode import Encoded, need_room, write_flac
from engine.audio.tags import Tags, read_tags, write_tags
from engine.errors import RestoreError, explain_os_error
from engine.library.records import FORMAT, Marker, Song, SongRecord
from engine.planning import costs
from engine.planning.plan import State, Task
from engine.run.control import SkipSong, SkipVariant, StopRun
from engine.run.events import (
    SongDone,
    SongStarted,
    SongWarning,
    TaskDone,
    TaskFailed,
    TaskSkipped,
    TaskStarted,
)
from engine.run.song_log import SongLog
from engine.run.task_context import TaskContext, seed_of
from engine.stages.base import Rendered
from engine.text import printable

if TYPE_CHECKING:
    from engine.run.runner import Runner

_BYTES_PER_SECOND = 24000  # of an MP3 of unknown length (192 kbit/s)


def guess_duration(song: Song) -> float:
    """Seconds, from the size of the file, where it has not been looked at."""
    with suppress(OSError):
        return song.path.stat().st_size / _BYTES_PER_SECOND
    return 0.0


class SongRun:
    """One song through all tasks."""

    def __init__(self, runner: Runner, song: Song, index: int) -> None:
        self._runner, self._song, self._index = runner, song, index
        self._store, self._emit, self._control = runner.store, runner.emit, runner.control
        self._log = SongLog(self._store.log_path(song))
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
        duration = record.analysis.duration if record.analysis is not None else guess_duration(self._song)
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
        context = TaskContext(self._runner, self._song, task, record, fingerprint, self._log)
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

    def _write(self, task: Task, record: SongRecord, rendered: Rendered, context: TaskContext) -> Encoded:
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
            seed=seed_of(record.sha256, task.id), tag=tag if task.is_final else None,
        )  # fmt: skip

    def _marker(
        self,
        task: Task,
        fingerprint: str,
        rendered: Rendered,
        encoded: Encoded,
        context: TaskContext,
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
