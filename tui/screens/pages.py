"""Pages to read: details of a song, models, doctor, help."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Label, Static

from engine.commands.analyze import Row, describe, verdict_row
from engine.errors import RestoreError
from engine.files import open_regular
from engine.models.runtime.cards import ModelCard, cards, download
from engine.text import duration, fit, printable, short_path, size, took
from tui.model import GLYPHS, MEANINGS, DashboardModel, SongView
from tui.screens.dialogs import Choice
from tui.widgets.key_line import KeyLine

_LOG_LINES = 200
_LOG_BYTES = 1 << 17
_SEVERITIES = {
    "fine": "success", "leave it alone": "success", "slight": "accent", "clear": "warning", "restore": "warning",
    "heavy": "error",
}  # fmt: skip
_PROGRESS_INTERVAL = 0.25  # seconds


class Page(Screen[None]):
    """A page with a title that scrolls; Escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("down,j", "scroll(1)", "Scroll", show=False),
        Binding("up,k", "scroll(-1)", "Scroll", show=False),
    ]
    TITLE = ""
    WAITING = "…"  # what it says until it is made

    def compose(self) -> ComposeResult:
        """Title, body, keys."""
        yield Label(Text(self.heading()), classes="page-title")
        with VerticalScroll(classes="page"):
            yield Static(self.WAITING, id="body")
        yield KeyLine("pop_screen", "get", "browse", "repair")

    is_waiting = True

    def heading(self) -> str:
        """The page's title."""
        return self.TITLE or ""

    def on_mount(self) -> None:
        """Read in the background: nothing here may hold up the keys."""
        self.read()

    @work(thread=True, exclusive=True)
    def read(self) -> None:
        """Make the page and show it."""
        body = self.body()
        if self.is_running:
            self.app.call_from_thread(self._show, body)

    def _show(self, body: RenderableType) -> None:
        if self.is_mounted:
            self.query_one("#body", Static).update(body)
            self.is_waiting = False

    def body(self) -> RenderableType:
        """What the page says; called on a thread of its own."""
        raise NotImplementedError

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def _rows(least: int = 0) -> Table:
    """Names and what is to be said of them; ``least`` cells for the names make several tables stand in line."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="faint", no_wrap=True, min_width=least)
    table.add_column(overflow="fold")
    return table


def section(title: str) -> Text:
    """The heading of a part of a page."""
    return Text(f"\n{title}", "bold underline")


class DetailPage(Page):
    """All that is known of one song."""

    def __init__(self, library: DashboardModel, view: SongView) -> None:
        super().__init__()
        self._library, self._view = library, view

    def heading(self) -> str:
        """The song's name."""
        return self._view.name

    def body(self) -> RenderableType:
        """Tags, facts, variants, log."""
        parts: list[RenderableType] = []
        if self._view.problem:
            parts.append(Text(printable(self._view.problem), "error"))
        if self._view.analysis is not None:
            parts += [Text(), _judged(verdict_row(self._view.analysis, self._library.session.tried))]
        parts += [
            section("Variants"),
            self._variants(),
            section("Source"),
            self._facts(),
            section("Tags"),
            self._tags(),
        ]
        parts += [section("Log"), self._log()]
        return Group(*parts)

    def _variants(self) -> Table:
        table = _rows()
        session = self._library.session
        for task in self._library.final:
            shown = self._view.tasks[task.id]
            lines = [MEANINGS[shown.state]]
            marker = session.store.marker(self._view.place, task)
            if marker is not None and shown.state == "done":
                lines[0] += f" in {took(marker.seconds)} on {marker.device}, {marker.rate / 1000:g} kHz"
                lines += [marker.note, short_path(session.store.out / marker.outputs[0].path)]
            lines += [shown.text] if shown.text else []
            lines.insert(0, task.title)
            table.add_row(f"{GLYPHS[shown.state]} {task.id}", Text("\n".join(printable(line) for line in lines)))
        return table

    def _facts(self) -> Table:
        table = _rows()
        table.add_row("file", Text(short_path(self._view.song.path)))
        if self._view.analysis is None:
            for name, text in _header_rows(self._view):
                table.add_row(name, Text(printable(text)))
            table.add_row("", Text("Level and damage are measured when it is restored.", "faint"))
            return table
        for row in describe(self._view.analysis):
            table.add_row(row.topic, _judged(row))
        for warning in self._view.warnings:
            table.add_row("note", Text(printable(warning), "warning"))
        return table

    def _tags(self) -> RenderableType:
        from engine.audio.decode import read_tags

        table = _rows()
        tags, problem = read_tags(self._view.song.path)
        for name, values in tags.comments.items():
            shown = printable("; ".join(values))
            table.add_row(Text(printable(name.lower())), Text(shown if len(shown) < 400 else shown[:400] + "…"))
        if tags.pictures:
            covers = ", ".join(f"{printable(p.mime)} {size(len(p.data))}" for p in tags.pictures)
            table.add_row("covers", Text(covers))
        if problem:
            table.add_row("note", Text(problem, "warning"))
        return table if table.row_count else Text("none", "faint")

    def _log(self) -> RenderableType:
        try:
            with open_regular(self._library.session.store.log_path(self._view.place)) as file:
                file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return Text("no log yet", "faint")
        return Text("\n".join(printable(line) for line in text.splitlines()[-_LOG_LINES:]), "faint")


