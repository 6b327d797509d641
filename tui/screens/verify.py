"""Whether all results still are what was written: read in the background, with what is wrong and a key to mend it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType

from engine.commands.verify import Verified, read_all, repair
from engine.errors import RestoreError
from engine.library.records import Song
from engine.run.session import Session
from engine.text import fit, printable
from tui.screens.pages import Page, section

_NAME = 60  # cells of a song's name while it is read
_MOST_SHOWN = 200  # findings


class VerifyPage(Page):
    """Reads every result to its end, and has the next run make again what is damaged or missing."""

    TITLE = "Verify: are the results what was written?"
    WAITING = "\nReading all results to their ends …"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,r", "repair", "Have them made again")]

    def __init__(self, session: Session, changed: Callable[[], object]) -> None:
        """``changed`` is called when results are not taken for finished any more."""
        super().__init__()
        self._session, self._changed = session, changed
        self._stop = threading.Event()
        self._result: Verified | None = None

    def on_unmount(self) -> None:
        """The rest is not wanted any more."""
        self._stop.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to mend once it was found."""
        return bool(self._result and self._result.repairable) if action == "repair" else True

    def body(self) -> RenderableType:
        """What is whole, and what is not."""
        songs = [self._session.where(song) for song in self._session.songs]
        place = {song: number for number, song in enumerate(songs, 1)}

        def tell(song: Song) -> None:
            if not self._stop.is_set():
                text = f"\n{place[song]} of {len(songs)}: {fit(printable(song.id), _NAME, keep_end=True)}"
                self.app.call_from_thread(self._show, Text(text, "italic"))

        result = read_all(self._session.store, songs, tell, self._stop.is_set)
        if self._stop.is_set():
            return Text()
        self._result = result
        self.app.call_from_thread(self.refresh_bindings)
        return told(result)

    def action_repair(self) -> None:
        """Have the next run make again what can be."""
        if self._result is not None:
            result, self._result = self._result, None
            self.refresh_bindings()
            self._repair(result)

    @work(thread=True, exclusive=True, group="repair")
    def _repair(self, result: Verified) -> None:
        try:
            text, failed = repair(self._session.store, result), False
        except RestoreError as error:
            text, failed = str(error), True
            self._result = result
        self.app.call_from_thread(self._mended, text, failed)

    def _mended(self, text: str, failed: bool) -> None:
        self.refresh_bindings()
        if failed:
            self.notify(text, severity="error", timeout=10, markup=False)
        else:
            self._show(Text(f"\n{text}", "success"))
            self._changed()


def told(result: Verified) -> RenderableType:
    """What was found, in words; ``_MOST_SHOWN`` findings at most, by song."""
    lines = result.in_words()
    parts: list[RenderableType] = [Text(f"\n{lines[0]}", "success" if result.files and not result.findings else "")]
    parts += [Text(line, "bold" if result.is_good else "error") for line in lines[1:]]
    if result.repairable:
        parts.append(Text("\nEnter has the next run make again what is damaged or missing."))
    shown = 0
    for song, findings in result.findings.items():
        if shown >= _MOST_SHOWN:
            parts.append(Text("\n… and more: mp3restore verify tells of all.", "faint"))
            break
        parts.append(section(printable(song.id)))
        parts += [Text(str(finding)) for finding in findings]
        shown += len(findings)
    return Group(*parts)
