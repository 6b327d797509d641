"""Real pixels, where the terminal can show them (kitty's protocol, sixel): through the package textual-image.

The terminal has to be asked before Textual takes it over; everywhere else half blocks are drawn.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_image: Any = None


def ask_terminal() -> None:
    """Find out what the terminal can do. MP3RESTORE_PIXELS=0 keeps half blocks."""
    global _image  # noqa: PLW0603  (a property of the terminal, asked once)
    if os.environ.get("MP3RESTORE_PIXELS") == "0" or os.environ.get("NO_COLOR"):
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    try:
        from textual_image.renderable import Image, SixelImage, TGPImage

        if Image not in (SixelImage, TGPImage):
            return
        from textual_image.widget import Image as Widget

        _image = Widget
    except Exception:  # whatever a strange terminal answers: there are half blocks
        _image = None


def image_widget() -> Any:
    """The class of the widget that shows a PIL image, or None."""
    return _image
