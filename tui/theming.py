"""Themes from TOML files: those that come with the program, and the user's own."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import explain_os_error
from engine.files import read_text
from engine.text import printable
from tui.settings import config_folder

_FIELDS = {f.name: f for f in dataclasses.fields(Theme)}
_MAX_BYTES = 1 << 20  # of a theme's file
_TOO_MUCH = "it is nested too deeply, or a number in it is too large."
_NO_COLORS = ("name", "dark", "ansi", "luminosity_spread", "text_alpha", "variables")


def load_themes() -> tuple[list[Theme], list[str]]:
    """All themes, the user's last (so that they win), and one sentence for each file that is wrong."""
    themes: list[Theme] = []
    problems: list[str] = []
    for name, read in _files():
        try:
            themes.append(parse_theme(read(), Path(name).stem))
        except OSError as error:
            problems.append(f"The theme {printable(name)} was left out: {explain_os_error(error, 'its file')}")
        except ValueError as error:
            problems.append(f"The theme {printable(name)} was left out: {error}")
    return themes, problems


def _files() -> Iterator[tuple[str, Callable[[], str]]]:
    """What each theme's file is called, and its reader."""
    for item in sorted(resources.files("themes").iterdir(), key=lambda f: f.name):
        if item.name.endswith(".toml"):
            yield item.name, partial(item.read_text, "utf-8")
    folder = config_folder() / "themes"
    if folder.is_dir():
        for path in sorted(folder.glob("*.toml")):
            yield str(path), partial(read_text, path, _MAX_BYTES)


def parse_theme(text: str, name: str) -> Theme:
    """A theme from its TOML text: the fields of Textual's Theme, and a table ``variables``.

    Raises:
        ValueError: something is wrong; the message says what.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not valid TOML ({error}).") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(_TOO_MUCH) from error
    try:
        return _theme(data, name)
    except (RecursionError, OverflowError) as error:
        raise ValueError(_TOO_MUCH) from error


def _theme(data: dict[str, Any], name: str) -> Theme:
    data = {"name": name, **data}
    for key, value in data.items():
        if key not in _FIELDS:
            raise ValueError(f"there is no setting '{key}'.")
        if key not in _NO_COLORS:
            _check_color(key, value)
    if not isinstance(data.get("primary"), str):
        raise ValueError("it needs at least 'primary', a colour.")
    if not isinstance(data.get("variables", {}), dict):
        raise ValueError("'variables' must be a table.")
    for key, value in data.get("variables", {}).items():
        if not isinstance(value, str):
            raise ValueError(f"the variable '{key}' must be a text.")
    try:
        theme = Theme(**data)
        theme.to_color_system().generate()
    except Exception as error:
        raise ValueError(f"{error}.") from error
    return theme


def _check_color(key: str, value: object) -> None:
    try:
        Color.parse(str(value))
    except ColorParseError as error:
        raise ValueError(f"'{key}' is no colour: {value!r:.40}.") from error
