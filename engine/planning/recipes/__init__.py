"""Recipes: which variants are made, by which stages, with which parameters. Loaded, checked and explained."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from engine.errors import UsageError, explain_os_error
from engine.files import read_text, writing
from engine.library.layout import FORBIDDEN, is_device
from engine.models.runtime import device
from engine.signals import STEMS
from engine.stages import STAGES
from engine.stages.base import Params
from engine.text import printable

FORMAT = 1
AUTO = "auto"  # whichever of the shipped ones fits the machine
DEFAULT = AUTO
_ROOMY = 10_000_000_000  # bytes of a GPU's memory from which on it has room for everything
_TOP_KEYS = ("format", "title", "description", "defaults", "variants")
_MAX_BYTES = 1 << 20  # of a recipe's file
_SUFFIX_BYTES = 24
_SENTENCE = 300  # characters
_TOO_MUCH = "it is nested too deeply, or a number in it is too large."
_VARIANT_KEYS = ("chain", "from", "suffix", "enabled")


@dataclass(frozen=True)
class Step:
    """One stage of a chain with its parameters."""

    stage: str
    params: Params


@dataclass(frozen=True)
class Each:
    """A place in a chain where every stem goes its own way; those that are not named pass as they are."""

    stems: tuple[tuple[str, tuple[Step, ...]], ...]


@dataclass(frozen=True)
class Variant:
    """A named result. ``sources`` are the variants it may start from, best first; empty: from the song."""

    name: str
    chain: tuple[Step | Each, ...]
    sources: tuple[str, ...]
    suffix: str
    enabled: bool

    def steps(self) -> list[tuple[str, Step]]:
        """All steps in order, each with the stem that it is for (empty: for what comes before it)."""
        found: list[tuple[str, Step]] = []
        for item in self.chain:
            if isinstance(item, Step):
                found.append(("", item))
            else:
                found += [(stem, step) for stem, steps in item.stems for step in steps]
        return found

    def with_params(self, place: int, params: Params) -> Variant:
        """The same with other parameters at a place of :meth:`steps`."""
        numbers = iter(range(place + 1))

        def changed(step: Step) -> Step:
            return Step(step.stage, params) if next(numbers, -1) == place else step

        chain = tuple(
            changed(item) if isinstance(item, Step)
            else Each(tuple((stem, tuple(map(changed, steps))) for stem, steps in item.stems))
            for item in self.chain
        )  # fmt: skip
        return dataclasses.replace(self, chain=chain)

    def described(self) -> str:
        """The chain in words."""
        return " > ".join(_described(item) for item in self.chain)


def _described(item: Step | Each) -> str:
    if isinstance(item, Step):
        return item.stage
    return "[" + "; ".join(f"{stem}: {' > '.join(s.stage for s in steps)}" for stem, steps in item.stems) + "]"


def by_number(variant: str) -> tuple[int, str]:
    """What variants are sorted by wherever they are shown: the number that their names begin with."""
    number = variant.partition("_")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 10**9, variant


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


def parse(text: str, name: str, where: str) -> Recipe:
    """A recipe from its TOML text. ``where`` names it in error messages. Raises UsageError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {_TOO_MUCH}") from error
    try:
        return _recipe(data, name)
    except UsageError as error:
        raise UsageError(f"{where}: {_brief(str(error))}") from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise UsageError(f"{where}: {_TOO_MUCH}") from error


def _brief(text: str) -> str:
    """A sentence that quotes something endless, without its middle."""
    return text if len(text) <= _SENTENCE else f"{text[: _SENTENCE // 2]} … {text[-_SENTENCE // 2 :]}"


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
    if len({key.casefold() for key in variants}) < len(variants):
        raise UsageError("the names of two variants differ only in capitals; on many disks they are one folder.")
    _check_sources(variants)
    return Recipe(name, str(data.get("title", name)), str(data.get("description", "")), variants)


