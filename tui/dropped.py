"""What terminals make of files that are dropped onto them: quotes, escapes or addresses around the paths."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from urllib.parse import unquote

_LOOKS_LIKE_A_PATH = re.compile(r"""(& )?['"]?(/|~|[A-Za-z]:[\\/]|\\\\|[Ff][Ii][Ll][Ee]:/)""")


def looks_dropped(text: str) -> bool:
    """Whether a text that was pasted where nothing is typed is meant as a path."""
    return _LOOKS_LIKE_A_PATH.match(text.strip()) is not None


def dropped_paths(
    text: str, *, windows: bool = os.name == "nt", exists: Callable[[str], bool] = os.path.exists
) -> list[str]:
    """The paths in a text that was dropped, pasted or typed; whatever ``exists`` as it stands is taken as it stands.

    Understood are quotes, a shell's backslashes, ``file:`` addresses with percent signs, PowerShell's ``&``, and
    several paths on one line or on several.
    """
    found: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found += _paths_in(line.removeprefix("& "), windows, exists)
    return found


def _paths_in(line: str, windows: bool, exists: Callable[[str], bool]) -> list[str]:
    one = _path(line, windows)
    if exists(one):
        return [one]
    several = [_path(word, windows) for word in _words(line, windows)]
    return several if several and all(exists(path) for path in several) else [_path(_unquoted(line), windows)]


def _words(line: str, windows: bool) -> list[str]:
    """As a shell would take the line apart."""
    if windows:
        return [_unquoted(word) for word in re.findall(r'"[^"]*"|\'[^\']*\'|\S+', line)]
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _path(text: str, windows: bool) -> str:
    """The path that a ``file:`` address means; other text as it is, with the user's folder for ``~``."""
    if not text.lower().startswith("file:/"):
        return os.path.expanduser(text)  # noqa: PTH111 - a Path would lose what a missing folder is called
    host, _, path = text[5:].removeprefix("//").partition("/") if text[5:7] == "//" else ("", "", text[6:])
    path = unquote(path, errors="surrogateescape")
    if not windows:
        return f"/{path}"
    if host and host.lower() != "localhost":
        return "\\\\" + host + "\\" + path.replace("/", "\\")
    return re.sub(r"^([A-Za-z])\|", r"\1:", path).replace("/", "\\")
