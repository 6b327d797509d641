"""Choosing what to open: a path with completion, recent folders, a tree."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.suggester import Suggester
from textual.widgets import DirectoryTree, Input, Label, OptionList
from textual.widgets.option_list import Option

from engine.library.scan import SUFFIXES
from engine.text import fit, printable, short_path
from tui.dropped import dropped_paths
from tui.screens.dialogs import Answers, Dialog

_WIDTH, _FRAME = 90, 12  # cells of the dialog (as in app.tcss), and of what is around a path in it


class _MusicTree(DirectoryTree):
    """Folders, and the files that are songs."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out what is hidden and what is no song."""
        return [p for p in paths if not p.name.startswith(".") and (p.is_dir() or p.suffix.lower() in SUFFIXES)]


class _Completion(Suggester):
    """Goes on with a path as it is typed: folders, and files that are songs."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """``value`` with the rest of the name that it begins; looked up on a thread: the disk may be far away."""
        return await asyncio.to_thread(complete, value)


def complete(typed: str) -> str | None:
    """The path that ``typed`` begins, as it was typed (``~`` stays); None where there is none, or nothing typed.

    A folder ends with a separator, so that what lies in it can be typed at once. Where the case was not minded,
    the name is found all the same.
    """
    folder, begun = os.path.split(typed)
    if not folder:
        return None
    try:
        with os.scandir(Path(folder).expanduser()) as entries:
            names = [e.name + (os.sep if e.is_dir() else "") for e in entries if _is_offered(e, begun)]
    except (OSError, ValueError, RuntimeError):  # RuntimeError: ~ of nobody
        return None
    names.sort(key=lambda name: (not name.startswith(begun), not name.endswith(os.sep), name.casefold()))
    if not names or printable(names[0]) != names[0]:
        return None
    return typed[: len(typed) - len(begun)] + names[0]


def _is_offered(entry: os.DirEntry[str], begun: str) -> bool:
    hidden = entry.name.startswith(".") and not begun.startswith(".")
    fits = entry.name.casefold().startswith(begun.casefold())
    return fits and not hidden and (entry.is_dir() or Path(entry.name).suffix.lower() in SUFFIXES)


class _PathInput(Input):
    """Tab (or →) takes what is suggested; with nothing suggested it goes on to the next part of the dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", priority=True),
        Binding("enter", "submit", "Open"),
    ]

    def action_complete(self) -> None:
        """Take the suggestion, or leave the field."""
        if self._suggestion and self._suggestion != self.value:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()


class OpenDialog(Dialog[list[str] | None]):
    """Choose folders or songs: type or drop paths, pick a recent one, or walk the tree."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+o", "here", "Open the folder in the tree"),
    ]

    def __init__(self, recent: list[str]) -> None:
        super().__init__()
        self._recent = recent

    def content(self) -> ComposeResult:
        """Path, recent ones, tree."""
        yield Label("Open a folder or a song", classes="title")
        yield _PathInput(placeholder="Type, paste or drop a path here, then Enter", id="path", suggester=_Completion())
        if self._recent:
            room = min(_WIDTH, self.app.size.width * 95 // 100) - _FRAME
            shown = [fit(short_path(Path(p)), room, keep_end=True).rstrip() for p in self._recent[:5]]
            yield Answers(*(Option(Text(f"↺ {path}")) for path in shown), id="recent")
        yield _MusicTree(Path.home(), id="tree")
        yield Label("Tab goes from the path to recent folders and to the tree.", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """What is typed or dropped."""
        paths = dropped_paths(event.value)
        missing = [path for path in paths if not Path(path).exists()]
        if missing:
            self.notify(f"{printable(missing[0])} does not exist.", severity="error", markup=False)
        elif paths:
            self.dismiss(paths)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A recent folder."""
        self.dismiss([self._recent[event.option_index]])

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        """A song."""
        self.dismiss([str(event.path)])

    def action_here(self) -> None:
        """The folder under the tree's cursor."""
        node = self.query_one("#tree", DirectoryTree).cursor_node
        if node is not None and node.data is not None:
            self.dismiss([str(node.data.path)])
