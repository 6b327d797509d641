"""Recipes: which variants are made, by which stages, with which parameters. Here: where they lie, and which fits."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from platformdirs import user_config_path

from engine.errors import UsageError, explain_os_error
from engine.files import read_text, writing
from engine.models.runtime import device
from engine.planning.recipes.schema import Each, Recipe, Step, Variant, by_number
from engine.planning.recipes.toml_reader import hint, parse
from engine.planning.recipes.toml_writer import dump
from engine.stages import STAGES
from engine.text import printable

__all__ = [
    "AUTO", "DEFAULT", "Each", "Recipe", "Step", "Variant", "available", "by_number", "dump", "load", "parse", "save",
    "shipped", "user_folder",
]  # fmt: skip

AUTO = "auto"  # whichever of the shipped ones fits the machine
DEFAULT = AUTO
_ROOMY = 10_000_000_000  # bytes of a GPU's memory from which on it has room for everything
_MAX_BYTES = 1 << 20  # of a recipe's file


def shipped() -> list[str]:
    """Names of the recipes that come with the program."""
    folder = resources.files("engine.planning.recipes")
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml"))


def available() -> list[str]:
    """Names of all recipes, the user's own included."""
    own = [path.stem for path in user_folder().glob("*.toml")]
    return sorted({AUTO, *shipped(), *own})


def user_folder() -> Path:
    """Where the user's own recipes lie."""
    return user_config_path("mp3restore", appauthor=False) / "recipes"


def load(name: str) -> Recipe:
    """The recipe of that name (shipped, or in the user's folder) or in the TOML file at that path.

    Raises:
        UsageError: there is none, or it is wrong; the message says where and what to do.
    """
    if name == AUTO:
        name = _fitting()
    if name.endswith(".toml") or "/" in name or "\\" in name:
        path = Path(name).expanduser()
        return parse(_read(path), path.stem, str(path))
    own = user_folder() / f"{name}.toml"
    if own.is_file():
        return parse(_read(own), name, str(own))
    if name in shipped():
        text = resources.files("engine.planning.recipes").joinpath(f"{name}.toml").read_text("utf-8")
        return parse(text, name, f"recipe '{name}'")
    raise UsageError(f"There is no recipe '{name}'{hint(name, available())}; there are: {', '.join(available())}.")


def _fitting() -> str:
    """The recipe that fits this machine and the models that are here."""
    neural = [s for s in STAGES.values() if s.neural and not s.unavailable_reason(s.Parameters())]
    if not neural:
        return "offline"
    memory = device.total_memory()
    if memory is None:
        return "cpu-overnight"
    return "gpu-best" if memory >= _ROOMY else "gpu-fast"


def _read(path: Path) -> str:
    try:
        return read_text(path, _MAX_BYTES)
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the recipe {printable(str(path))}")) from error
    except ValueError as error:
        raise UsageError(f"{printable(str(path))} is not a recipe: {error}") from error


def save(recipe: Recipe, name: str) -> Path:
    """Write the recipe under ``name`` into the user's folder.

    Raises:
        UsageError: the name cannot be a file's, or the folder cannot be written to.
    """
    if not name or not all(c.isalnum() or c in "-_ " for c in name) or name != name.strip():
        raise UsageError("A recipe's name may hold letters, digits, spaces, - and _.")
    text = dump(recipe)
    parse(text, name, f"the recipe '{name}'")
    path = user_folder() / f"{name}.toml"
    try:
        with writing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the recipe {path}")) from error
    return path
