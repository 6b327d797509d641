"""What people write by hand: recipes and themes."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from random import Random

from engine.errors import RestoreError
from engine.planning import plan, recipes
from tests.hostile.kinds import home, kind, shown
from tests.hostile.texts import text
from tui.theming import load_themes, parse_theme, text_styles

# --- what is written by hand ----------------------------------------------------------------------------------


_TOML_BITS = (
    "[", "]", "[[", '"', "'", '"""', "=", ".", ",", "{", "}", "#", "\n", "inf", "nan", "-0", "1e999", "9" * 5000, "0x" + "f" * 400,
    "1979-05-27T07:32:00Z", "true", "\\u0000", "\\U00110000", "[" * 300, "{a=" * 300, "stage", "each", "chain", "from", "separate",
)  # fmt: skip


def _worse(draw: Random, whole: str) -> str:
    """A text with pieces of it left out, doubled, moved, or others put in."""
    found = whole
    for _ in range(draw.choice((1, 2, 4, 10))):
        at, length = draw.randrange(len(found) + 1), draw.choice((1, 3, 20, 200))
        match draw.randrange(5):
            case 0:
                found = found[:at] + found[at + length :]
            case 1:
                found = found[:at] + found[at : at + length] * draw.choice((2, 2, 60)) + found[at + length :]
            case 2:
                other = draw.randrange(len(found) + 1)
                found = found[:at] + found[other : other + length] + found[at:]
            case _:
                found = found[:at] + (draw.choice(_TOML_BITS) if draw.random() < 0.6 else text(draw, 2)) + found[at:]
    return found


def _file_of(folder: Path, name: str, whole: str) -> Path:
    path = folder / name
    path.write_bytes(whole.encode("utf-8", "surrogateescape" if "\ud800" not in whole else "surrogatepass"))
    return path


@cache
def _recipes() -> tuple[str, ...]:
    folder = resources.files("engine.planning.recipes")
    return tuple(item.read_text("utf-8") for item in folder.iterdir() if item.name.endswith(".toml"))


@kind(1200)
def recipes_toml(draw: Random, folder: Path) -> str:
    """Recipes, planned where they can be read."""
    home()
    path = _file_of(folder, f"{draw.choice(('r', '[red]', text(draw, 1).replace('/', '').replace(chr(0), '')[:40].encode('utf-8', 'replace').decode()))}.toml",
                    _worse(draw, draw.choice(_recipes())))  # fmt: skip
    try:
        recipe = recipes.load(str(path))
        tasks = plan.build(recipe, (), lambda: "cpu", frozenset())
        said = [
            text for task in tasks for text in (task.id, task.title, task.impossible, *task.left_out, task.described())
        ]
        recipes.parse(recipes.dump(recipe), "again", "again")
    except RestoreError as error:
        said = [str(error)]
    return shown(*said)


@cache
def _themes() -> tuple[str, ...]:
    return tuple(item.read_text("utf-8") for item in resources.files("themes").iterdir() if item.name.endswith(".toml"))


@kind(600)
def themes_toml(draw: Random, folder: Path) -> str:
    """Themes, with the colours that all widgets need."""
    themes_folder = home() / "mp3restore" / "themes"
    themes_folder.mkdir(parents=True, exist_ok=True)
    whole = _worse(draw, draw.choice(_themes()))
    path = _file_of(themes_folder, "mine.toml", whole)
    try:
        themes, problems = load_themes()
        try:
            theme = parse_theme(path.read_text("utf-8"), "mine")
        except ValueError:
            pass
        else:
            text_styles(theme, theme.to_color_system().generate())
        return shown(*problems) or ("" if themes else "no theme is left")
    finally:
        path.unlink()
