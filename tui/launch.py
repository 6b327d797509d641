"""Starting the dashboard, what is told after it, and what becomes of a run that is under way then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.player.tracks import ListeningSet
from engine.run.session import Session
from engine.text import printable
from tui import pixels
from tui.app import Listening, RestoreApp
from tui.settings import log_folder


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C libraries print to the program's log file; the screen belongs to the dashboard."""
    try:
        log_folder().mkdir(parents=True, exist_ok=True)
        log = os.open(log_folder() / "stderr.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        yield
        return
    screen = os.dup(2)
    before = sys.__stderr__
    sys.__stderr__ = os.fdopen(screen, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # type: ignore[misc]
    os.dup2(log, 2)
    try:
        yield
    finally:
        sys.__stderr__.flush()
        os.dup2(screen, 2)
        sys.__stderr__ = before  # type: ignore[misc]
        os.close(screen)
        os.close(log)


def run_listening(sets: list[ListeningSet], blind: tuple[str, ...] | None, trials: int | None) -> int:
    """Show the listen screen alone until the user leaves it. Gives the exit code."""
    pixels.ask_terminal()
    app = RestoreApp([], listening=Listening(sets, blind, trials))
    with quiet_stderr():
        app.run()
    _tell_crash(app)
    return app.return_code or 0


def run_dashboard(paths: list[Path], out: Path | None, recipe: str, jobs: int, device: str) -> int:
    """Show the dashboard until the user leaves it. Gives the exit code."""
    pixels.ask_terminal()
    app = RestoreApp(paths, out, recipe, jobs, device=device)
    with quiet_stderr():
        try:
            app.run()
        except OSError:  # the terminal is gone and cannot be given back
            if not app.hung_up:
                raise
    _tell_crash(app)
    from engine.commands import headless

    session = app.session
    if session is None or not session.running:
        if session is not None and session.control.stopped and app.leaving:
            options = ["--jobs", str(jobs)] if jobs else []
            print(f"Stopped. Nothing finished is lost; go on with:  {headless.command(session, *options)}")
            return 130
        return app.return_code or 0
    return _after(session, hung_up=app.hung_up)


def _tell_crash(app: RestoreApp) -> None:
    """After the screen was given back: say where the report of a crash is."""
    if app.crash_report is not None and not app.hung_up:
        print(f"The dashboard crashed; the report is in {printable(str(app.crash_report))}", file=sys.stderr)


def _after(session: Session, *, hung_up: bool) -> int:
    """What becomes of the run that is under way when the dashboard is gone: it goes on, seen or unseen."""
    from engine.commands import headless

    thread = session.thread
    if hung_up:
        thread.join()
        return 0
    return headless.follow(session, lambda: thread)
