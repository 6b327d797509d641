"""A recipe as TOML text."""

from __future__ import annotations

import dataclasses
import json

from engine.planning.recipes.schema import Each, Recipe, Step
from engine.planning.recipes.toml_reader import FORMAT


def dump(recipe: Recipe) -> str:
    """The recipe as TOML text, which ``parse`` reads back. Only what differs from the defaults is written."""
    lines = [f"format = {FORMAT}", f"title = {_quoted(recipe.title)}", f"description = {_quoted(recipe.description)}"]
    for variant in recipe.variants.values():
        lines += ["", f"[variants.{variant.name}]"]
        if variant.sources:
            lines.append(f"from = [{', '.join(_quoted(s) for s in variant.sources)}]")
        lines.append(f"chain = [{', '.join(map(_dump_item, variant.chain))}]")
        lines.append(f"suffix = {_quoted(variant.suffix)}")
        if not variant.enabled:
            lines.append("enabled = false")
        if variant.temporary:
            lines.append("temporary = true")
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
