"""The line of keys at the bottom: what can be done now, the most important of it where room is short."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class KeyLine(Footer):
    """Leaves out keys that do not fit: first those that are not among ``first`` (actions, most important first)."""

    def __init__(self, *first: str) -> None:
        super().__init__()
        self._first = first

    def compose(self) -> ComposeResult:
        """The keys that fit, in their order."""
        keys = list(super().compose())
        kept: list[Widget] = []
        room = self.screen.size.width
        for key in sorted(keys, key=self._rank):
            room -= _cells(key)
            if room >= 0:
                kept.append(key)
            elif self._rank(key) >= len(self._first):
                break
        yield from (key for key in keys if key in kept)

    def _rank(self, key: Widget) -> int:
        """Where a key stands in importance; those of equal rank stay in order."""
        action = key.action.removeprefix("app.").partition("(")[0] if isinstance(key, FooterKey) else ""
        if key.has_class("-command-palette"):
            return len(self._first) + 1
        return self._first.index(action) if action in self._first else len(self._first)

    def on_resize(self) -> None:
        """Another width has room for other keys."""
        if self._bindings_ready:
            self.call_after_refresh(self.recompose)


def _cells(key: Widget) -> int:
    if not isinstance(key, FooterKey):
        return 0
    return len(key.key_display) + len(key.description) + 3 + key.has_class("-command-palette")
