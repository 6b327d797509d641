"""What can be done, from the bindings themselves: the command palette, and the keys on the help page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import Screen
from textual.theme import ThemeProvider

from tui.model import GLYPHS, MEANINGS, RUINED
from tui.screens.blind import BlindScreen
from tui.screens.choose import ChooseScreen
from tui.screens.library import LibraryScreen
from tui.screens.listen import ListenScreen
from tui.screens.mixer import MixerScreen
from tui.screens.pages import ModelsPage, Page
from tui.screens.recipe import RecipeScreen
from tui.theming import load_themes
from tui.widgets.key_line import KeyLine
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist

Group = tuple[str, list[tuple[str, str]]]  # a place, and its keys with what they do
_SIGNS = {
    "slash": "/", "question_mark": "?", "asterisk": "*", "left_square_bracket": "[", "full_stop": ".",
    "right_square_bracket": "]", "left_curly_bracket": "{", "right_curly_bracket": "}", "minus": "-", "plus": "+",
    "equals_sign": "=", "comma": ",", "left": "←", "right": "→", "shift+left": "⇧←", "shift+right": "⇧→",
    "up": "↑", "down": "↓", "shift+up": "⇧↑", "shift+down": "⇧↓", "less_than_sign": "<", "greater_than_sign": ">",
    "semicolon": ";", "colon": ":", "ctrl+left": "^←", "ctrl+right": "^→",
}  # fmt: skip


def help_groups(current: Screen[Any], everywhere: Sequence[BindingType]) -> list[Group]:
    """The keys by place, those of the ``current`` screen first; ``everywhere`` are the app's own."""
    places: list[tuple[type[Any], list[tuple[str, Sequence[BindingType]]]]] = [
        (LibraryScreen, [("Library", LibraryScreen.BINDINGS), ("Song table", SongTable.BINDINGS),
                         ("Stage checklist", StageChecklist.BINDINGS)]),
        (ListenScreen, [("Listen", ListenScreen.BINDINGS)]),
        (MixerScreen, [("Mixer", MixerScreen.BINDINGS)]),
        (BlindScreen, [("Blind test", BlindScreen.BINDINGS)]),
        (ChooseScreen, [("Choose for the rest", ChooseScreen.BINDINGS)]),
        (RecipeScreen, [("Recipe", RecipeScreen.BINDINGS)]),
        (ModelsPage, [("Models", ModelsPage.BINDINGS)]),
        (Page, [("Pages", Page.BINDINGS)]),
    ]  # fmt: skip
    here = next((place for place in places if isinstance(current, place[0])), places[0])
    ordered = [*here[1], ("Everywhere", everywhere)]
    ordered += [group for place in places if place is not here for group in place[1]]
    groups = [(title, _keys(bindings)) for title, bindings in ordered]
    next(keys for title, keys in groups if title == "Everywhere").append(
        ("ctrl+p", "All of it by name, themes and recipes too")
    )
    more = {
        "stale": ": made with other settings or from another file, to be made again",
        "pruned": ": given up to make room; f makes it anew",
    }
    signs = [(glyph, MEANINGS[state] + more.get(state, "")) for state, glyph in GLYPHS.items()]
    signs.append((RUINED, "beside a variant: it lost much of what the song has; the details say what"))
    signs.append(("★ ☆", "your favourite; one that was chosen for you, from what you chose of other songs"))
    signs.append(("▁ ▂ ▄ ▆ █", "how much was lost: next to nothing, up to nearly all of the top"))
    after = next(place for place, (title, _) in enumerate(groups, 1) if title == "Stage checklist")
    return [*groups[:after], ("Signs in the table", signs), *groups[after:]]


def _keys(bindings: Sequence[BindingType]) -> list[tuple[str, str]]:
    shown = []
    for binding in bindings:
        if isinstance(binding, Binding) and binding.description:
            keys = [_SIGNS.get(k, k) for k in (binding.key_display or binding.key).split(",")]
            shown.append((", ".join(keys), binding.description))
    return shown


def palette(app: App[Any], home: LibraryScreen) -> Iterator[SystemCommand]:
    """Every action of the library and of the app, as a command."""
    for owner in (home, app):
        for binding in owner.BINDINGS:
            if not isinstance(binding, Binding) or not binding.description or binding.priority:
                continue
            if binding.action != "suspend_process":
                key = binding.key.split(",")[0]
                yield SystemCommand(binding.description, f"key {_SIGNS.get(key, key)}", _caller(owner, binding.action))


class Palette(CommandPalette):
    """The command palette, with the only key that works while it is open."""

    def compose(self) -> ComposeResult:
        """The palette, and its key over those of the screen beneath."""
        yield from super().compose()
        yield KeyLine()


class OwnThemesFirst(ThemeProvider):
    """The list of themes: those of the program and the user's, then those that Textual brings along."""

    @property
    def commands(self) -> list[tuple[str, Callable[[], None]]]:
        """(name, what takes it) of every theme."""
        own = {theme.name: place for place, theme in enumerate(load_themes()[0])}
        return sorted(super().commands, key=lambda command: (own.get(command[0], len(own)), command[0]))


def _caller(owner: Any, action: str) -> Callable[[], Any]:
    call: Callable[[], Any] = getattr(owner, f"action_{action}")
    return call
