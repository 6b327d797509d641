"""Stems of what is heard: mute, solo, and the enhanced version of each."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import OptionList

from engine.player.player import Player
from tui.screens.dialogs import Choice
from tui.widgets.cells import fit


class StemsDialog(Choice):
    """Stems of what is heard: mute, solo, and the enhanced version of each."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m,space", "change('muted')", "Mute", priority=True),
        Binding("s", "change('solo')", "Solo"),
        Binding("e", "change('enhanced')", "Enhanced"),
    ]

    def __init__(self, player: Player) -> None:
        self._player = player
        question = "Stems: m mute, s solo, e enhanced or plain; Escape when done"
        super().__init__(question, {str(n): "" for n in range(len(player.stems))})

    def on_mount(self) -> None:
        """Paint."""
        self._paint()

    def _paint(self) -> None:
        options = self.query_one(OptionList)
        for place, stem in enumerate(self._player.stems):
            text = Text(no_wrap=True)
            text.append(f"{'M' if stem.muted else '·'} {'S' if stem.solo else '·'} ", "bold")
            text.append(fit(stem.name, 20))
            text.append("enhanced" if stem.enhanced else "plain" if stem.can_be_enhanced else "", "italic")
            options.replace_option_prompt_at_index(place, text)

    def action_change(self, what: str) -> None:
        """Turn something on or off for the stem under the cursor."""
        place = self.query_one(OptionList).highlighted
        if place is None:
            return
        stem = self._player.stems[place]
        if what != "enhanced" or stem.can_be_enhanced:
            setattr(stem, what, not getattr(stem, what))
            self._player.stems_changed()
            self._paint()

    def on_key(self, event: object) -> None:
        """Numbers choose nothing here."""

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter mutes."""
        event.stop()
        self.action_change("muted")
