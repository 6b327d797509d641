"""Themes from TOML files: those that come with the program, and the user's own."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path

from textual.color import Color, ColorParseError
from textual.theme import Theme

from tui.settings import config_folder

_FIELDS = {f.name: f for f in dataclasses.fields(Theme)}
_NO_COLORS = ("name", "dark", "ansi", "luminosity_spread", "text_alpha", "variables")


def load_themes() -> tuple[list[Theme], list[str]]:
    """All themes, the user's last (so that they win), and one sentence for each file that is wrong."""
    themes: list[Theme] = []
    problems: list[str] = []
    for name, text in _files():
        try:
            themes.append(parse_theme(text, Path(name).stem))
        except ValueError as error:
            problems.append(f"The theme {name} was left out: {error}")
    return themes, problems


def _files() -> list[tuple[str, str]]:
    shipped = resources.files("themes")
    found = [
        (f.name, f.read_text("utf-8"))
        for f in sorted(shipped.iterdir(), key=lambda f: f.name)
        if f.name.endswith(".toml")
    ]
    folder = config_folder() / "themes"
    if folder.is_dir():
        for path in sorted(folder.glob("*.toml")):
            try:
                found.append((str(path), path.read_text("utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                found.append((str(path), f"unreadable = {str(error)!r}"))
    return found


def parse_theme(text: str, name: str) -> Theme:
    """A theme from its TOML text: the fields of Textual's Theme, and a table ``variables``.

    Raises:
        ValueError: something is wrong; the message says what.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not valid TOML ({error}).") from error
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
        raise ValueError(f"'{key}' is no colour: {value!r}.") from error
