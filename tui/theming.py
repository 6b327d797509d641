"""Themes from TOML files: those that come with the program, and the user's own."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from rich.style import Style
from rich.theme import Theme as TextStyles
from textual.color import Color, ColorParseError
from textual.css.errors import StylesheetError, UnresolvedVariableError
from textual.css.stylesheet import Stylesheet, StylesheetParseError
from textual.css.tokenizer import TokenError
from textual.theme import Theme
from textual.widget import Widget

from engine.errors import explain_os_error
from engine.files import read_text
from engine.text import printable
from tui.settings import config_folder

_FIELDS = {f.name: f for f in dataclasses.fields(Theme)}
DEFAULT = "ember"
#: What Textual's own rules need and a theme of the terminal's own colours does not have by itself.
#: ``more`` and ``less`` are the two ends of a difference: orange and blue, which every eye tells apart.
VARIABLES = {
    "ansi-background": "ansi_black", "ansi-foreground": "ansi_white", "more": "#e69f00", "less": "#56b4e9",
}  # fmt: skip
_TEXT_STYLES = ("primary", "accent", "success", "warning", "error", "faint")
_FAINT = 0.8  # how much of the ink is in what is less important: it stays legible on paper, too
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


def text_styles(theme: Theme, variables: dict[str, str]) -> TextStyles:
    """The styles that texts name (``primary``, ``faint`` …), in the theme's colours.

    Texts are kept and painted again and again: because they hold names, not colours, they follow the theme. With
    the terminal's own colours emphasis has to do: what these look like, nobody knows.
    """
    if theme.ansi:
        styles = {name: Style() for name in _TEXT_STYLES}
        return TextStyles({**styles, "error": Style(bold=True)})
    styles = {name: Style(color=Color.parse(variables[name]).rich_color) for name in _TEXT_STYLES if name != "faint"}
    ink, paper = Color.parse(variables["foreground"]), Color.parse(variables["background"])
    styles["faint"] = Style(color=paper.blend(ink, _FAINT).rich_color)
    return TextStyles(styles)


def why_unusable(theme: Theme, css: str) -> str:
    """Empty, or why the rules ``css`` and those of all widgets cannot be read with the theme's colours."""
    sheet = Stylesheet(variables={**VARIABLES, **theme.to_color_system().generate(), **theme.variables})
    sheet.add_source(css, read_from=("the dashboard", ""))
    for kind in _all_kinds(Widget):
        sheet.add_source(kind.DEFAULT_CSS, read_from=(kind.__name__, ""), is_default_css=True)
    try:
        sheet.parse()
    except StylesheetParseError as error:
        token = next(token for rule in error.errors.rules for token, _ in rule.errors)
        return f"{token.value!r} cannot be used in it"
    except (UnresolvedVariableError, StylesheetError, TokenError) as error:
        return str(error)
    return ""


def _all_kinds(kind: type[Widget]) -> set[type[Widget]]:
    return {kind}.union(*(_all_kinds(heir) for heir in kind.__subclasses__()))


def _check_color(key: str, value: object) -> None:
    try:
        Color.parse(str(value))
    except ColorParseError as error:
        raise ValueError(f"'{key}' is no colour: {value!r:.40}.") from error
