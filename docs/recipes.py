"""Writes the reference in ``recipes.md`` from the stages and the recipes themselves: ``python -m docs.recipes``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from engine.planning import recipes
from engine.planning.recipes import Each, Recipe, Step, parse, shipped
from engine.stages import STAGES
from engine.stages.base import Stage

PAGE = Path(__file__).with_name("recipes.md")
_BEGIN, _END = "<!-- made by python -m docs.recipes -->", "<!-- end -->"


def page(text: str) -> str:
    """The page with its reference made anew; what stands around it stays as it is."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return "\n".join((before + _BEGIN, *reference(), _END + after))


def reference() -> Iterator[str]:
    """The lines of the reference: every recipe that comes with the program, every stage that a recipe may name."""
    known = [_shipped(name) for name in shipped()]
    yield "## The recipes that come with the program"
    for recipe in known:
        yield from _recipe(recipe)
    yield "\n## The stages"
    for stage in STAGES.values():
        if not stage.implied:
            yield from _stage(stage, [f"`{recipe.name}`" for recipe in known if _has(recipe, stage)])


def _shipped(name: str) -> Recipe:
    """A recipe as it comes with the program, whatever the user has under its name."""
    return parse((Path(recipes.__file__).parent / f"{name}.toml").read_text("utf-8"), name, name)


def _has(recipe: Recipe, stage: Stage) -> bool:
    return any(step.stage == stage.name for variant in recipe.variants.values() for _, step in variant.steps())


def _recipe(recipe: Recipe) -> Iterator[str]:
    file = f"../engine/planning/recipes/{recipe.name}.toml"
    yield f"\n### `{recipe.name}`: {recipe.title}\n\n{recipe.description} [The file]({file})\n"
    yield "| variant | starts from | chain | made |\n|---|---|---|---|"
    for variant in recipe.variants.values():
        sources = ", else ".join(f"`{source}`" for source in variant.sources) or "the song"
        made = "yes" if variant.enabled else "when named"
        yield f"| `{variant.name}` | {sources} | {_chain(variant.chain)} | {made} |"


def _chain(items: Iterable[Step | Each]) -> str:
    return ", then ".join(_step(item) if isinstance(item, Step) else _each(item) for item in items)


def _step(step: Step) -> str:
    changed = [f"{f.name} {_value(v)}" for f in fields(step.params) if (v := getattr(step.params, f.name)) != f.default]
    return step.stage + (f" ({', '.join(changed)})" if changed else "")


def _each(each: Each) -> str:
    ways = "".join(f"*{stem}*: {_chain(steps)}<br>" for stem, steps in each.stems)
    return f"each stem by itself:<br>{ways}all of them"


def _stage(stage: Stage, users: list[str]) -> Iterator[str]:
    told = (inspect.getdoc(inspect.getmodule(type(stage))) or "").partition("\n\n")[0]
    yield f"\n### `{stage.name}`\n\n{' '.join(told.split())}"
    yield f"In {', '.join(users)}.\n" if users else "In no recipe that comes with the program.\n"
    yield "| parameter | default | range | what it is |\n|---|---|---|---|"
    for field in fields(stage.Parameters):
        yield f"| `{field.name}` | `{_value(field.default)}` | {_range(field)} | {field.metadata['help']} |"


def _value(value: object) -> str:
    """A parameter's value as it is written into a recipe."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _range(field: Field[Any]) -> str:
    low, high, unit = (field.metadata[key] for key in ("low", "high", "unit"))
    if isinstance(field.default, bool):
        return "true, false"
    if low is None or high is None:
        return "a text"
    return f"{low:g} to {high:g} {unit}".strip()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8", newline="\n")
