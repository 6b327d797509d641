"""``mp3restore report``: what each variant did to each song, as a page to see and hear it, a table and JSON."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.compare import report
from engine.compare.batch import Comparison, Entry, Stopped
from engine.errors import OutputError, explain_os_error
from engine.run.session import Session
from engine.text import counted, fit, printable

_EXIT_STOPPED = 130
_NAME = 44  # cells of a song's name


def show(session: Session, originals: Path | None, jobs: int = 0) -> int:
    """Compare all songs of the session, write the report and say where it is. Gives the exit code.

    Raises:
        UsageError: the folder of originals cannot be used.
        OutputError: the report could not be written.
    """
    comparison = Comparison(session.store, originals)
    songs = [session.where(song) for song in session.songs]
    entries: list[Entry] = []
    console = Console(highlight=False, soft_wrap=True)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        comparison.stop.set()

    previous = {}
    with suppress(ValueError):  # not the main thread: then nobody presses Ctrl-C here
        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as bars:
            bar = bars.add_task("comparing", total=len(songs))
            for entry in comparison.entries(songs, jobs):
                entries.append(entry)
                bars.update(bar, advance=1, description=fit(entry.name, _NAME, keep_end=True))
        page = report.write(session.store, entries, originals)
    except Stopped:
        console.print("Stopped; what was compared is kept: the same command goes on from here.")
        return _EXIT_STOPPED
    except OSError as error:
        raise OutputError(explain_os_error(error, "the report")) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    _tell(console, entries, page)
    return 1 if any(entry.problem for entry in entries) else 0


def _tell(console: Console, entries: list[Entry], page: Path) -> None:
    for entry in entries:
        if entry.problem:
            console.print(Text(f"{entry.name}: {entry.problem}"))
    compared = sum(bool(entry.versions) for entry in entries)
    console.print(Text(f"{counted(compared, 'song')} compared: open {printable(str(page))} in a browser."))
