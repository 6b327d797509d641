"""The song table: thousands of rows on Textual's line API, of which only those that changed are painted."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.text import duration, fit, printable
from tui.model import GLYPHS, RUINED, DashboardModel, SongView, matches

_DAMAGE = ("▁", "▂", "▄", "▆", "█")
_SORTS: dict[str, Callable[[SongView], object]] = {
    "name": lambda v: v.name.casefold(),
    "progress": lambda v: v.progress,
    "damage": lambda v: (-1 if v.damage is None else v.damage, -_bitrate(v)),
    "length": lambda v: v.duration or -1.0,
}
#: The column that each criterion sorts by, and whether the most comes first.
_SORTED_COLUMNS = {
    "name": ("song", False),
    "progress": ("done", True),
    "damage": ("lost", True),
    "length": ("length", True),
}
_HEADER_LINES = 1
_NAME = 14  # cells that a song's name has at least, where other columns can make room


class SongTable(ScrollView, can_focus=True):
    """Shows the songs of a library; filtered, sorted, with a cursor and marks."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "song-table--header", "song-table--cursor", "song-table--marked", "song-table--dim", "song-table--done",
        "song-table--working", "song-table--failed", "song-table--stale", "song-table--damage",
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(0)", "First song", show=False),
        Binding("end", "jump(-1)", "Last song", show=False),
        Binding("space,m", "mark", "Mark"),
        Binding("asterisk", "mark_all", "Mark all", show=False),
        Binding("enter", "details", "Details"),
        Binding("c", "next_sort", "Sort"),
        Binding("v", "skip_variant", "Skip a variant", show=False),
    ]

    cursor: reactive[int] = reactive(0)

    class Highlighted(Message):
        """The cursor is on another song (None: there is none)."""

        def __init__(self, view: SongView | None) -> None:
            super().__init__()
            self.view = view

    class Opened(Message):
        """The user wants the details of a song."""

        def __init__(self, view: SongView) -> None:
            super().__init__()
            self.view = view

    class Marked(Message):
        """Other songs are marked."""

    class SkipWanted(Message):
        """The user wants one of the variants of a song left out in this run, but has not said which."""

        def __init__(self, view: SongView) -> None:
            super().__init__()
            self.view = view

    def __init__(self, **options: str) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._library: DashboardModel | None = None
        self._rows: list[SongView] = []
        self._place: dict[str, int] = {}
        self._filter = ""
        self.sort_name = "name"
        self.show_horizontal_scrollbar = False

    # --- content -----------------------------------------------------------------------------------------

    def show_library(self, library: DashboardModel | None) -> None:
        """Show another library, from its top."""
        self._library = library
        self._filter = ""
        self.cursor = 0
        self.rebuild()

    def rebuild(self) -> None:
        """Filter and sort anew; the cursor stays on its song."""
        current = self.current
        songs = self._library.songs if self._library is not None else []
        words = self._filter.casefold().split()
        self._rows = [v for v in songs if all(matches(v, word) for word in words)]
        self._rows.sort(key=_SORTS[self.sort_name], reverse=_SORTED_COLUMNS[self.sort_name][1])  # type: ignore[arg-type]
        self._place = {view.song.id: row for row, view in enumerate(self._rows)}
        self._resize()
        row = self._place.get(current.song.id, 0) if current is not None else 0
        self.cursor = row
        self.refresh()
        self.post_message(self.Highlighted(self.current))

    def sort_again(self) -> None:
        """More is known of the songs: put them in order where that depends on it, else only paint them."""
        if self.sort_name in ("damage", "length"):
            self.rebuild()
        else:
            self.refresh()

    def filter(self, text: str) -> None:
        """Show only songs whose name holds all words of ``text``, or that stand as an ``is:`` in it asks for."""
        self._filter = text
        self.rebuild()

    @property
    def current(self) -> SongView | None:
        """The song under the cursor."""
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    @property
    def rows(self) -> list[SongView]:
        """The songs shown, in order."""
        return self._rows

    @property
    def marked(self) -> list[SongView]:
        """The marked songs, in order of the library."""
        return [v for v in self._library.songs if v.marked] if self._library is not None else []

    def update_songs(self, ids: set[str]) -> None:
        """Paint again what changed."""
        for song in ids:
            row = self._place.get(song)
            if row is not None:
                self._refresh_row(row)

    def _refresh_row(self, row: int) -> None:
        y = row - round(self.scroll_y) + _HEADER_LINES
        if _HEADER_LINES <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _resize(self) -> None:
        self.virtual_size = Size(max(1, self.size.width), len(self._rows) + _HEADER_LINES)

    def on_resize(self) -> None:
        """Columns depend on the width."""
        self._resize()
        self._scroll_to_cursor()

    # --- moving ------------------------------------------------------------------------------------------

    def validate_cursor(self, cursor: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(cursor, len(self._rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Paint the two rows and tell."""
        self._refresh_row(old)
        self._refresh_row(new)
        self._scroll_to_cursor()
        if old != new:
            self.post_message(self.Highlighted(self.current))

    def _scroll_to_cursor(self) -> None:
        room = max(1, self.size.height - _HEADER_LINES)
        top = round(self.scroll_y)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + room:
            self.scroll_to(y=self.cursor - room + 1, animate=False)

    def action_move(self, rows: int) -> None:
        """Move the cursor by ``rows``."""
        self.cursor += rows

    def action_page(self, pages: int) -> None:
        """Move the cursor by pages."""
        self.cursor += pages * max(1, self.size.height - _HEADER_LINES - 1)

    def action_jump(self, row: int) -> None:
        """Move the cursor to a row; -1 is the last."""
        self.cursor = row if row >= 0 else len(self._rows) - 1

    def action_mark(self) -> None:
        """Mark the song or take the mark off, and go on to the next."""
        if self.current is not None:
            self.current.marked = not self.current.marked
            self._refresh_row(self.cursor)
            self.cursor += 1
            self.post_message(self.Marked())

    def action_mark_all(self) -> None:
        """Mark all songs shown, or none where all are."""
        marked = not all(v.marked for v in self._rows)
        for view in self._rows:
            view.marked = marked
        self.refresh()
        self.post_message(self.Marked())

    def action_details(self) -> None:
        """Ask for the details."""
        if self.current is not None:
            self.post_message(self.Opened(self.current))

    def action_skip_variant(self) -> None:
        """Ask which variant to leave out."""
        if self.current is not None:
            self.post_message(self.SkipWanted(self.current))

    def action_next_sort(self) -> None:
        """Sort by the next criterion."""
        names = list(_SORTS)
        self.sort_name = names[(names.index(self.sort_name) + 1) % len(names)]
        self.rebuild()
        self.notify(f"Sorted by {self.sort_name}", timeout=2)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked song; a second click opens it."""
        row = event.y - _HEADER_LINES + round(self.scroll_y)
        if event.y >= _HEADER_LINES and 0 <= row < len(self._rows):
            if row == self.cursor and event.chain == 2:
                self.action_details()
            self.cursor = row

    # --- painting ----------------------------------------------------------------------------------------

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """(name, cells) of the columns that fit; the name takes what is left."""
        variants = self._library.final if self._library is not None else []
        facts: list[tuple[str, int]] = []
        if width >= 56:
            facts = [("length", 7), ("cutoff", 7), ("lost", 6)]
        if width >= 74:
            facts.insert(1, ("source", 9 if width < 100 else 18 if width < 130 else 26))
        after = [("done", 7)] if width >= 130 else []

        def left() -> int:
            return width - 2 - sum(cells for _, cells in (*facts, *after)) - 5 * len(variants)

        for name in ("done", "source", "length", "cutoff", "lost"):  # many variants: the name comes first
            if left() < _NAME:
                facts, after = ([c for c in columns if c[0] != name] for columns in (facts, after))
        return [("mark", 2), ("song", max(8, left())), *facts, *((t.id, 5) for t in variants), *after]

    def render_line(self, y: int) -> Strip:
        """One line of the table."""
        width = self.size.width
        if y < _HEADER_LINES:
            return self._header(width)
        row = y - _HEADER_LINES + round(self.scroll_y)
        if row >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        return self._row(self._rows[row], row == self.cursor, width)

    def _header(self, width: int) -> Strip:
        style = self.get_component_rich_style("song-table--header")
        segments = []
        sorted_column, falling = _SORTED_COLUMNS[self.sort_name]
        columns = self._columns(width)
        if sorted_column not in (name for name, _ in columns):  # there is no room for it: the sign stands by the name
            sorted_column = "song"
        for name, cells in columns:
            text = {"mark": "", "song": "Song"}.get(name, name.split("_")[0])
            if name == sorted_column:
                text += "▾" if falling else "▴"
            right = name in ("length", "cutoff", "done")
            segments.append(Segment(fit(text, cells - 1, right=right) + " ", style))
        return Strip(segments).adjust_cell_length(width, style)

    def _row(self, view: SongView, is_cursor: bool, width: int) -> Strip:
        base = self.rich_style
        if is_cursor:
            base = base + self.get_component_rich_style("song-table--cursor", partial=not self.has_focus)
        elif view.marked:
            base = base + self.get_component_rich_style("song-table--marked")
        segments = []
        for name, cells in self._columns(width):
            text, kind = self._cell(view, name)
            style = base
            if kind and not (is_cursor and self.has_focus):
                style = base + Style(color=self.get_component_rich_style(f"song-table--{kind}").color)
            right = name in ("length", "cutoff", "done")
            cell = fit(text, cells - 1, right=right, keep_end=name == "song")
            segments.append(Segment(cell + " ", style))
        return Strip(segments).adjust_cell_length(width, base)

    def _cell(self, view: SongView, name: str) -> tuple[str, str]:
        """(text, kind of colour) of a cell."""
        if name in view.tasks:
            task = view.tasks[name]
            if task.state == "working":
                return f"{task.fraction:3.0%}"[-4:], "working"
            kinds = {"done": "done", "failed": "failed", "stale": "stale", "queued": "working"}
            glyph = GLYPHS[task.state]
            if view.favourite == name and task.state == "done":
                glyph = "☆" if view.is_proposed else "★"
            if task.state == "done" and task.ruined:
                return f" {glyph}{RUINED}", "failed"
            return f" {glyph}", kinds.get(task.state, "dim")
        match name:
            case "mark":
                return ("▌" if view.marked else " "), "working"
            case "song":
                return view.name, "failed" if view.failed else ""
            case "done":
                return f"{view.progress:.0%}", "dim"
            case "length":
                return "" if view.duration is None else length_cell(view.duration), "dim"
            case "source":
                return _source(view, with_encoder=self.size.width >= 100), "dim"
            case "cutoff":
                return "" if view.cutoff is None else f"{view.cutoff / 1000:.1f}k" if view.cutoff else "full", "dim"
            case _:
                return "" if view.damage is None else f" {_DAMAGE[view.damage]}", "damage"


def length_cell(seconds: float) -> str:
    """A length in the six cells that there are for it: ``59:59``, and from an hour on ``7h59m``."""
    minutes = round(seconds) // 60
    return duration(seconds) if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def _bitrate(view: SongView) -> int:
    return (view.facts.bitrate or 0) if view.facts is not None else 0


def _source(view: SongView, *, with_encoder: bool) -> str:
    facts = view.facts
    if facts is None:
        return ""
    if facts.problem:
        return "unreadable" if with_encoder else "broken"
    kind = "VBR" if facts.vbr else "CBR"
    if view.analysis is not None and view.analysis.mpeg is not None:
        kind = view.analysis.mpeg.bitrate_mode  # tells ABR from VBR, too
    mode = "" if facts.bitrate is None else f"{facts.bitrate / 1000:.0f} {kind}"
    encoder = facts.encoder if with_encoder else ""
    return printable(" ".join(filter(None, (mode or facts.kind, encoder))))
