"""Text from outside (file names, tags, arguments) is hostile until it has passed through here."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from pathlib import Path

from rich.cells import cell_len, set_cell_size

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes a text for that begins so
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """``text`` with everything a terminal or a reader could be fooled by made visible.

    Control characters, lone surrogates (undecodable bytes of a file name), bidi controls and line
    separators become ``\\xNN``/``\\uNNNN``; all else, including combining marks and emoji, stays.
    """
    if text.isprintable():  # nearly all are; it knows of all of these, and of more
        return text
    return "".join(_escape(c) if _is_unsafe(c) else c for c in text)


def _is_unsafe(c: str) -> bool:
    return c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")


def _escape(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def spreadsheet_cell(text: str) -> str:
    """``text`` as a cell of a CSV file that no spreadsheet takes for a formula, and no terminal for an order."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def short_path(path: Path) -> str:
    """The path as shown: safe to print, and with ``~`` for the user's own folder."""
    with suppress(ValueError, RuntimeError):
        return printable(str("~" / path.relative_to(Path.home())))
    return printable(str(path))


def strip_ansi(argument: str) -> str:
    """``argument`` without ANSI escape sequences (some launchers pass colour codes on as arguments)."""
    return _ANSI.sub("", argument)


def duration(seconds: float) -> str:
    """``3:07`` or ``2:05:09``; ``--:--`` where unknown (negative or not finite)."""
    if not 0 <= seconds < 1e7:
        return "--:--"
    total = round(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def fit(text: str, width: int, *, right: bool = False, keep_end: bool = False) -> str:
    """``text`` in exactly ``width`` terminal cells (日 takes two), with … where it was cut: its end or middle."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        if not keep_end:
            return set_cell_size(text, width - 1) + "…"
        head = set_cell_size(text, (width - 1) // 3).rstrip()  # the end tells more: a title after its folders
        tail = text
        while cell_len(tail) > width - 1 - cell_len(head):
            tail = tail[1:]
        return fit(f"{head}…{tail}", width)
    padding = " " * (width - length)
    return padding + text if right else text + padding


def took(seconds: float) -> str:
    """How long something took: ``0.4 s``, and from ten seconds on ``1:07``."""
    return f"{seconds:.1f} s" if 0 <= seconds < 9.95 else duration(seconds)


def counted(count: int, thing: str) -> str:
    """``1 song``, ``2 songs``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def size(count: float) -> str:
    """Bytes in binary-free everyday units: ``12 MB``, ``1.4 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB" if count < 999.95 else f"{count / 1000:.1f} TB"
