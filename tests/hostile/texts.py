"""Hostile texts, and what of a text must never reach a screen."""

from __future__ import annotations

import os
import unicodedata
from random import Random

_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
BITS = (
    "\x1b[2J", "\x1b]0;owned\x07", "\x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\", "\x9b31m", "\x1bP1;1|x\x1b\\", "\x07", "\x08\x08",
    "\r", "\n", "\t", "\0", "\x7f", "\x85", "[red]", "[/]", "[/red]", "[bold", "[@click=app.quit]x[/]", "[link=x]", "\\[", "\\",
    "{0}", "%s", "%n", "$var", "$(touch owned)", "`id`", "; rm x", "<script>alert(1)</script>", "</script>", "<!--", "]]>",
    "&amp;", "' onload='x", '"', "=1+1", "@SUM(1)", "+1", "-1", "\u202e3pm.exe", "\u2066", "\u200f", "\u2028", "\u2029", "\ufeff",
    "\u200b", "\U000e0041", "\ud800", "\udcff", "\udc80\udcfe", "e\u0301", "Z" + "\u0300" * 60, "日本語", "👩‍👩‍👧‍👦", "é", "ﷺ",
    "..", "../..", "/etc/passwd", "C:\\x", "CON", "NUL.txt", "con.mp3", "COM1", "LPT¹", "a.", "a ", " ", ".", "~", "~root", "-rf",
    "--out", "|", "?", "*", ":", "@DATA@", "@SCRIPT@", "x" * 300, "日" * 120, "A" * 5000,
)  # fmt: skip


def text(draw: Random, most: int = 5) -> str:
    """Some of the bits in a row, with harmless letters between them."""
    return "".join(draw.choice(BITS) + draw.choice(("", "a", " b ")) for _ in range(draw.randint(1, most)))


def unsafe(shown: str, allowed: str = "\n") -> str:
    """The first character of ``shown`` that could fool a terminal or its reader; empty where there is none."""
    for c in shown:
        if c not in allowed and (c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")):
            return repr(c)
    return ""


def file_name(draw: Random, suffix: str) -> str:
    """A name that this file system takes, as Python has it."""
    stem = text(draw, 4).replace("\ud800", "").encode("utf-8", "surrogateescape").lstrip(b".")
    return os.fsdecode((stem.replace(b"/", b"_").replace(b"\0", b"_")[: 255 - len(suffix)] or b"x") + suffix.encode())
