"""One song through all tasks."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine import __version__
from engine.analysis.loss import LossMeter
from engine.analysis.song import SongAnalysis, analyze
from engine.audio.decode import read_tags
from engine.errors import DecodeError, RestoreError, explain_os_error
from engine.library.pruning import delete, files_there, finish, is_unfinished, kept_by_favourite, prune
from engine.library.recognition import look, settle
from engine.library.records import Marker, Song, SongRecord
from engine.library.results import is_intact
from engine.models.runtime import device as devices
from engine.planning import costs
from engine.planning.task import State, Task
from engine.run.control import SkipSong, SkipVariant, StopRun
from engine.run.events import (
    SongDone,
    SongLeft,
    SongStarted,
    SongWarning,
    TaskDone,
    TaskFailed,
    TaskSkipped,
    TaskStarted,
)
from engine.run.publish import Made, Publisher, Written, at_source_level
from engine.run.song_log import SongLog
from engine.run.task_context import TaskContext, beneficiary
from engine.signals import MIX
from engine.stages.base import Signal, read_blocks
from engine.text import printable

if TYPE_CHECKING:
    from engine.run.runner import Runner

_BY_THE_USER, _SWITCHED_OFF = "skipped by the user", "switched off"
_NO_MEMORY = "There is not enough memory for it: close other programs, or use fewer --jobs."
_GPU_LOST = (
    "The GPU stopped working: start the program again, and the computer where that does not help. With --device cpu it "
    "is not needed."
)
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
        self._open: set[str] = set()  # tasks whose chunks are still of use
        self._told: set[str] = set()  # variants of which a failure was told
        self._finished: list[Task] = []
        self._hash = ""  # of the source
        self._analysis: SongAnalysis | None = None  # as far as it is known
        self.left = ""  # why the song is left alone, where it is
        self._intact: set[str] = set()  # tasks whose results were seen to be whole
        self._read_tags = cache(lambda: read_tags(song.path))
        self._publisher = Publisher(self._store, song, self._bands_of_song, self._read_tags)

    def run(self) -> str:
        """``done``, ``failed``, ``skipped``, ``up to date`` or ``stopped``."""
        started = time.monotonic()
        outcome = "stopped"
        try:
            outcome = self._work()
        except StopRun:
            self._log.line("stopped by the user")
        except SkipSong:
            outcome = self._skip_the_rest()
        except RestoreError as error:
            outcome = self._fail(self._reason(error))
        except OSError as error:
            outcome = self._fail(explain_os_error(error, "the song"))
        except MemoryError:
            outcome = self._fail(_NO_MEMORY)
        except Exception as error:
            self._log.line(traceback.format_exc())
            outcome = self._fail(unexpected(error, self._log.path))
        if outcome != "stopped":
            self._runner.estimate.finish(self._song.id)
            seconds = time.monotonic() - started
            self._emit(
                SongDone(
                    self._song.id, tuple(self._made), tuple(self._failed), tuple(self._skipped), seconds, outcome
                )
            )  # fmt: skip
        self._log.close()
        return outcome

    def _reason(self, error: RestoreError) -> str:
        """What is wrong: decoders blame the song's bytes, also where it has gone from under them."""
        if isinstance(error, DecodeError):
            try:
                self._song.path.stat()
            except OSError as gone:
                return explain_os_error(gone, "the song")
        return str(error)

    def _fail(self, reason: str) -> str:
        self._log.line(f"failed: {reason}")
        self._failed.append(reason)
        self._remember(None, "failed", reason)
        return "failed"

    def _skip_the_rest(self) -> str:
        """The user leaves the song: everything that was still to come is skipped."""
        for task in self._runner.tasks:
            done = task.impossible or task.id in self._made or task.id in self._told
            if task.is_final and not done and self._wants(task.id) and self._is_due(task):
                self._skip(task, _BY_THE_USER)
        self._remember(None, "skipped", _BY_THE_USER)
        self._log.line("skipped by the user")
        return "skipped"

    def _work(self) -> str:
        record = look(self._store, self._song, self._read_tags)
        self._measure_album()
        # Of two files that sound the same, the second takes over the work of the first.
        with self._store.alone[record.sound]:
            self._hash, self._analysis = record.identity, record.analysis
            todo = self._todo()
            if todo or record != self._store.record_at(self._song.key):
                record = settle(self._store, self._song, record, self._runner.tasks, self._read_tags)
                self._hash, self._analysis = record.identity, record.analysis
                todo = self._todo()  # what was made of it elsewhere is here now
            return self._work_on(record, todo)

    def _measure_album(self) -> None:
        """Find out how loud the song's album is, where something depends on that."""
        if any(task.stage.wants_album(task.params) and not task.impossible for task in self._runner.tasks):
            self._store.albums.measure(self._song, lambda: self._control.checkpoint(self._song.id))

    def _todo(self) -> list[Task]:
        return [
            t for t in self._runner.tasks
            if not t.impossible and self._is_due(t) and self._needed_by(t)
        ]  # fmt: skip

    def _work_on(self, record: SongRecord, todo: list[Task]) -> str:
        tasks = self._runner.tasks
        duration = record.analysis.duration if record.analysis is not None else guess_duration(self._song)
        retried = self._store.song_outcome(self._song) is not None or any(
            self._store.outcome(self._song, t, self._hash) is not None for t in todo
        )
        self._emit(SongStarted(self._song.id, self._index, len(todo), duration, retried))
        if not todo:
            if record.analysis is None:
                self._store.remember(self._song.key, self._analysed(record))
            self._store.forget_outcome(self._song, None)
            self._give_up_temporary()  # where a run was ended before it could
            self._drop_chunks(task for task in self._runner.tasks if not task.impossible and not self._is_due(task))
            self._report_impossible()
            return "up to date"
        self._control.checkpoint(self._song.id)
        self._log.line(f"mp3restore {__version__}: {self._song.path}")
        if record.analysis is None:
            self._log.line("analysing")
            record = self._analysed(record)
            todo = self._todo()
        assert record.analysis is not None
        self._store.remember(self._song.key, record)
        self._store.forget_outcome(self._song, None)
        for warning in record.analysis.warnings:
            self._log.line(f"warning: {warning}")
            self._emit(SongWarning(self._song.id, warning))
        self._tell_what_is_left()
        work = record.analysis.duration * sum(self._runner.cost(t) for t in todo)
        self._runner.estimate.plan(self._song.id, work)
        for task in tasks:
            self._visit(task, record)
        self._give_up_temporary()
        self._drop_chunks(t for t in (*tasks, *self._finished) if t.id not in self._open)
        self._report_impossible()
        return "failed" if self._failed else "done"

    def _drop_chunks(self, tasks: Iterable[Task]) -> None:
        """Throw away what was only of use until the tasks were done, by this run or by one that was killed since."""
        if self._store.has_chunks(self._song):
            self._store.drop_chunks(self._song, tasks)

    def _analysed(self, record: SongRecord) -> SongRecord:
        """The record with what decoding and measuring the song tell."""
        analysis = analyze(self._song.path, lambda: self._control.checkpoint(self._song.id))
        self._analysis = analysis
        return dataclasses.replace(record, analysis=analysis)

    def _why_left(self, task: Task) -> str:
        """Empty, or one sentence about why the task is not worth its while for this song."""
        return self._runner.left(self._analysis, task) if self._analysis is not None else ""

    def _tell_what_is_left(self) -> None:
        todo = [task for task in self._runner.tasks if self._is_due(task)]
        if reason := left_as_a_whole(self._runner.tasks, todo, self._why_left):
            self.left = reason
            self._log.line(f"left alone: {reason}")
            self._emit(SongLeft(self._song.id, reason))

    # --- what is wanted ----------------------------------------------------------------------------------

    def _wants(self, variant: str) -> bool:
        return self._control.wants(self._song.id, variant) and not self._is_left(variant)

    def _is_left(self, variant: str) -> bool:
        task = next((t for t in self._runner.tasks if t.id == variant and t.is_final), None)
        return task is not None and bool(self._why_left(task))

    def _here(self, task: Task) -> Task:
        """The task as it is for this song: behind the best source that is good enough, published where wanted."""
        return self._standing(task)[0]

    def _standing(self, task: Task) -> tuple[Task, State]:
        """The same, and how it stands."""
        here, state = self._store.standing(self._song, task, self._hash)
        if self._is_hidden(here, state):
            return self._store.standing(self._song, here.unpublished(), self._hash)
        return here, state

    def _as_wanted(self, task: Task) -> Task:
        """``task``, which is as it is for this song, published where that is wanted."""
        state = self._store.state(self._song, task, self._hash)
        return task.unpublished() if self._is_hidden(task, state) else task

    def _is_hidden(self, task: Task, state: State) -> bool:
        """Whether the task makes a variant that is not published: it is not wanted, or was given up.

        What builds on one that was given up has it made again on the way, and no more.
        """
        given_up = state is State.PRUNED and not self._runner.force
        return task.is_final and (given_up or not self._wants(task.id))

    def _needed_by(self, task: Task) -> list[str]:
        """The variants that are wanted, can still be made, and need the task for this song."""
        return [
            final.id for final in self._runner.tasks
            if final.is_final and not final.impossible and final.id not in self._unusable and self._wants(final.id)
            and self._is_due(final)
            and any(step.id == task.id for step in self._here(final).lineage())
        ]  # fmt: skip

    def _is_due(self, task: Task) -> bool:
        return self._runner.force or self._standing(task)[1] not in (State.DONE, State.PRUNED)

    # --- what is only there for others -------------------------------------------------------------------

    def _give_up_temporary(self) -> None:
        """Give up the temporary variants of which all is there that is made from them. Raises StopRun and SkipSong."""
        for task in self._runner.tasks:
            marker = self._store.marker(self._song, task) if task.is_final and task.temporary else None
            if marker is None or not files_there(self._store, marker):
                if marker is not None and marker.pruned and is_unfinished(self._store, marker):
                    finish(self._store, self._song, marker)  # a run was killed in the middle of it
                continue
            if task.id in kept_by_favourite(self._store, self._song.key) or not self._has_served(task):
                continue
            self._control.checkpoint(self._song.id)
            for problem in self._prune(marker):
                self._log.line(f"{task.id}: {problem}")
                self._emit(SongWarning(self._song.id, f"{task.id} is temporary, but {problem}"))

    def _prune(self, marker: Marker) -> list[str]:
        """Give up one result; sentences about what stays."""
        try:
            problems = prune(self._store, self._song, marker, delete)
        except OSError as error:
            return [explain_os_error(error, "the result")]
        except RestoreError as error:
            return [str(error)]
        if not problems:
            self._log.line(f"{marker.task}: temporary, so it was removed: what is made from it is there")
        return problems

    def _has_served(self, task: Task) -> bool:
        """Whether the kept variants that are made from ``task`` and wanted of this song are there, and whole."""
        users = [
            final for final in self._runner.tasks
            if final.is_final and not final.temporary and not final.impossible
            and not self._control.is_off(self._song.id, final.id) and not self._why_left(final)
            and final.builds_on(task)
        ]  # fmt: skip
        states = [self._standing(user)[1] for user in users]
        there = [user for user, state in zip(users, states, strict=True) if state is State.DONE]
        gone = states.count(State.PRUNED)
        return bool(there) and len(there) + gone == len(users) and all(self._is_intact(self._here(u)) for u in there)

    # --- what is told and remembered ---------------------------------------------------------------------

    def _report_impossible(self) -> None:
        for task in self._runner.tasks:
            if task.impossible and task.is_final:
                self._skip(task, task.impossible)

    def _skip(self, task: Task, reason: str) -> None:
        self._skipped.append(f"{task.variant}: {reason}")
        self._emit(TaskSkipped(self._song.id, task.id, task.variant, task.stage.name, reason))
        if reason not in (task.impossible, _SWITCHED_OFF, self._why_left(task)):
            self._remember(task, "skipped", reason)

    def _remember(self, task: Task | None, kind: Literal["failed", "skipped"], reason: str) -> None:
        """Keep on disk what was not finished, so that it is known when the library is opened again."""
        with suppress(OSError):
            self._store.remember_outcome(
                self._song, self._here(task) if task is not None else None, kind, reason, self._hash
            )

    def _task_failed(self, task: Task, needed_by: list[str], reason: str) -> None:
        """A result that nobody would have seen is missed by all that need it."""
        self._unusable[task.id] = reason
        self._open.add(task.id)
        self._log.line(f"{task.id}: failed: {reason}")
        self._remember(task, "failed", reason)
        for variant in [task.id] if task.is_final else needed_by:
            self._told.add(variant)
            self._failed.append(f"{variant}: {reason}")
            self._emit(TaskFailed(self._song.id, task.id, variant, task.stage.name, reason))
            final = next((t for t in self._runner.tasks if t.id == variant != task.id), None)
            if final is not None:
                self._remember(final, "failed", reason)

    # --- the work ----------------------------------------------------------------------------------------

    def _visit(self, task: Task, record: SongRecord) -> None:
        """Do the task unless it is done, cannot be done, is not wanted, or what it needs could not be done."""
        if task.impossible:
            self._give_up(task, task.impossible)
            return
        here = self._here(task)
        if not self._is_due(task):
            return
        needed_by = self._needed_by(task)
        if not needed_by:
            self._open.add(task.id)
        elif why := self._why_not_now(here):
            self._give_up(task, why)
            if here.is_final and task.id not in self._told:
                self._skip(task, why)
        else:
            self._try(here, needed_by, record)
        if task.is_final and not self._wants(task.id):
            off = self._control.is_off(self._song.id, task.id)
            self._skip(task, self._why_left(task) or (_SWITCHED_OFF if off else _BY_THE_USER))

    def _give_up(self, task: Task, why: str) -> None:
        self._unusable[task.id] = why
        self._open.add(task.id)

    def _why_not_now(self, task: Task) -> str:
        """Empty, or one sentence about what the task needs and has not got."""
        for parent in task.parents:
            if parent.id in self._unusable:
                return f"{parent.variant} is missing"
        if self._store.ruin_of_source(self._song, task, self._hash):
            return f"{task.source} lost too much of the song to start from, and there is no other."
        return ""

    def _try(self, task: Task, needed_by: list[str], record: SongRecord) -> None:
        try:
            self._do(task, needed_by, record)
        except SkipVariant:
            self._open.add(task.id)
        except (StopRun, SkipSong):
            raise
        except RestoreError as error:
            self._task_failed(task, needed_by, self._reason(error))
        except OSError as error:
            self._log.line(traceback.format_exc())
            self._task_failed(task, needed_by, explain_os_error(error, "the result"))
        except MemoryError:
            self._task_failed(task, needed_by, _NO_MEMORY)
        except Exception as error:
            self._log.line(traceback.format_exc())
            reason = _GPU_LOST if devices.is_lost(error) else unexpected(error, self._log.path)
            self._task_failed(task, needed_by, reason)

    def _do(self, task: Task, needed_by: list[str], record: SongRecord) -> None:
        """Run one task to its marker. What it works on is made first where it is not there, or damaged."""
        for parent in map(self._as_wanted, task.parents):
            if not self._is_intact(parent):
                self._log.line(f"{parent.id}: not there or damaged, so it is made first")
                self._do(parent, [parent.id, *needed_by] if parent.is_final else needed_by, record)
        fingerprint = task.fingerprint(record.identity)
        self._control.checkpoint(self._song.id, needed_by)
        settings = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(task.params).items())
        self._log.line(f"{task.id}: {task.stage.name}, {settings}" if settings else f"{task.id}: {task.stage.name}")
        for text in task.left_out:
            self._log.line(f"{task.id}: {text}")
        device = self._runner.device_of(task)
        self._emit(TaskStarted(self._song.id, task.id, beneficiary(task, needed_by), task.stage.name, device))
        started = time.monotonic()
        context = TaskContext(self._runner, self._song, task, record, fingerprint, self._log, needed_by)
        if self._runner.force:
            context.cache.drop()
        made = task.stage.run(context, task.params)
        task = self._as_wanted(task)  # the user may have left it meanwhile
        result = Made(task, record, context, made if isinstance(made, dict) else {MIX: made})
        written = self._publisher.write(result)
        seconds = time.monotonic() - started
        marker = self._publisher.marker(result, written, fingerprint, seconds)
        before = self._store.marker(self._song, task)
        if before is not None and before.pruned and not task.is_final:
            marker = dataclasses.replace(marker, pruned=True)
        self._store.write_marker(self._song.key, marker)
        self._store.forget_outcome(self._song, task)
        self._intact.add(task.id)
        context.cache.drop()
        context.finished()
        self._finished.append(task)
        self._tell_done(result, written, needed_by, seconds)

    def _tell_done(self, made: Made, written: Written, needed_by: list[str], seconds: float) -> None:
        task, context = made.task, made.context
        length = context.analysis.duration
        realtime = length / max(seconds, 1e-3)
        if task.is_final:
            self._made.append(task.id)
        if not context.reused:
            costs.learn(task.stage, task.params, context.device, length, seconds)
        self._log.line(f"{task.id}: done in {seconds:.1f} s ({realtime:.1f} x real time)")
        wanted_by = [variant for variant in needed_by if self._wants(variant)]
        self._emit(
            TaskDone(
                self._song.id, task.id, beneficiary(task, wanted_by), task.stage.name, seconds, realtime,
                tuple(str(e.path) for e in written.encoded.values()) if task.is_final else (),
                tuple(context.warnings), written.ruined,
            )
        )  # fmt: skip

    def _is_intact(self, task: Task) -> bool:
        """Whether the task's result is there and what its marker says; read once a run."""
        if task.id not in self._intact:
            marker = self._store.marker(self._song, task)
            current = marker is not None and marker.fingerprint == task.fingerprint(self._hash)
            if current and is_intact(self._store, self._song, task):
                self._intact.add(task.id)
        return task.id in self._intact

    def _bands_of_song(self, decode: Task) -> list[float]:
        """The plain decode's levels; empty where an older version made it and nothing is left to measure."""
        marker = self._store.marker(self._song, decode)
        if marker is None:
            return []
        if not marker.bands and self._is_intact(decode):
            meter = LossMeter(marker.rate, marker.channels)
            signal = Signal(
                self._store.out / marker.outputs[0].path, marker.rate, marker.channels, marker.frames, marker.gain
            )
            for _ in meter.watch(read_blocks(signal)):
                self._control.checkpoint(self._song.id)
            return at_source_level(meter.bands(), marker.gain)
        return marker.bands


def left_as_a_whole(tasks: Iterable[Task], todo: Iterable[Task], why_left: Callable[[Task], str]) -> str:
    """The sentence about why a song is left alone, where that holds of all its results but the plain decode, and some
    are to do; else empty."""
    reasons = {task.id: why_left(task) for task in tasks if task.is_final and task.inputs and not task.impossible}
    return next((reasons[task.id] for task in todo if task.id in reasons), "") if all(reasons.values()) else ""


def unexpected(error: BaseException, log: Path) -> str:
    """One sentence for what nobody expected; ``log`` is where more of it stands."""
    return f"Something unexpected went wrong ({type(error).__name__}: {error}); details are in {printable(str(log))}."
