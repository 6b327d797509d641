"""``mp3restore verify``: every finished file is read to its end and compared with what was written.

The check for what disks do in silence. What it finds can be had made again by the next run.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.errors import OutputError, explain_os_error
from engine.library.records import Song
from engine.library.store import Store
from engine.library.verification import MADE_AGAIN, Fault, Finding, have_made_again, verify
from engine.run.session import Session
from engine.text import counted, fit, printable, size

_NAME = 44  # cells of a song's name
_EXIT_STOPPED = 130
_NO_FAULT = (Fault.REPLACED,)  # that is told, and is nobody's failure


@dataclass
class Verified:
    """What was read: songs of which something is finished, files that are whole and their bytes, what is wrong."""

    songs: int = 0
    files: int = 0
    size: int = 0
    findings: dict[Song, list[Finding]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong but what somebody changed on purpose."""
        return all(finding.fault in _NO_FAULT for found in self.findings.values() for finding in found)

    @property
    def repairable(self) -> dict[Song, list[Finding]]:
        """What the next run can make again."""
        picked = {song: [f for f in found if f.fault in MADE_AGAIN] for song, found in self.findings.items()}
        return {song: found for song, found in picked.items() if found}

    def in_words(self) -> list[str]:
        """Sentences, the first about what is whole."""
        if not self.files and not self.findings:
            return ["Nothing is finished here that could be checked."]
        are = "is" if self.files == 1 else "are"
        lines = [f"{counted(self.files, 'file')} of {counted(self.songs, 'song')} {are} whole, read to the end: "
                 f"{size(self.size)}."]  # fmt: skip
        count = Counter(finding.fault for found in self.findings.values() for finding in found)
        words = {
            Fault.DAMAGED: "damaged", Fault.MISSING: "missing", Fault.STATE: "damaged state files",
            Fault.REPLACED: "changed by somebody", Fault.CHOICE: "damaged files of what you chose",
            Fault.UNREADABLE: "that could not be read",
        }  # fmt: skip
        if count:
            lines.append(
                "Not so: " + ", ".join(f"{count[fault]} {words[fault]}" for fault in words if count[fault]) + "."
            )
        return lines


def read_all(
    store: Store, songs: Sequence[Song], progress: Callable[[Song], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Verified:  # fmt: skip
    """Check ``songs`` (each at the place of its results), one after the other. Changes nothing."""
    result = Verified()
    for song in songs:
        if is_stopped():
            break
        if progress is not None:
            progress(song)
        checked = verify(store, song)
        result.songs += bool(checked.files)
        result.files += checked.files
        result.size += checked.size
        if checked.findings:
            result.findings[song] = checked.findings
    return result


def repair(store: Store, result: Verified) -> str:
    """Have made again what can be, by the next run. Gives one sentence.

    Raises:
        UsageError: another process works in the output folder, or it cannot be written to.
        OutputError: what is known of a song could not be changed.
    """
    repairable = result.repairable
    with store.lock():
        for song, findings in repairable.items():
            try:
                have_made_again(store, song, findings)
            except OSError as error:
                raise OutputError(explain_os_error(error, f"what is known of {printable(song.id)}")) from error
    count = sum(map(len, repairable.values()))
    return f"{counted(count, 'finding')} of {counted(len(repairable), 'song')}: the next run makes it whole again."


def show(session: Session, *, mend: bool) -> int:
    """Check all songs of the session, say what was found, and ``mend`` it. Gives the exit code."""
    songs = [session.where(song) for song in session.songs]
    console = Console(highlight=False, soft_wrap=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as bars:
            bar = bars.add_task("reading", total=len(songs))
            result = read_all(
                session.store, songs,
                lambda song: bars.update(bar, advance=1, description=fit(printable(song.id), _NAME, keep_end=True)),
            )  # fmt: skip
    except KeyboardInterrupt:
        print("Stopped; nothing was changed.", file=sys.stderr)
        return _EXIT_STOPPED
    for findings in result.findings.values():
        for finding in findings:
            console.print(Text(str(finding)))
    for line in result.in_words():
        console.print(Text(line))
    if not result.repairable:
        return 0 if result.is_good else 1
    console.print(Text(repair(session.store, result) if mend else
                       "With --repair the next run makes again what is damaged or missing."))  # fmt: skip
    return 1
