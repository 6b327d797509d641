"""A recipe from its TOML text. What is wrong is told with its place and, where it looks like a slip, what was meant."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import UsageError
from engine.names import FORBIDDEN, is_device
from engine.planning.recipes.schema import Each, Recipe, Step, Variant
from engine.signals import STEMS
from engine.stages import STAGES
from engine.text import printable

FORMAT = 1
_TOP_KEYS = ("format", "title", "description", "defaults", "variants")
_VARIANT_KEYS = ("chain", "from", "suffix", "enabled", "temporary")
_SUFFIX_BYTES = 24
_SENTENCE = 300  # characters
_MOST_STEPS = 64  # in a row: with what they start from, they are walked through again and again
_MOST_SPLITS = 3  # in a row: each is a way on which the next ones are met again, five or so
_TOO_MUCH = "it is nested too deeply, or a number in it is too large."


def parse(text: str, name: str, where: str) -> Recipe:
    """A recipe from its TOML text. ``where`` names it in error messages. Raises UsageError."""
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))  # which Windows' editor puts first
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {_TOO_MUCH}") from error
    try:
        return _recipe(data, name)
    except UsageError as error:
        raise UsageError(f"{where}: {printable(_brief(str(error)))}") from error
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
    _check_temporary(variants)
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
    enabled, temporary = table.get("enabled", True), table.get("temporary", False)
    for key, value in (("enabled", enabled), ("temporary", temporary)):
        if not isinstance(value, bool):
            raise UsageError(f"{where}.{key} must be true or false.")
    return Variant(name, steps, tuple(sources), suffix, enabled, temporary)


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
            raise UsageError(f"{place}: there is no stem '{stem}'{hint(stem, STEMS)}; there are: {', '.join(STEMS)}.")
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
        raise UsageError(f"{where}: there is no stage '{name}'{hint(name, known)}; there are: {', '.join(known)}.")
    return name


def _check_sources(variants: dict[str, Variant]) -> None:
    done: dict[str, tuple[int, int]] = {}  # the steps to each variant, and those of them that take a signal apart
    for variant in variants.values():
        for source in variant.sources:
            if source not in variants:
                raise UsageError(
                    f"variants.{variant.name}.from: there is no variant '{source}'{hint(source, variants)}."
                )
            if source not in done:
                raise UsageError(f"variants.{variant.name}.from: '{source}' must stand above it in the file.")
        before = [done[source] for source in variant.sources] or [(0, 0)]
        own_steps, own_splits = _size(variant)
        steps = own_steps + max(steps for steps, _ in before)
        splits = own_splits + max(splits for _, splits in before)
        if steps > _MOST_STEPS or splits > _MOST_SPLITS:
            raise UsageError(
                f"variants.{variant.name}: between the song and it may be at most {_MOST_STEPS} steps, and at most "
                f'{_MOST_SPLITS} of them may be "separate": leave some out.'
            )
        done[variant.name] = (steps, splits)


def _check_temporary(variants: dict[str, Variant]) -> None:
    """What is only there for others must have some."""
    needed: set[str] = set()  # by what is kept
    for variant in reversed(variants.values()):
        if not variant.temporary or variant.name in needed:
            needed.update(variant.sources, (v.name for v in variants.values() if _begins_with(variant, v)))
    for variant in variants.values():
        if variant.temporary and variant.name not in needed:
            raise UsageError(
                f"variants.{variant.name} is temporary, and nothing that is kept is made from it: name it in the "
                "'from' of another variant."
            )


def _begins_with(variant: Variant, other: Variant) -> bool:
    """Whether a chain goes through the result of another variant, without starting from it by name."""
    return variant.sources == other.sources and variant.chain[: len(other.chain)] == other.chain != variant.chain


def _size(variant: Variant) -> tuple[int, int]:
    """How many steps a chain has, whether for all or for one of the stems, and how many of them take a signal apart."""
    steps: list[Step] = []
    for item in variant.chain:
        steps += [item] if isinstance(item, Step) else [step for _, chain in item.stems for step in chain]
    return len(steps), sum(step.stage == "separate" for step in steps)


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table.")
    return value


def _known_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"{where} has no setting '{key}'{hint(key, known)}; the settings are: {names}.")


def hint(word: str, known: Iterable[str]) -> str:
    """What was probably meant by ``word``, in brackets; empty where nothing is like it."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean '{close[0]}'?)" if close else ""
