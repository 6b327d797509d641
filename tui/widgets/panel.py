"""A panel of text that is painted often."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.widgets import Static


class Panel(Static):
    """Lays the screen out again only when the number of its lines changes: that costs more than painting it.

    Lines that are too long are cut; with ``wraps`` they go on below.
    """

    def __init__(self, *, wraps: bool = False, **options: Any) -> None:
        super().__init__("", **options)
        self._text = Text()
        self._wraps = wraps
        self.set_class(wraps, "-wraps")

    def on_mount(self) -> None:
        """Follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self.update(self._text, layout=False))

    def show_text(self, text: Text) -> None:
        """Show ``text`` where it differs from what is shown."""
        before = self._text
        if text == before and text.spans == before.spans:
            return
        self._text = text
        self.update(text, layout=self._wraps or text.plain.count("\n") != before.plain.count("\n"))
