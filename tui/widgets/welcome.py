"""What an empty dashboard offers: open a folder, one of those that were open before, or a demo song."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Center, Vertical
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.text import fit, short_path

_WORDS = "mp3restore\n\nrebuilds plausible approximations of what MP3 threw away,\nand lets your ear decide\n"
_MOST_RECENT = 5
_ROOM = 50  # cells for a path, in the list that app.tcss gives 60


class Welcome(Vertical):
    """A few words and a list of what can be done; keys, arrows and the mouse choose from it."""

    class Chosen(Message):
        """The user wants an action of the app, or ``path`` to be opened."""

        def __init__(self, action: str = "", path: str = "") -> None:
            super().__init__()
            self.action, self.path = action, path

    def compose(self) -> ComposeResult:
        """Words above, choices below."""
        yield Static(Text(_WORDS, justify="center"), id="welcome-words")
        with Center():
            yield OptionList(id="choices")

    def show(self, recent: Sequence[str]) -> None:
        """Offer the folders that were open before; each has its number as a key."""
        self._choices = [self.Chosen("open"), *(self.Chosen(path=p) for p in recent[:_MOST_RECENT])]
        self._choices += [self.Chosen("demo"), self.Chosen("help")]
        lines = [("o", "open a folder of music")]
        lines += [(str(n), self._shown(p)) for n, p in enumerate(recent[:_MOST_RECENT], 1)]
        lines += [("n", "make a demo song and try it"), ("?", "help")]
        options = self.query_one(OptionList)
        options.clear_options()
        for key, words in lines:
            text = Text.assemble((f" {key}  ", "bold"), words, no_wrap=True, overflow="ellipsis")
            options.add_option(Option(text))
        options.highlighted = 0

    def _shown(self, path: str) -> str:
        """A folder as it fits: what it is called is at its end."""
        return fit(short_path(Path(path)), _ROOM, keep_end=True).rstrip()

    def choose_recent(self, number: int) -> None:
        """Open the recent folder with that number, where there is one."""
        chosen = [c for c in self._choices if c.path]
        if number <= len(chosen):
            self.post_message(chosen[number - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        event.stop()
        self.post_message(self._choices[event.option_index])
