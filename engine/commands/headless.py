"""The run without a dashboard: progress on a terminal, plain lines in a pipe, or JSON lines."""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from engine.analysis.headers import HeaderFacts, headers_of, look_at
from engine.planning.recipes import by_number
from engine.planning.task import State
from engine.run import events
from engine.run.session import Session, SongPlan
from engine.text import duration, printable

_LAST_SECONDS = 1.0  # to leave the terminal as it was, when there is no time
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 130
_WIDE = 130  # columns from which on a table has room for the variants' names
_WIDTH_OF_A_PIPE = 400  # nothing is folded where a program reads it
_GLYPHS = {State.DONE: "done", State.STALE: "stale", State.TODO: "to do", State.IMPOSSIBLE: "not here"}
_STYLES = {State.DONE: "green", State.STALE: "yellow", State.TODO: "cyan", State.IMPOSSIBLE: "dim"}


class View(Protocol):
    """Shows the events of a run."""

    def show(self, event: events.Event) -> None:
        """Show one event; called from one thread."""
        ...

    def say(self, text: str) -> None:
        """Show one sentence."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def run(session: Session, *, jobs: int, force: bool, as_json: bool) -> int:
    """Work to the end, or until the user stops it. Gives the exit code."""
    return follow(session, lambda: session.start(jobs=jobs, force=force), as_json=as_json, jobs=jobs)


def follow(
    session: Session, start: Callable[[], threading.Thread], *, as_json: bool = False, jobs: int = 0
) -> int:  # fmt: skip
    """Show the run that ``start`` begins (or gives, where it is under way) to its end. Gives the exit code."""
    go_on = f"go on with:  {command(session, '--json' if as_json else '--no-tui', *_jobs(jobs))}"
    inbox: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
    session.subscribe(inbox.put)
    thread = start()
    view = _view(session, as_json)
    with _Interrupts(session, view, go_on) as interrupts:
        try:
            outcome = _follow(session, inbox, thread, view, interrupts)
        finally:
            session.unsubscribe(inbox.put)
            view.close()
    if outcome.stopped:
        view.say(f"Stopped. Nothing finished is lost; {go_on}")
        return EXIT_STOPPED
    return EXIT_FAILED if outcome.failed or outcome.error else EXIT_DONE


def _view(session: Session, as_json: bool) -> View:
    if as_json:
        return _JsonView(session)
    return _TerminalView(session) if sys.stdout.isatty() else _LineView(session)


def _follow(
    session: Session, inbox: queue.SimpleQueue[events.Event], thread: threading.Thread, view: View,
    interrupts: _Interrupts,
) -> events.BatchDone:  # fmt: skip
    while True:
        interrupts.tell()
        try:
            event = inbox.get(timeout=0.2)  # a timeout, so that signals are seen on every system
        except queue.Empty:
            if not thread.is_alive() and inbox.empty() and session.outcome is not None:
                return session.outcome  # it ended in the moment in which the view was set up
            continue
        view.show(event)
        if isinstance(event, events.BatchDone):
            return event


def command(session: Session, *options: str) -> str:
    """The whole command that goes on with what ``session`` works on; what is done is not done again."""
    parts = ["mp3restore", *options, *session.arguments()]
    quote = shlex.join if os.name != "nt" else lambda parts: " ".join(f'"{p}"' if " " in p else p for p in parts)
    return printable(quote(parts))


def _jobs(jobs: int) -> list[str]:
    return ["--jobs", str(jobs)] if jobs else []


class _Interrupts:
    """While active, Ctrl-C (or SIGTERM) ends the run after the chunk in work, a second one at once.

    The second one waits for nothing: not for a thread that hangs, nor for a terminal that takes no more text.
    """

    def __init__(self, session: Session, view: View, go_on: str) -> None:
        self._session, self._view, self._go_on = session, view, go_on
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._untold = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        if self._session.control.stopped:
            limit = threading.Timer(_LAST_SECONDS, os._exit, (EXIT_STOPPED,))
            limit.daemon = True
            limit.start()
            with suppress(Exception):  # the signal may have come in the midst of printing
                self._view.close()
                self._view.say(f"Left at once. Nothing finished is lost; {self._go_on}")
            os._exit(EXIT_STOPPED)
        self._session.stop()
        self._untold = True

    def tell(self) -> None:
        """Say what an interrupt has set off; not in its handler, as that may come in the midst of printing."""
        if self._untold:
            self._untold = False
            self._view.say("Stopping when the chunk in work is finished; press Ctrl-C again to leave at once.")


class _JsonView:
    """One JSON object per line."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, event: events.Event) -> None:
        data = event.to_json()
        if isinstance(event, events.Progress):
            data["batch"] = round(self._session.estimate.fraction(), 4)
            data["time_left"] = round(self._session.estimate.time_left(), 1)
        print(json.dumps(data), flush=True)

    def say(self, text: str) -> None:
        print(json.dumps({"event": "Message", "text": text}), flush=True)

    def close(self) -> None:
        pass


