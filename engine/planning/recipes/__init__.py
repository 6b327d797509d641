"""Recipes: which variants are made, by which stages, with which parameters. Loaded, checked and explained."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from engine.errors import UsageError, explain_os_error
from engine.models.runtime import device
from engine.stages import STAGES
from engine.stages.base import Params

FORMAT = 1
AUTO = "auto"  # whichever of the shipped ones fits the machine
DEFAULT = AUTO
_ROOMY = 10_000_000_000  # bytes of a GPU's memory from which on it has room for everything
_TOP_KEYS = ("format", "title", "description", "defaults", "variants")
_VARIANT_KEYS = ("chain", "from", "suffix", "enabled")


@dataclass(frozen=True)
class Step:
    """One stage of a chain with its parameters."""

    stage: str
    params: Params


@dataclass(frozen=True)
class Variant:
    """A named result. ``sources`` are the variants it may start from, best first; empty: from the song."""

    name: str
    chain: tuple[Step, ...]
    sources: tuple[str, ...]
    suffix: str
    enabled: bool


@dataclass(frozen=True)
class Recipe:
    """A set of variants, in the order of the file."""

    name: str
    title: str
    description: str
    variants: dict[str, Variant]


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
    raise UsageError(f"There is no recipe '{name}'{_hint(name, available())}; there are: {', '.join(available())}.")


def _fitting() -> str:
    """The recipe that fits this machine and the models that are here."""
    neural = [s for s in STAGES.values() if s.neural and not s.why_not_possible(s.Parameters())]
    if not neural:
        return "offline"
    memory = device.total_memory()
    if memory is None:
        return "cpu-overnight"
    return "gpu-best" if memory >= _ROOMY else "gpu-fast"


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the recipe {path}")) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8: save it as UTF-8.") from error


def parse(text: str, name: str, where: str) -> Recipe:
    """A recipe from its TOML text. ``where`` names it in error messages. Raises UsageError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.") from error
    try:
        return _recipe(data, name)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _recipe(data: dict[str, Any], name: str) -> Recipe:
    _known_keys(data, _TOP_KEYS, "the recipe")
    if data.get("format") != FORMAT:
        raise UsageError(f"format must be {FORMAT}; this program knows no other.")
    defaults = _table(data.get("defaults", {}), "defaults")
    for stage in defaults:
        _stage(stage, "defaults")
    tables = _table(data.get("variants", {}), "variants")
    if not tables:
        raise UsageError("it has no [variants.NAME] table, so there is nothing to make.")
    variants = {key: _variant(key, _table(value, f"variants.{key}"), defaults) for key, value in tables.items()}
    _check_sources(variants)
    return Recipe(name, str(data.get("title", name)), str(data.get("description", "")), variants)


def _variant(name: str, table: dict[str, Any], defaults: dict[str, Any]) -> Variant:
    where = f"variants.{name}"
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise UsageError(f"{where}: a variant's name is a folder: use only letters, digits, - and _.")
    _known_keys(table, _VARIANT_KEYS, where)
    chain = table.get("chain")
    if not isinstance(chain, list) or not chain:
        raise UsageError(f'{where}.chain must be a list of stages, such as ["decode", "restore"].')
    steps = tuple(_step(item, f"{where}.chain[{i}]", defaults) for i, item in enumerate(chain))
    sources = table.get("from", [])
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise UsageError(f"{where}.from must be the name of a variant, or a list of them, best first.")
    if bool(sources) == (steps[0].stage == "decode"):
        raise UsageError(f"{where}: a chain starts with decode, or else needs 'from' to say what it starts with.")
    if any(step.stage == "decode" for step in steps[1:]):
        raise UsageError(f"{where}: decode can only come first.")
    suffix = table.get("suffix", "." + name.split("_", 1)[-1])
    if not isinstance(suffix, str) or any(c in suffix for c in '/\\:*?"<>|\0') or len(suffix) > 24:
        raise UsageError(f"{where}.suffix must be a short text that can be part of a file name.")
    enabled = table.get("enabled", True)
    if not isinstance(enabled, bool):
        raise UsageError(f"{where}.enabled must be true or false.")
    return Variant(name, steps, tuple(sources), suffix, enabled)


def _step(item: object, where: str, defaults: dict[str, Any]) -> Step:
    if isinstance(item, str):
        item = {"stage": item}
    if not isinstance(item, dict) or not isinstance(item.get("stage"), str):
        raise UsageError(
            f'{where} must be a stage\'s name or a table such as {{ stage = "lowpass", margin_hz = 500 }}.'
        )
    stage = _stage(item["stage"], where)
    given = {
        **_table(defaults.get(stage, {}), f"defaults.{stage}"),
        **{k: v for k, v in item.items() if k != "stage"},
    }
    kind = STAGES[stage].Parameters
    _known_keys(given, [f.name for f in dataclasses.fields(kind)], f"{where} ({stage})")
    try:
        return Step(stage, kind(**given))
    except UsageError as error:
        raise UsageError(f"{where} ({stage}): {error}") from error


def _stage(name: str, where: str) -> str:
    if name not in STAGES:
        raise UsageError(f"{where}: there is no stage '{name}'{_hint(name, STAGES)}; there are: {', '.join(STAGES)}.")
    return name


def _check_sources(variants: dict[str, Variant]) -> None:
    done: set[str] = set()
    for variant in variants.values():
        for source in variant.sources:
            if source not in variants:
                raise UsageError(
                    f"variants.{variant.name}.from: there is no variant '{source}'{_hint(source, variants)}."
                )
            if source not in done:
                raise UsageError(f"variants.{variant.name}.from: '{source}' must stand above it in the file.")
        done.add(variant.name)


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table.")
    return value


def _known_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"{where} has no setting '{key}'{_hint(key, known)}; the settings are: {names}.")


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def dump(recipe: Recipe) -> str:
    """The recipe as TOML text; :func:`parse` reads it back. Only what differs from the defaults is written."""
    lines = [f"format = {FORMAT}", f"title = {_quoted(recipe.title)}", f"description = {_quoted(recipe.description)}"]
    for variant in recipe.variants.values():
        lines += ["", f"[variants.{variant.name}]"]
        if variant.sources:
            lines.append(f"from = [{', '.join(_quoted(s) for s in variant.sources)}]")
        lines.append(f"chain = [{', '.join(_dump_step(step) for step in variant.chain)}]")
        lines.append(f"suffix = {_quoted(variant.suffix)}")
        if not variant.enabled:
            lines.append("enabled = false")
    return "\n".join(lines) + "\n"


def _dump_step(step: Step) -> str:
    changed = []
    for item in dataclasses.fields(step.params):
        value = getattr(step.params, item.name)
        if value != item.default:
            changed.append(f"{item.name} = {_value(value)}")
    name = _quoted(step.stage)
    return f"{{ stage = {name}, {', '.join(changed)} }}" if changed else name


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


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
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the recipe {path}")) from error
    return path
