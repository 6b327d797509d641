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
from types import FrameType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from engine.errors import UsageError, explain_os_error
from engine.planning.recipes import by_number
from engine.run import events
from engine.run.room import Needed
from engine.run.session import Session
from engine.text import counted, duration, fit, printable, took

_WIDE, _DETAIL = 110, 38  # columns from which bars are long, and cells for what is said of a song in work
_LAST_SECONDS = 1.0  # to leave the terminal as it was, when there is no time
EXIT_DONE, EXIT_FAILED, EXIT_STOPPED = 0, 1, 130


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
    _tell_room(session.needs(jobs=jobs, force=force), as_json=as_json)
    return follow(session, lambda: session.start(jobs=jobs, force=force), as_json=as_json, jobs=jobs)


def _tell_room(needed: Needed, *, as_json: bool) -> None:
    """What the run will take on the disk; nothing where it adds nothing."""
    if as_json:
        _print(json.dumps(events.RoomNeeded(needed.kept, needed.meanwhile, needed.free, needed.fits).to_json()))
    elif words := needed.in_words():
        _print(printable(words))


def follow(
    session: Session, start: Callable[[], threading.Thread], *, as_json: bool = False, jobs: int = 0
) -> int:  # fmt: skip
    """Show the run that ``start`` begins (or gives, where it is under way) to its end. Gives the exit code."""
    go_on = f"go on with:  {command(session, '--json' if as_json else '--no-tui', *_jobs(jobs))}"
    inbox: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
    session.subscribe(inbox.put)
    thread = start()
    view = _view(session, as_json)
    for text in session.left_out():
        view.say(text)
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
        try:
            event = inbox.get(timeout=0.2)  # a timeout, so that signals are seen on every system
        except queue.Empty:
            event = None
        interrupts.tell()  # before what it has set off is shown
        if event is not None:
            view.show(event)
        if isinstance(event, events.BatchDone):
            return event
        if event is None and not thread.is_alive() and inbox.empty() and session.outcome is not None:
            return session.outcome  # it ended in the moment in which the view was set up


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


def _print(text: str) -> None:
    """Print a line at once. Raises UsageError where it cannot be taken (a full disk), BrokenPipeError as it is."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries it again at its end
        raise UsageError(explain_os_error(error, "what the program says")) from error


class _JsonView:
    """One JSON object per line."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, event: events.Event) -> None:
        data = event.to_json()
        if isinstance(event, events.Progress):
            data["batch"] = round(self._session.estimate.fraction(), 4)
            data["time_left"] = round(self._session.estimate.time_left(), 1)
        _print(json.dumps(data))

    def say(self, text: str) -> None:
        _print(json.dumps({"event": "Message", "text": text}))

    def close(self) -> None:
        pass


class _LineView:
    """Plain lines, a few per song: for logs and pipes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failures: list[tuple[str, str]] = []
        self._last_progress = time.monotonic()
        self._last_song = ""
        self._left: set[str] = set()  # songs that are left alone: told once

    def show(self, event: events.Event) -> None:
        match event:
            case events.BatchStarted():
                self.say(f"{counted(event.songs, 'song')}, results go to {event.out}")
            case events.SongStarted() if event.tasks:
                again = " (not finished the last time, tried again)" if event.retried else ""
                self.say(f"[{event.index + 1}/{len(self._session.songs)}] {event.song}{again}")
                self._last_song = event.song
            case events.Progress() if time.monotonic() - self._last_progress > (5 if event.chunk else 60):
                self._last_progress = time.monotonic()
                self._name(event.song)
                left = duration(self._session.estimate.time_left())
                done = f"chunk {event.chunk} of {event.chunks}" if event.chunk else f"{event.fraction:.0%}"
                self.say(f"  {event.variant}: {done}, about {left} left in all")
            case events.TaskDone():
                self._name(event.song)
                self.say(f"  {event.variant} ({event.stage}) done in {took(event.seconds)}, {event.realtime:.1f}x")
            case events.TaskSkipped() if event.song not in self._left:
                self._name(event.song)
                self.say(f"  {event.variant} skipped: {event.reason}")
            case events.SongWarning():
                self._name(event.song)
                self.say(f"  note: {event.text}")
            case events.SongLeft():
                self._name(event.song)
                self._left.add(event.song)
                self.say(f"  {event.reason[0].lower()}{event.reason[1:]}")
            case events.SongDone():
                self._failures += [(event.song, reason) for reason in event.failed]
                for reason in event.failed:
                    self.say(f"  FAILED {event.song}: {reason}")
            case events.BatchDone():
                for line in _summary(event, self._failures, str(self._session.store.out)):
                    self.say(line)

    def _name(self, song: str) -> None:
        """Several songs are in work at a time: say whose lines follow."""
        if song != self._last_song:
            self._last_song = song
            self.say(f"{song}:")

    def say(self, text: str) -> None:
        _print(printable(text))

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
        lines += [f"  {song}: {reason}" for song, reason in failures]
        lines.append("The next run tries them again.")
    parts = [f"{counted(event.done, 'song')} done"] if event.done or not (event.up_to_date or event.failed) else []
    if event.left:
        parts[0] += f" ({event.left} of them left alone, as they are good: name a recipe to restore them all the same)"
    if event.up_to_date:
        parts.append(f"{event.up_to_date} were up to date")
    if event.failed:
        parts.append(f"{event.failed} failed")
    if event.skipped:
        parts.append(f"{event.skipped} skipped")
    lines.append("")
    lines.append(f"{', '.join(parts)} in {duration(event.seconds)}. The results are in {out}")
    return lines


class _TerminalView:
    """Live bars: one for the whole run, one for each song in work; what is finished scrolls by above."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._console = Console(highlight=False)
        self._bar_width = 24 if self._console.width >= _WIDE else 10
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_width),
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
                self.say(f"{counted(event.songs, 'song')}, results go to {event.out}")
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
                self._print(("  note  ", "yellow"), (f"{event.song}: {event.text}", ""))
            case events.SongLeft():
                self._print(("  left  ", "cyan"), (f"{event.song}: {event.reason}", ""))
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
            room = max(12, min(48, self._console.width - _DETAIL - self._bar_width))
            shown = fit(printable(song), room, keep_end=True).rstrip()
            self._bars[song] = self._progress.add_task(shown, total=1.0, detail="")
        return self._bars[song]

    def _finish(self, event: events.SongDone) -> None:
        if event.song in self._bars:
            self._progress.remove_task(self._bars.pop(event.song))
        name = event.song
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
        self._console.print(Text.assemble(*((printable(text), style) for text, style in parts)), soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