def _judged(row: Row) -> Text:
    """A finding: how bad it is, the sentence, and the figure below."""
    text = Text.assemble((f"{row.severity}  " if row.severity else "", _SEVERITIES.get(row.severity, "")))
    text.append(printable(row.text))
    return text.append(f"\n{printable(row.figure)}" if row.figure else "", "faint")


def _header_rows(view: SongView) -> Iterator[tuple[str, str]]:
    """What the headers alone say of a song."""
    facts = view.facts
    if facts is None:
        return
    if facts.problem:
        yield "note", facts.problem
    if facts.duration is not None:
        channels = {1: "mono", 2: "stereo"}.get(facts.channels or 0, f"{facts.channels} channels")
        yield "format", f"{facts.kind}, {duration(facts.duration)}, {(facts.rate or 0) / 1000:g} kHz, {channels}"
    if facts.bitrate is not None:
        yield "encoded", f"{facts.bitrate / 1000:.0f} kbit/s {'VBR' if facts.vbr else 'CBR'} {facts.encoder}".rstrip()
    if facts.lowpass is not None:
        yield "low-pass", f"{facts.lowpass / 1000:.1f} kHz, by the encoder's own tag"


class ModelsPage(Page):
    """The neural networks: what they are, whether they are here, and getting them."""

    TITLE = "Models"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "get", "Download a model"),
        Binding("i", "app.setup", "Set up PyTorch"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._cancelled = threading.Event()
        self._getting = False
        self._told = 0.0

    def on_unmount(self) -> None:
        """A download under way stops; the next one goes on from there."""
        self._cancelled.set()

    def on_screen_resume(self) -> None:
        """What the models need may have been set up meanwhile."""
        self.read()

    def action_get(self) -> None:
        """Ask which of the models that are not here shall be downloaded."""
        if self._getting:
            self.notify("A download is under way.", timeout=4)
            return
        self._find_missing()

    @work(thread=True, exclusive=True, group="find")
    def _find_missing(self) -> None:
        """Gigabytes may have to be read for it: not on the screen's thread."""
        missing = {c.key: c for c in cards() if c.can_be_fetched and c.state(thoroughly=False) != "verified"}
        if self.is_running:
            self.app.call_from_thread(self._ask_which, missing)

    def _ask_which(self, missing: dict[str, ModelCard]) -> None:
        if not missing:
            self.notify("Everything that can be downloaded is here.", timeout=4)
            return

        def chosen(key: str | None) -> None:
            if key is not None:
                self._getting = True
                self._get(missing[key])

        wide = max(cell_len(c.name) for c in missing.values())
        answers = {key: f"{fit(c.name, wide)} {size(c.size):>7}  {c.task}" for key, c in missing.items()}
        self.app.push_screen(Choice("Which model should be downloaded?", answers), chosen)

    @work(thread=True, exclusive=True, group="get")
    def _get(self, card: ModelCard) -> None:
        try:
            download(card, progress=partial(self._moved, card.name), cancelled=self._cancelled)
            self._tell(f"{card.name} is here.")
        except RestoreError as error:
            self._tell(str(error), severity="error")
        self._getting = False
        if self.is_running:
            self.app.call_from_thread(self._heading, self.heading())
            self.app.call_from_thread(self.read)

    def _moved(self, name: str, done: int, of: int) -> None:
        if self.is_running and (time.monotonic() - self._told > _PROGRESS_INTERVAL or done == of):
            self._told = time.monotonic()
            self.app.call_from_thread(self._heading, f"{self.heading()}   {name}: {size(done)} of {size(of)}")

    def _heading(self, text: str) -> None:
        if self.is_mounted:
            self.query_one(".page-title", Label).update(Text(text))

    def _tell(self, text: str, severity: Literal["information", "error"] = "information") -> None:
        if self.is_running:
            self.app.call_from_thread(lambda: self.notify(text, severity=severity, markup=False, timeout=8))

    def body(self) -> RenderableType:
        """A card each."""
        parts: list[RenderableType] = []
        for card in cards():
            state = card.state(thoroughly=False)
            table = _rows()
            verified = {
                "verified": "installed, hash verified",
                "damaged": "damaged: its hash is wrong",
                "missing": "not installed",
            }
            table.add_row(
                "state", Text(verified[state], {"verified": "success", "damaged": "error"}.get(state, "warning"))
            )
            facts = {
                "does": card.task, "trained on": card.trained_on, "licence": card.licence, "size": size(card.size),
                "from": card.source, "needed for": ", ".join(card.stages),
            }  # fmt: skip
            for name, text in facts.items():
                table.add_row(name, Text(text))
            if state != "verified":
                table.add_row("to do", Text(card.advice))
            parts += [section(card.name), table]
        return Group(*parts)


class DoctorPage(Page):
    """What this machine has, and what to do about what is missing."""

    TITLE = "Doctor"
    WAITING = "\nLooking at this machine …"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def body(self) -> RenderableType:
        """A line per finding."""
        from engine.commands.doctor import examine

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        marks = {"ok": Text("●", "success"), "note": Text("◐", "warning"), "problem": Text("✗", "error")}
        for finding in examine(self._folder):
            text = Text(printable(finding.text))
            if finding.advice:
                text.append(f"\n{finding.advice}", "italic")
            table.add_row(marks[finding.verdict], Text(finding.topic, "bold"), text)
        return Group(Text(), table)


class HelpPage(Page):
    """The keys, from the bindings themselves, and what the signs mean."""

    TITLE = "Help"

    def __init__(self, groups: list[tuple[str, list[tuple[str, str]]]]) -> None:
        super().__init__()
        self._groups = groups

    def body(self) -> RenderableType:
        """A table per place."""
        parts: list[RenderableType] = []
        widest = max(cell_len(key) for _, keys in self._groups for key, _ in keys)
        for title, keys in self._groups:
            table = _rows(widest)
            for key, text in keys:
                table.add_row(key, text)
            parts += [section(title), table]
        parts.append(
            Text(
                "\nFind: words of the name; is:failed, is:skipped, is:done, is:open, is:ruined for how songs stand,\n"
                "is:good for those that are best left alone.",
                "faint",
            )
        )
        return Group(*parts)
