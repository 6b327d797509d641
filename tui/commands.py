"""What can be done, from the bindings themselves: the command palette, and the keys on the help page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType

from tui.screens.blind import BlindScreen
from tui.screens.library import LibraryScreen
from tui.screens.listen import ListenScreen
from tui.screens.recipe import RecipeScreen
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist

Group = tuple[str, list[tuple[str, str]]]  # a place, and its keys with what they do
_SIGNS = {
    "slash": "/", "question_mark": "?", "asterisk": "*", "left_square_bracket": "[", "full_stop": ".",
    "right_square_bracket": "]", "left_curly_bracket": "{", "right_curly_bracket": "}", "minus": "-", "plus": "+",
    "equals_sign": "=", "comma": ",", "left": "←", "right": "→", "shift+left": "⇧←", "shift+right": "⇧→",
}  # fmt: skip


def help_groups(everywhere: Sequence[BindingType]) -> list[Group]:
    """The keys by place; ``everywhere`` are the app's own."""
    places: list[tuple[str, Sequence[BindingType]]] = [
        ("Everywhere", everywhere), ("Library", LibraryScreen.BINDINGS), ("Song table", SongTable.BINDINGS),
        ("Stage checklist", StageChecklist.BINDINGS), ("Recipe", RecipeScreen.BINDINGS),
        ("Listen", ListenScreen.BINDINGS), ("Blind test", BlindScreen.BINDINGS),
    ]  # fmt: skip
    return [(title, _keys(bindings)) for title, bindings in places]


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
            if isinstance(binding, Binding) and binding.action != "suspend_process" and not binding.priority:
                key = binding.key.split(",")[0]
                yield SystemCommand(binding.description, f"key {_SIGNS.get(key, key)}", _caller(owner, binding.action))


def _caller(owner: Any, action: str) -> Callable[[], Any]:
    call: Callable[[], Any] = getattr(owner, f"action_{action}")
    return call