class _LineView:
    """Plain lines, a few per song: for logs and pipes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failures: list[tuple[str, str]] = []
        self._last_progress = time.monotonic()

    def show(self, event: events.Event) -> None:
        match event:
            case events.BatchStarted():
                self.say(f"{event.songs} songs, results go to {printable(event.out)}")
            case events.SongStarted() if event.tasks:
                again = " (not finished the last time, tried again)" if event.retried else ""
                self.say(f"[{event.index + 1}/{len(self._session.songs)}] {printable(event.song)}{again}")
            case events.Progress() if time.monotonic() - self._last_progress > (5 if event.chunk else 60):
                self._last_progress = time.monotonic()
                left = duration(self._session.estimate.time_left())
                done = f"chunk {event.chunk} of {event.chunks}" if event.chunk else f"{event.fraction:.0%}"
                self.say(f"  {event.variant}: {done}, about {left} left in all")
            case events.TaskDone():
                self.say(f"  {event.variant} ({event.stage}) done in {duration(event.seconds)}, {event.realtime:.1f}x")
            case events.TaskSkipped():
                self.say(f"  {event.variant} skipped: {event.reason}")
            case events.SongWarning():
                self.say(f"  note: {event.text}")
            case events.SongDone():
                self._failures += [(event.song, reason) for reason in event.failed]
                for reason in event.failed:
                    self.say(f"  FAILED {printable(event.song)}: {reason}")
            case events.BatchDone():
                for line in _summary(event, self._failures, str(self._session.store.out)):
                    self.say(line)

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        pass


def _summary(event: events.BatchDone, failures: list[tuple[str, str]], out: str) -> list[str]:
    """The last lines of a run."""
    lines = []
    if event.error:
        lines += ["", event.error]
    if failures:
        lines.append("")
        lines.append(f"{event.failed} of the songs could not be finished:")
        lines += [f"  {printable(song)}: {reason}" for song, reason in failures]
        lines.append("The next run tries them again.")
    parts = [f"{event.done} songs done"]
    if event.up_to_date:
        parts.append(f"{event.up_to_date} were up to date")
    if event.failed:
        parts.append(f"{event.failed} failed")
    if event.skipped:
        parts.append(f"{event.skipped} skipped")
    lines.append("")
    lines.append(f"{', '.join(parts)} in {duration(event.seconds)}. The results are in {printable(out)}")
    return lines


class _TerminalView:
    """Live bars: one for the whole run, one for each song in work; what is finished scrolls by above."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False, style="dim"),
            console=self._console,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._failures: list[tuple[str, str]] = []
        self._all = self._progress.add_task("All songs", total=1.0, detail="")
        self._progress.start()

    def show(self, event: events.Event) -> None:
        match event:
            case events.BatchStarted():
                self.say(f"{event.songs} songs, results go to {printable(event.out)}")
            case events.TaskStarted():
                bar = self._bar(event.song)
                self._progress.update(bar, completed=0.0, detail=f"{event.variant} · {event.stage}")
            case events.Progress():
                chunk = f" · chunk {event.chunk} of {event.chunks}" if event.chunks else ""
                self._progress.update(
                    self._bar(event.song),
                    completed=event.fraction,
                    detail=f"{event.variant} · {event.stage}{chunk}",
                )
            case events.SongWarning():
                self._print(("  note  ", "yellow"), (f"{printable(event.song)}: {event.text}", ""))
            case events.SongDone():
                self._finish(event)
            case events.BatchDone():
                self.close()
                for line in _summary(event, self._failures, str(self._session.store.out)):
                    self.say(line)
                return
        estimate = self._session.estimate
        left = f"{estimate.fraction():.0%} · {duration(estimate.time_left())} left"
        self._progress.update(self._all, completed=estimate.fraction(), detail=left)

    def _bar(self, song: str) -> TaskID:
        if song not in self._bars:
            name = printable(song)
            room = max(12, min(48, self._console.width - 64))
            shown = name if len(name) <= room else "…" + name[1 - room :]
            self._bars[song] = self._progress.add_task(shown, total=1.0, detail="")
        return self._bars[song]

    def _finish(self, event: events.SongDone) -> None:
        if event.song in self._bars:
            self._progress.remove_task(self._bars.pop(event.song))
        name = printable(event.song)
        self._failures += [(event.song, reason) for reason in event.failed]
        if event.failed:
            self._print(("  failed  ", "bold red"), (f"{name}: {event.failed[0]}", ""))
        elif event.made:
            self._print(
                ("  done  ", "green"),
                (name, ""),
                (f"  {', '.join(sorted(event.made, key=by_number))} in {duration(event.seconds)}", "dim"),
            )

    def _print(self, *parts: tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


def dry_run(session: Session, *, force: bool, as_json: bool) -> int:
    """Print the plan: what is done, stale and to do, and what the songs' headers say. Nothing is changed."""
    plans = session.states(force=force)
    facts = _facts(plans)
    if as_json:
        for item, found in zip(plans, facts, strict=True):
            told = {
                "duration": found.duration, "bitrate": found.bitrate, "vbr": found.vbr, "encoder": found.encoder,
                "cutoff": _cutoff(item, found), "problem": found.problem,
            }  # fmt: skip
            states = {task: _standing(item, task)[0] for task in item.states}
            print(json.dumps({"song": item.song.id, **told, "tasks": states}))
        return EXIT_DONE
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDTH_OF_A_PIPE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("song", overflow="fold", min_width=12)
    for name in ("length", "kbit/s", "encoder", "cutoff"):
        table.add_column(name, justify="left" if name == "encoder" else "right", no_wrap=True)
    variants = sorted((t for t in session.tasks if t.is_final), key=lambda task: by_number(task.id))
    for task in variants:
        table.add_column(task.id if console.width >= _WIDE else task.id.split("_")[0], no_wrap=True)
    for item, found in zip(plans, facts, strict=True):
        cells = [Text(*_standing(item, t.id)[1:]) for t in variants]
        table.add_row(Text(printable(item.song.id)), *map(Text, _in_words(found, _cutoff(item, found))), *cells)
    console.print(table)
    console.print(Text(_count(plans)))
    for item, found in zip(plans, facts, strict=True):
        if found.problem:
            console.print(Text(f"{printable(item.song.id)}: {printable(found.problem)}", "yellow"))
    return EXIT_DONE


def _standing(plan: SongPlan, task: str) -> tuple[str, str, str]:
    """(in JSON, in a table, style) how a task stands; what failed the last time is to do, and told."""
    outcome = plan.outcomes.get(task) or plan.outcome
    state = plan.states[task]
    if outcome is not None and state in (State.TODO, State.STALE):
        return outcome.kind, outcome.kind, "bold red" if outcome.kind == "failed" else "yellow"
    return state.value, _GLYPHS[state], _STYLES[state]


def _facts(plans: list[SongPlan]) -> list[HeaderFacts]:
    """What the headers say of each song; those that were analysed are not read again."""
    found: dict[Path, HeaderFacts] = {}
    look_at([item.song.path for item in plans if item.analysis is None], found.update)
    return [found[p.song.path] if p.analysis is None else headers_of(p.analysis) for p in plans]


def _cutoff(plan: SongPlan, facts: HeaderFacts) -> float | None:
    """Hz, as measured where the song was analysed, else as the encoder's tag tells it."""
    return plan.analysis.cutoff.hz if plan.analysis is not None else facts.lowpass


def _in_words(facts: HeaderFacts, cutoff: float | None) -> tuple[str, str, str, str]:
    """Length, bitrate, encoder and cutoff as shown."""
    if facts.problem:
        return "?", "", "unreadable", ""
    bitrate = "" if facts.bitrate is None else f"{'~' if facts.vbr else ''}{facts.bitrate / 1000:.0f}"
    return (
        "?" if facts.duration is None else duration(facts.duration),
        bitrate,
        printable(facts.encoder),
        "" if cutoff is None else f"{cutoff / 1000:.1f} kHz",
    )


def _count(plans: list[SongPlan]) -> str:
    counts = dict.fromkeys((*(state.value for state in State), "failed", "skipped"), 0)
    for item in plans:
        for task in item.states:
            counts[_standing(item, task)[0]] += 1
    parts = [f"{number} {name}" for name, number in counts.items() if number]
    explained = "\nStale means: made before, but with other settings or from another file." if counts["stale"] else ""
    if counts["failed"] or counts["skipped"]:
        explained += "\nA run tries again what failed or was skipped."
    return f"\n{len(plans)} songs; tasks: {', '.join(parts)}.{explained}"
