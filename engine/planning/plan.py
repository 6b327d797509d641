"""From a recipe to tasks in order, and what is to be done of them for a song.

The graph of tasks is the same for all songs of a run; chains that begin alike share their first tasks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from engine.errors import UsageError
from engine.planning import costs
from engine.planning.recipes import Recipe, Step, Variant
from engine.stages import STAGES
from engine.stages.base import Params, Stage

_PATIENCE = 20.0  # times the playing time that a variant may take without having been asked for by name
_A_SONG = 240.0  # seconds


class State(Enum):
    """How a task stands for a song."""

    DONE = "done"
    STALE = "stale"
    TODO = "to do"
    IMPOSSIBLE = "not possible here"


@dataclass(frozen=True)
class Task:
    """One stage in the graph. ``id`` is its variant's name, or a hash where it only leads to one.

    ``variant`` is the variant that it ends or, for a step on the way, the first one that it serves.
    ``impossible`` is empty, or one sentence about why it is not done on this machine; ``too_slow`` where it could be.
    """

    id: str
    stage: Stage
    params: Params
    parent: Task | None
    variant: str
    suffix: str
    is_final: bool
    impossible: str
    too_slow: bool = False

    def recipe_of(self) -> dict[str, Any]:
        """What decides the task's result, but for the song and what comes before."""
        return {
            "stage": self.stage.name,
            "version": self.stage.version,
            "params": dataclasses.asdict(self.params),
            **self.stage.fingerprint(self.params),
        }

    def fingerprint(self, source_hash: str) -> str:
        """Hash of all that decides the result for the song with that hash, from the source on."""
        before = self.parent.fingerprint(source_hash) if self.parent is not None else source_hash
        text = json.dumps([self.recipe_of(), before], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cutoff(self, song: float | None) -> float | None:
        """Hz up to which the task's result is whole, for a song that was cut off at ``song`` Hz."""
        before = self.parent.cutoff(song) if self.parent is not None else song
        return self.stage.cutoff_after(before, self.params)

    def lineage(self) -> list[Task]:
        """The tasks from the source to this one."""
        return [*(self.parent.lineage() if self.parent is not None else []), self]


Chain = tuple[Step, ...]  # the stages from the source on


def build(
    recipe: Recipe, wanted: Iterable[str] = (), device: Callable[[], str] = lambda: "cpu", patient: Iterable[str] = (),
) -> list[Task]:  # fmt: skip
    """The tasks that the wanted variants (all enabled ones, where none are named) need, in order.

    What would take very long on ``device`` (which is only asked for where it matters) is left out, unless it is
    wanted by name or one of the ``patient``.

    Raises:
        UsageError: a wanted variant is not in the recipe or cannot be made on this machine.
    """
    names = [_find(recipe, name) for name in wanted]
    waited_for = {*names, *patient}
    chains: dict[str, Chain] = {}
    for variant in recipe.variants.values():
        if variant.enabled or variant.name in names:
            chains[variant.name] = _whole_chain(variant, chains, waited_for, device)
    for name in names:
        if why := _why_not_possible(chains[name]):
            raise UsageError(f"{name} cannot be made here. {why}")
    ends: dict[Chain, Variant] = {}
    for name, chain in chains.items():
        if chain in ends:
            raise UsageError(f"The variants {ends[chain].name} and {name} are the same: switch one of them off.")
        ends[chain] = recipe.variants[name]
    waited_for_steps = {step for name in waited_for & chains.keys() for step in _prefixes(chains[name])}
    tasks: dict[Chain, Task] = {}
    for name in names or chains:
        for prefix in _prefixes(chains[name]):
            if prefix not in tasks:
                slow = _why_not_worth_it(prefix, device, waited_for_steps)
                tasks[prefix] = _task(prefix, ends.get(prefix), name, tasks.get(prefix[:-1]), slow)
    return list(tasks.values())


def _prefixes(chain: Chain) -> list[Chain]:
    return [chain[:length] for length in range(1, len(chain) + 1)]


def _find(recipe: Recipe, wanted: str) -> str:
    """``11``, ``offline`` and ``11_offline`` all mean the variant ``11_offline``."""
    for name in recipe.variants:
        if wanted == name or wanted in name.split("_", 1):
            return name
    raise UsageError(f"The recipe '{recipe.name}' has no variant '{wanted}'; it has: {', '.join(recipe.variants)}.")


def _whole_chain(variant: Variant, chains: dict[str, Chain], waited_for: set[str], device: Callable[[], str]) -> Chain:
    """The variant's chain behind that of the best variant that it may start from."""
    if not variant.sources:
        return variant.chain
    made = [name for name in variant.sources if name in chains]
    if not made:
        raise UsageError(f"{variant.name} starts from {' or '.join(variant.sources)}, and none of them is switched on.")

    def will_be_made(name: str) -> bool:
        slow = name not in waited_for and _why_not_worth_it(chains[name], device, set())
        return not (slow or _why_not_possible(chains[name]))

    return chains[next(filter(will_be_made, made), made[0])] + variant.chain


def _why_not_possible(chain: Chain) -> str:
    """Empty, or one sentence about the first stage that cannot run on this machine."""
    return next((why for step in chain if (why := STAGES[step.stage].why_not_possible(step.params))), "")


def _why_not_worth_it(chain: Chain, device: Callable[[], str], waited_for: set[Chain]) -> str:
    """Empty, or one sentence about how long the chain would take, but for what of it is ``waited_for`` anyway."""
    if _why_not_possible(chain):
        return ""
    first = max((length for length in range(len(chain) + 1) if chain[:length] in waited_for), default=0)
    steps = [(STAGES[step.stage], step.params) for step in chain[first:]]
    seconds = sum(costs.factor(stage, params, device()) for stage, params in steps if stage.neural)
    if seconds <= _PATIENCE:
        return ""
    return (
        f"It would take about {_roughly(seconds * _A_SONG)} for a song of four minutes on this machine: "
        "switch it on, or name it (--variants), to make it all the same."
    )


def _roughly(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def _task(prefix: Chain, ending: Variant | None, serves: str, parent: Task | None, slow: str) -> Task:
    step = prefix[-1]
    return Task(
        id=ending.name if ending is not None else "step-" + hashlib.sha256(repr(prefix).encode()).hexdigest()[:12],
        stage=STAGES[step.stage],
        params=step.params,
        parent=parent,
        variant=ending.name if ending is not None else serves,
        suffix=ending.suffix if ending is not None else "",
        is_final=ending is not None,
        impossible=_why_not_possible(prefix) or slow,
        too_slow=bool(slow),
    )
