"""Small questions on top of a screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DirectoryTree, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from engine.library.scan import SUFFIXES
from engine.text import printable, short_path


class Choice(ModalScreen[str | None]):
    """A question with a few answers, to be chosen by number or arrow; gives the answer's key, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, answers: dict[str, str]) -> None:
        super().__init__()
        self._question, self._answers = question, answers

    def compose(self) -> ComposeResult:
        """Question above, answers below."""
        with Vertical(classes="dialog"):
            yield Static(Text(self._question), classes="question")
            lines = [Text.assemble((f" {n}  ", "bold"), text) for n, text in enumerate(self._answers.values(), 1)]
            yield OptionList(*(Option(line, id=key) for key, line in zip(self._answers, lines, strict=True)))

    def on_key(self, event: events.Key) -> None:
        """An answer's number."""
        keys = list(self._answers)
        if event.character and event.character.isdigit() and 0 < int(event.character) <= len(keys):
            event.stop()
            self.dismiss(keys[int(event.character) - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """The answer under the cursor."""
        self.dismiss(event.option.id)


class TextDialog(ModalScreen[str | None]):
    """One line of text; gives it, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, text: str = "") -> None:
        super().__init__()
        self._question, self._value = question, text

    def compose(self) -> ComposeResult:
        """Question above, text below."""
        with Vertical(classes="dialog"):
            yield Static(Text(self._question), classes="question")
            yield Input(self._value, id="text", select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The text."""
        self.dismiss(event.value)


class _MusicTree(DirectoryTree):
    """Folders, and the files that are songs."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out what is hidden and what is no song."""
        return [p for p in paths if not p.name.startswith(".") and (p.is_dir() or p.suffix.lower() in SUFFIXES)]


class OpenDialog(ModalScreen[str | None]):
    """Choose a folder or a song: type or drop a path, pick a recent one, or walk the tree."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+o", "here", "Open the folder under the cursor"),
    ]

    def __init__(self, recent: list[str]) -> None:
        super().__init__()
        self._recent = recent

    def compose(self) -> ComposeResult:
        """Path, recent ones, tree."""
        with Vertical(classes="dialog wide"):
            yield Label("Open a folder or a song", classes="title")
            yield Input(placeholder="Type, paste or drop a path here, then Enter", id="path")
            if self._recent:
                yield OptionList(*(Option(Text(f"↺ {short_path(Path(p))}")) for p in self._recent[:5]), id="recent")
            yield _MusicTree(Path.home(), id="tree")
            yield Label(
                "Enter opens what is typed, a recent folder or a song; Ctrl+O the folder in the tree", classes="hint"
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """What is typed or dropped; terminals put quotes around dropped paths."""
        text = event.value.strip()
        for quote in ("'", '"'):
            if len(text) > 1 and text[0] == text[-1] == quote:
                text = text[1:-1]
        if text.startswith("file://"):
            from urllib.parse import unquote, urlparse

            text = unquote(urlparse(text).path)
        if not text:
            return
        path = Path(text).expanduser()
        if not path.exists() and Path(text.replace("\\ ", " ")).exists():
            path = Path(text.replace("\\ ", " "))
        if path.exists():
            self.dismiss(str(path))
        else:
            self.notify(f"{printable(text)} does not exist.", severity="error", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A recent folder."""
        self.dismiss(self._recent[event.option_index])

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        """A song."""
        self.dismiss(str(event.path))

    def action_here(self) -> None:
        """The folder under the tree's cursor."""
        node = self.query_one("#tree", DirectoryTree).cursor_node
        if node is not None and node.data is not None:
            self.dismiss(str(node.data.path))
