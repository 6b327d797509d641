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

    ``serves`` are the variants that need it, itself included; ``variant`` is the one that it ends or, for a step on
    the way, the first that it serves. ``is_final`` says that its result is published as that variant.
    ``impossible`` is empty, or one sentence about why it is not done on this machine; ``too_slow`` where it could be.
    ``source`` is the variant that it starts from; ``instead`` is the same variant from the next best source, for the
    songs of which the first lost too much.
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
    serves: frozenset[str] = frozenset()
    source: str = ""
    instead: Task | None = None

    def recipe_of(self) -> dict[str, Any]:
        """What decides the task's result, but for the song and what comes before."""
        return {
            "stage": self.stage.name,
            "version": self.stage.version,
            "params": self.params.decisive(),
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

    @property
    def ends_variant(self) -> bool:
        """Whether its result is a variant, published or not."""
        return self.id == self.variant

    @property
    def sets_loudness(self) -> bool:
        """Whether this stage, or one before it, brings the song to another loudness on purpose."""
        return any(task.stage.sets_loudness for task in self.lineage())

    def unpublished(self) -> Task:
        """The same work for the sake of what builds on it alone: its own variant is not wanted."""
        return dataclasses.replace(self, is_final=False)

    def published_before(self) -> Task | None:
        """The nearest task before this one whose result is published; None where there is none."""
        before = self.parent
        while before is not None and not before.is_final:
            before = before.parent
        return before

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
    sources: dict[str, list[str]] = {}
    for variant in recipe.variants.values():
        if variant.enabled or variant.name in names:
            sources[variant.name] = _sources(variant, chains, waited_for, device)
            chains[variant.name] = _behind(sources[variant.name], chains) + variant.chain
    for name in names:
        if why := _unavailable_reason(chains[name]):
            raise UsageError(f"{name} cannot be made here. {why}")
    ends: dict[Chain, Variant] = {}
    for name, chain in chains.items():
        if chain in ends:
            raise UsageError(f"The variants {ends[chain].name} and {name} are the same: switch one of them off.")
        ends[chain] = recipe.variants[name]
    return _Builder(recipe, chains, sources, ends, waited_for, device).tasks(names or list(chains))


class _Builder:
    """Makes each task once, however many variants need it."""

    def __init__(
        self, recipe: Recipe, chains: dict[str, Chain], sources: dict[str, list[str]], ends: dict[Chain, Variant],
        waited_for: set[str], device: Callable[[], str],
    ) -> None:  # fmt: skip
        self._recipe, self._chains, self._sources, self._ends, self._device = recipe, chains, sources, ends, device
        self._waited_for = {step for name in waited_for & chains.keys() for step in _prefixes(chains[name])}
        self._serves: dict[Chain, list[str]] = {}
        self._made: dict[Chain, Task] = {}

    def tasks(self, names: list[str]) -> list[Task]:
        """What the named variants need, in order."""
        wanted = [prefix for name in names for prefix in _prefixes(self._chains[name])]
        for name in dict.fromkeys([*names, *(self._ends[prefix].name for prefix in wanted if prefix in self._ends)]):
            for prefix in _prefixes(self._chains[name]):
                self._serves.setdefault(prefix, []).append(name)
        return [self._task(prefix) for prefix in dict.fromkeys(wanted)]

    def _task(self, chain: Chain) -> Task:
        if chain not in self._made:
            ending = self._ends.get(chain)
            sources = self._sources[ending.name] if ending is not None else []
            self._made[chain] = self._new(chain, ending, sources)
        return self._made[chain]

    def _new(self, chain: Chain, ending: Variant | None, sources: list[str]) -> Task:
        step = chain[-1]
        slow = _why_not_worth_it(chain, self._device, self._waited_for)
        serves = self._serves.get(chain, []) or ([ending.name] if ending is not None else [])
        impossible = _unavailable_reason(chain) or slow
        if ending is None and serves:  # what leads to nothing is not made either
            reasons = [self._unreachable(name) for name in serves]
            impossible = impossible or (reasons[0] if all(reasons) else "")
        return Task(
            id=ending.name if ending is not None else "step-" + hashlib.sha256(repr(chain).encode()).hexdigest()[:12],
            stage=STAGES[step.stage],
            params=step.params,
            parent=self._task(chain[:-1]) if len(chain) > 1 else None,
            variant=ending.name if ending is not None else next(iter(serves), ""),
            suffix=ending.suffix if ending is not None else "",
            is_final=ending is not None,
            impossible=impossible,
            too_slow=bool(slow),
            serves=frozenset(serves),
            source=sources[0] if sources else "",
            instead=self._instead(ending, sources[1:]) if ending is not None else None,
        )

    def _instead(self, ending: Variant, sources: list[str]) -> Task | None:
        """The variant behind the next of its sources."""
        return self._new(_behind(sources, self._chains) + ending.chain, ending, sources) if sources else None

    def _unreachable(self, name: str) -> str:
        chain = self._chains[name]
        return _unavailable_reason(chain) or _why_not_worth_it(chain, self._device, self._waited_for)


def _prefixes(chain: Chain) -> list[Chain]:
    return [chain[:length] for length in range(1, len(chain) + 1)]


def _find(recipe: Recipe, wanted: str) -> str:
    """``11``, ``offline`` and ``11_offline`` all mean the variant ``11_offline``."""
    for name in recipe.variants:
        if wanted == name or wanted in name.split("_", 1):
            return name
    raise UsageError(f"The recipe '{recipe.name}' has no variant '{wanted}'; it has: {', '.join(recipe.variants)}.")


def _sources(
    variant: Variant, chains: dict[str, Chain], waited_for: set[str], device: Callable[[], str]
) -> list[str]:  # fmt: skip
    """The variants it may start from and that will be made, best first; the best at least, if none will."""
    if not variant.sources:
        return []
    made = [name for name in variant.sources if name in chains]
    if not made:
        raise UsageError(f"{variant.name} starts from {' or '.join(variant.sources)}, and none of them is switched on.")

    def will_be_made(name: str) -> bool:
        slow = name not in waited_for and _why_not_worth_it(chains[name], device, set())
        return not (slow or _unavailable_reason(chains[name]))

    return list(filter(will_be_made, made)) or made[:1]


def _behind(sources: list[str], chains: dict[str, Chain]) -> Chain:
    """The chain of the best source; nothing where a variant starts from the song."""
    return chains[sources[0]] if sources else ()


def _unavailable_reason(chain: Chain) -> str:
    """Empty, or one sentence about the first stage that cannot run on this machine."""
    return next((why for step in chain if (why := STAGES[step.stage].unavailable_reason(step.params))), "")


def _why_not_worth_it(chain: Chain, device: Callable[[], str], waited_for: set[Chain]) -> str:
    """Empty, or one sentence about how long the chain would take, but for what of it is ``waited_for`` anyway."""
    if _unavailable_reason(chain):
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
