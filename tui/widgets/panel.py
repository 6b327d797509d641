"""A panel of text that is painted often."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class Panel(Static):
    """Lays the screen out again only when the number of its lines changes: that costs more than painting it."""

    wraps = False  # whether lines may be longer than the panel is wide

    def __init__(self, **options: str) -> None:
        super().__init__("", **options)  # type: ignore[arg-type]
        self._text = Text()

    def on_mount(self) -> None:
        """Follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self.update(self._text, layout=False))

    def show_text(self, text: Text) -> None:
        """Show ``text`` where it differs from what is shown."""
        before = self._text
        if text == before and text.spans == before.spans:
            return
        self._text = text
        self.update(text, layout=self.wraps or text.plain.count("\n") != before.plain.count("\n"))