def _variant(name: str, table: dict[str, Any], defaults: dict[str, Any]) -> Variant:
    where = f"variants.{name}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) or is_device(name):
        raise UsageError(
            f"{where}: a variant's name is a folder: use only letters, digits, - and _ (not first), 64 at most, and "
            "no name that Windows keeps for devices, such as CON."
        )
    _known_keys(table, _VARIANT_KEYS, where)
    chain = table.get("chain")
    if not isinstance(chain, list) or not chain:
        raise UsageError(f'{where}.chain must be a list of stages, such as ["decode", "restore"].')
    steps = tuple(_item(item, f"{where}.chain[{i}]", defaults) for i, item in enumerate(chain))
    sources = table.get("from", [])
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise UsageError(f"{where}.from must be the name of a variant, or a list of them, best first.")
    if bool(sources) == _is_decode(steps[0]):
        raise UsageError(f"{where}: a chain starts with decode, or else needs 'from' to say what it starts with.")
    if any(map(_is_decode, steps[1:])):
        raise UsageError(f"{where}: decode can only come first.")
    suffix = table.get("suffix", "." + name.split("_", 1)[-1])
    if not isinstance(suffix, str) or not _can_be_in_a_name(suffix):
        raise UsageError(f"{where}.suffix must be a short text that can be part of a file name.")
    enabled = table.get("enabled", True)
    if not isinstance(enabled, bool):
        raise UsageError(f"{where}.enabled must be true or false.")
    return Variant(name, steps, tuple(sources), suffix, enabled)


def _is_decode(item: Step | Each) -> bool:
    return isinstance(item, Step) and item.stage == "decode"


def _item(item: object, where: str, defaults: dict[str, Any]) -> Step | Each:
    """A step, or a table ``{ each = { vocals = [...], drums = [...] } }``."""
    if not isinstance(item, dict) or "each" not in item:
        return _step(item, where, defaults)
    _known_keys(item, ("each",), where)
    stems = _table(item["each"], f"{where}.each")
    if not stems:
        raise UsageError(f'{where}.each must name at least one stem, such as {{ vocals = ["denoise"] }}.')
    made = []
    for stem, chain in stems.items():
        place = f"{where}.each.{stem}"
        if stem not in STEMS:
            raise UsageError(f"{place}: there is no stem '{stem}'{_hint(stem, STEMS)}; there are: {', '.join(STEMS)}.")
        if not isinstance(chain, list) or not chain:
            raise UsageError(f'{place} must be a list of stages, such as ["denoise"]; leave a stem out to let it pass.')
        steps = tuple(_step(step, f"{place}[{i}]", defaults) for i, step in enumerate(chain))
        if any(map(_is_decode, steps)):
            raise UsageError(f"{place}: decode can only come first in a chain.")
        made.append((stem, steps))
    return Each(tuple(made))


def _can_be_in_a_name(suffix: str) -> bool:
    is_plain = printable(suffix) == suffix and not any(c in suffix for c in FORBIDDEN)
    return is_plain and len(suffix.encode()) <= _SUFFIX_BYTES


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
    known = [stage.name for stage in STAGES.values() if not stage.implied]
    if name not in known:
        raise UsageError(f"{where}: there is no stage '{name}'{_hint(name, known)}; there are: {', '.join(known)}.")
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
        lines.append(f"chain = [{', '.join(map(_dump_item, variant.chain))}]")
        lines.append(f"suffix = {_quoted(variant.suffix)}")
        if not variant.enabled:
            lines.append("enabled = false")
    return "\n".join(lines) + "\n"


def _dump_item(item: Step | Each) -> str:
    if isinstance(item, Step):
        return _dump_step(item)
    stems = ", ".join(f"{stem} = [{', '.join(map(_dump_step, steps))}]" for stem, steps in item.stems)
    return f"{{ each = {{ {stems} }} }}"


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
        with writing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the recipe {path}")) from error
    return path
