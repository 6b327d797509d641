"""What each variant did: the report of the library, made in the background, with the figures of one song."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType

from engine.errors import UsageError, explain_os_error
from engine.library.records import Song
from engine.run.session import Session
from engine.text import counted, fit, printable
from tui.screens.pages import Page, section

_NAME = 60  # cells of a song's name while it is compared
_FIGURE = 6  # cells


class ReportPage(Page):
    """Compares all songs, writes the report that a browser shows, and tells the most of it here."""

    TITLE = "Report: what each variant did"
    WAITING = "\nComparing the variants with their songs …"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,o", "browse", "See and hear it in a browser")]

    def __init__(self, session: Session, song: Song | None) -> None:
        """``song``: the one whose figures are told too."""
        super().__init__()
        self._session, self._song = session, song
        self._stop = threading.Event()
        self._page: Path | None = None

    def on_unmount(self) -> None:
        """What was compared is kept; the rest is not wanted any more."""
        self._stop.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to see once it is written."""
        return self._page is not None if action == "browse" else True

    def body(self) -> RenderableType:
        """The medians of all songs, and the figures of one."""
        from engine.compare import report
        from engine.compare.batch import Comparison, Stopped

        session, entries = self._session, []
        originals, gone = report.originals_of(session.store), ""
        try:
            comparison = Comparison(session.store, originals, self._stop)
        except UsageError:  # on a drive that is not here
            gone = (
                f"The page was made with the originals in {printable(str(originals))}, which are not there now: it was "
                "left as it is, and what follows is told without them."
            )
            comparison = Comparison(session.store, stop=self._stop)
        try:
            for entry in comparison.entries([session.where(song) for song in session.songs]):
                entries.append(entry)
                self._tell(f"\n{len(entries)} of {len(session.songs)}: {fit(entry.name, _NAME, keep_end=True)}")
            page = session.store.places.report(report.PAGE)
            self._page = page if gone else report.write(session.store, entries, originals)
        except Stopped:
            return Text()
        except OSError as error:
            return Text(f"\n{explain_os_error(error, 'the report')}", "error")
        self.app.call_from_thread(self.refresh_bindings)
        chosen = printable(self._song.id) if self._song is not None else ""
        shown = told(report.data(entries, session.store.out), chosen, self._page)
        return Group(Text(f"\n{gone}", "error"), shown) if gone else shown

    def _tell(self, text: str) -> None:
        if not self._stop.is_set():
            self.app.call_from_thread(self._show, Text(text, "italic"))

    def action_browse(self) -> None:
        """Open the page, where there is a screen to show it on; else say where it is."""
        if self._page is None:
            return
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            self.notify(
                f"There is no desktop here: open {printable(str(self._page))} where there is one.", markup=False
            )
        else:
            self.app.open_url(self._page.as_uri())


def told(data: dict[str, Any], chosen: str, page: Path) -> RenderableType:
    """The most of what :func:`engine.compare.report.data` holds, with the song that is ``chosen`` by its name."""
    songs = data["songs"]
    compared = [song for song in songs if song["versions"]]
    parts: list[RenderableType] = [Text(f"\n{counted(len(compared), 'song')} compared. The page with pictures and "
                                        f"players: {printable(str(page))}")]  # fmt: skip
    lines = data["summary"]
    if lines:
        own = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for line in lines:
            lost = f"{line['lost']} lost much of the song" if line["lost"] else ""
            own.add_row(Text(line["name"], "bold"), counted(line["songs"], "song"), Text(lost, "error"))
        parts += [section("All songs: medians"), own, Text()]
        parts.append(_figures(data["columns"], lines))
    song = next((one for one in compared if one["name"] == chosen), None)
    if song is not None:
        parts += [section(song["name"]), Text(song["verdict"]), Text(), _figures(data["columns"], song["versions"])]
    if lines:
        parts.append(Text("\nGenerated is not recovered: figures tell what was done, not whether it is what was there, "
                          "nor how it sounds. Listen (l).", "faint"))  # fmt: skip
    problems = [song for song in songs if song["problem"]]
    if problems:
        parts.append(section("Not compared"))
        parts += [Text(f"{song['name']}: {song['problem']}") for song in problems]
    return Group(*parts)


def _figures(columns: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> Table:
    """A row for each figure that any of ``lines`` has, a column for each of these, headed by its number."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("")
    for line in lines:
        number = line["name"].partition("_")[0]
        table.add_column(number, justify="right", min_width=_FIGURE, no_wrap=True)
    widest = max(cell_len(f"{column['title']} ({column['unit']})") for column in columns)
    for place, column in enumerate(columns):
        values = [line["figures"][place] for line in lines]
        if any(value is not None for value in values):
            title = f"{column['title']} ({column['unit']})".ljust(widest)
            table.add_row(title, *("" if v is None else f"{v:.{column['digits']}f}" for v in values))
    return table
