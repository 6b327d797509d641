"""A task: one stage applied to one song, and how it hangs together with others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

from engine.signals import MIX, RESIDUAL
from engine.stages.base import Params, Stage

_json = json.JSONEncoder(sort_keys=True).encode


class State(Enum):
    """How a task stands for a song."""

    DONE = "done"
    STALE = "stale"
    PRUNED = "pruned"  # it was done, and given up to make room
    TODO = "to do"
    IMPOSSIBLE = "not possible here"


@dataclass(frozen=True)
class Port:
    """One of the signals that a task makes."""

    task: Task
    name: str


@dataclass(frozen=True)
class Task:
    """One stage in the graph. ``id`` is its variant's name, or a hash where it only leads to one.

    ``inputs`` are the signals that it works on, by the names that the stage knows them by; the first task has none.
    ``outputs`` are the names of what it makes. ``serves`` are the variants that need it, itself included; ``variant``
    is the one that it ends or, for a step on the way, the first that it serves. ``is_final`` says that its result is
    published as that variant. ``impossible`` is empty, or one sentence about why it is not done on this machine;
    ``too_slow`` where it could be. ``source`` is the variant that it starts from; ``instead`` is the same variant
    from the next best source, for the songs of which the first lost too much. ``left_out`` are sentences about what
    its chain names for a stem and this machine cannot do. What is ``temporary`` is given up once the variants that are
    made from it are there.
    """

    id: str
    stage: Stage
    params: Params
    inputs: tuple[tuple[str, Port], ...]
    outputs: tuple[str, ...]
    variant: str
    suffix: str
    is_final: bool
    impossible: str
    too_slow: bool = False
    serves: frozenset[str] = frozenset()
    source: str = ""
    instead: Task | None = None
    left_out: tuple[str, ...] = ()
    temporary: bool = False
    _latest_spec: tuple[dict[str, Any] | None, str] = field(default=(None, ""), init=False, repr=False, compare=False)

    @cached_property
    def title(self) -> str:
        """What it does, for the listener."""
        return self.stage.title_of(self.params)

    @property
    def parents(self) -> list[Task]:
        """The tasks whose results it works on, each once, in order."""
        return list({port.task.id: port.task for _, port in self.inputs}.values())

    def spec(self) -> dict[str, Any]:
        """What decides the task's result, but for the song and what comes before."""
        return self._spec(self.stage.fingerprint(self.params))

    def _spec(self, beside: dict[str, Any]) -> dict[str, Any]:
        named = {"stage": self.stage.name, "version": self.stage.version, "params": self.params.decisive()}
        return {**named, **beside}

    def _spec_as_json(self) -> str:
        """:meth:`spec`, put together only where what is beside the parameters has changed (a file of weights, say)."""
        beside = self.stage.fingerprint(self.params)
        known, text = self._latest_spec
        if known != beside:
            text = _json(self._spec(beside))
            object.__setattr__(self, "_latest_spec", (beside, text))
        return text

    def fingerprint(self, source_hash: str) -> str:
        """Hash of all that decides the result for the song with that hash, from the source on."""
        known: dict[str, str] = {}
        for task in self._lineage:
            before: Any = {name: [known[port.task.id], port.name] for name, port in task.inputs}
            if not before:
                before = source_hash
            elif list(before) == [MIX] and before[MIX][1] == MIX:
                before = before[MIX][0]  # a chain of one signal: as it was before there were several
            text = f"[{task._spec_as_json()}, {_json(before)}]"
            known[task.id] = hashlib.sha256(text.encode()).hexdigest()
        return known[self.id]

    def cutoff(self, song: float | None) -> float | None:
        """Hz up to which the task's result is whole, for a song that was cut off at ``song`` Hz."""
        known: dict[str, float | None] = {}
        for task in self.lineage():
            works_on = [port for name, port in task.inputs if len(task.inputs) == 1 or name not in (MIX, RESIDUAL)]
            found = [known[port.task.id] for port in works_on] if works_on else [song]
            before = min((hz for hz in found if hz is not None), default=None)
            known[task.id] = task.stage.cutoff_after(before, task.params)
        return known[self.id]

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

    def published_before(self) -> list[Port]:
        """The nearest published signals that it builds on, through steps on the way; each once, in order."""
        found: dict[tuple[str, str], Port] = {}
        for _, port in self.inputs:
            for near in [port] if port.task.is_final else port.task.published_before():
                found[near.task.id, near.name] = near
        return list(found.values())

    def builds_on(self, other: Task) -> bool:
        """Whether its way from the source goes through ``other``, of any song."""
        instead = (step.instead for step in self._lineage if step.instead is not None)
        before = self._lineage[:-1]
        return any(step.id == other.id for step in before) or any(step.builds_on(other) for step in instead)

    def lineage(self) -> list[Task]:
        """The tasks from the source to this one, each once, what is needed before what needs it."""
        return list(self._lineage)

    @cached_property
    def _lineage(self) -> tuple[Task, ...]:
        found: dict[str, Task] = {}

        def visit(task: Task) -> None:
            for parent in task.parents:
                if parent.id not in found:
                    visit(parent)
            found[task.id] = task

        visit(self)
        return tuple(found.values())

    def outline(self) -> list[tuple[str, Task]]:
        """The steps from the source to this one, each once and with the stem that it is for (empty: for all)."""
        return _outline(self, frozenset())

    def described(self, *, parameters: bool = False) -> str:
        """The way from the source in words: ``decode > separate > [vocals: denoise] > remix``."""
        words = []
        for treated, steps in groupby(self.outline(), lambda step: step[0] != ""):
            if treated:
                branches = [(stem, [step for _, step in some]) for stem, some in groupby(steps, itemgetter(0))]
                words.append(f"[{'; '.join(f'{stem}: {_chain(some, parameters)}' for stem, some in branches)}]")
            else:
                words.append(_chain((step for _, step in steps), parameters))
        return " > ".join(words)


def _chain(tasks: Iterable[Task], parameters: bool) -> str:
    return " > ".join(_name(task, parameters) for task in tasks)


def _name(task: Task, parameters: bool) -> str:
    if not parameters:
        return task.title
    settled = task.stage.settled(task.params)
    values = ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(settled).items())
    return f"{task.stage.name}({values})"


def _outline(task: Task, told: frozenset[str]) -> list[tuple[str, Task]]:
    """The way to the task, from behind the tasks that are ``told`` already."""
    if task.id in told:
        return []
    signals = [(label, port.task) for label, port in task.inputs if len(task.inputs) == 1 or label != MIX]
    shared = _shared([one for _, one in signals])
    found = _outline(shared[-1], told) if shared else []
    known = told | {one.id for one in shared}
    for label, one in signals:
        found += [(label, step) for _, step in _outline(one, known)]
    return [*found, ("", task)]


def _shared(tasks: list[Task]) -> list[Task]:
    """The tasks that all of these have behind them, themselves included; what is needed first, first."""
    lineages = [task.lineage() for task in tasks]
    if not lineages:
        return []
    ids = set.intersection(*({task.id for task in lineage} for lineage in lineages))
    return [task for task in lineages[0] if task.id in ids]
