"""What a recipe is made of: variants, their chains, and the steps of these."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.signals import STEMS
from engine.stages.base import Params


@dataclass(frozen=True)
class Step:
    """One stage of a chain with its parameters."""

    stage: str
    params: Params


@dataclass(frozen=True)
class Each:
    """A place in a chain where every stem goes its own way; those that are not named pass as they are."""

    stems: tuple[tuple[str, tuple[Step, ...]], ...]

    def of(self, stem: str) -> tuple[Step, ...]:
        """What is done to a stem; nothing where it passes."""
        return dict(self.stems).get(stem, ())

    def with_chain(self, stem: str, steps: tuple[Step, ...]) -> Each:
        """The same with another chain for one stem; an empty one lets it pass."""
        chains = {name: steps if name == stem else self.of(name) for name in STEMS}
        return Each(tuple((name, chain) for name, chain in chains.items() if chain))


@dataclass(frozen=True)
class Variant:
    """A named result. ``sources`` are the variants it may start from, best first; empty: from the song.

    A ``temporary`` one is kept only until what is made from it is there.
    """

    name: str
    chain: tuple[Step | Each, ...]
    sources: tuple[str, ...]
    suffix: str
    enabled: bool
    temporary: bool = False

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

    def with_each(self, place: int, each: Each) -> Variant:
        """The same with other chains for the stems at a place of its chain."""
        return dataclasses.replace(self, chain=(*self.chain[:place], each, *self.chain[place + 1 :]))

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
