"""Small questions on top of a screen."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.widgets.key_line import KeyLine

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """Something small on top of a screen. Its own keys cover those of the screen beneath, which do nothing now."""

    def compose(self) -> ComposeResult:
        """What is asked, and the keys."""
        with Vertical(classes="dialog -wide" if self.wide else "dialog"):
            yield from self.content()
        yield KeyLine()

    wide = False  # whether the box takes what room there is

    def content(self) -> ComposeResult:
        """What stands in the box."""
        raise NotImplementedError


_LONG = 60  # characters of an answer for which the box is made wide
_NUMBERED = 9  # answers that a digit chooses


class Answers(OptionList):
    """Lines to choose from, which say so in the line of keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Choose")]


class Choice(Dialog[str | None]):
    """A question with a few answers, to be chosen by number or arrow; gives the answer's key, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, answers: dict[str, str]) -> None:
        super().__init__()
        self._question, self._answers = question, answers
        self.wide = any(len(answer) > _LONG for answer in answers.values())

    def content(self) -> ComposeResult:
        """Question above, answers below."""
        yield Static(Text(self._question), classes="question")
        lines = [
            Text.assemble((f" {n if n <= _NUMBERED else ' '}  ", "bold"), text)
            for n, text in enumerate(self._answers.values(), 1)
        ]
        yield Answers(*(Option(line, id=key) for key, line in zip(self._answers, lines, strict=True)))

    def on_key(self, event: events.Key) -> None:
        """An answer's number."""
        keys = list(self._answers)[:_NUMBERED]
        if event.character and event.character.isdigit() and 0 < int(event.character) <= len(keys):
            event.stop()
            self.dismiss(keys[int(event.character) - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """The answer under the cursor."""
        self.dismiss(event.option.id)


class Field(Input):
    """A line to type into, which says in the line of keys that Enter takes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "OK")]


class TextDialog(Dialog[str | None]):
    """One line of text; gives it, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, text: str = "") -> None:
        super().__init__()
        self._question, self._value = question, text

    def content(self) -> ComposeResult:
        """Question above, text below."""
        yield Static(Text(self._question), classes="question")
        yield Field(self._value, id="text", select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The text."""
        self.dismiss(event.value)
