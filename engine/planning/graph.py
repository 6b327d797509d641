"""From the chains of a recipe to a graph: what is done to which signals, each thing once.

Chains stay what a musician writes. Underneath, a signal is one of the outputs of a node, and a node is a stage with
its parameters and its inputs. Two chains that do the same to the same signals meet in the same node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from engine.errors import UsageError
from engine.planning.recipes import Each, Step, Variant
from engine.signals import MIX
from engine.stages import STAGES
from engine.stages.base import Params, Stage


@dataclass(frozen=True)
class Node:
    """A stage with its parameters and what it works on, by the names that it knows its inputs by."""

    step: Step
    inputs: tuple[tuple[str, Out], ...]

    def __hash__(self) -> int:
        return self._hash  # kept, as each node's contains those of all before it, many times over

    @cached_property
    def _hash(self) -> int:
        return hash((self.step, self.inputs))

    @property
    def stage(self) -> Stage:
        return STAGES[self.step.stage]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it makes."""
        return self.stage.outputs(self.step.params, tuple(name for name, _ in self.inputs))

    @cached_property
    def key(self) -> str:
        """What it is, in a few letters; the same in every run."""
        chain = _chain(self)
        return hashlib.sha256(repr(chain if chain else self).encode()).hexdigest()[:12]

    def lineage(self) -> list[Node]:
        """The nodes from the source to this one, each once, what is needed first."""
        found: dict[Node, None] = {}

        def visit(node: Node) -> None:
            for _, out in node.inputs:
                if out.node not in found:
                    visit(out.node)
            found[node] = None

        visit(self)
        return list(found)


@dataclass(frozen=True)
class Out:
    """One of the signals that a node makes."""

    node: Node
    name: str


Flow = dict[str, Out]  # the signals at a place in a chain, by name


def _chain(node: Node) -> tuple[Step, ...]:
    """The steps from the source on, where there is but one signal all the way; else nothing."""
    if not node.inputs:
        return (node.step,)
    if len(node.inputs) > 1 or node.inputs[0] != (MIX, Out(node.inputs[0][1].node, MIX)):
        return ()
    before = _chain(node.inputs[0][1].node)
    return (*before, node.step) if before else ()


def end_of(variant: Variant, start: Flow, tell: Callable[[str], None] = lambda text: None) -> Node:
    """The node that a variant's chain ends with, behind the signals that it starts from.

    Several signals of different nodes are collected; those that were treated one by one always, as it may be that
    none of the stems that are treated is there. What a stem would go through and this machine cannot do is left out;
    ``tell`` hears a sentence about each such step.

    Raises:
        UsageError: something in it does not fit; the message names the place.
    """
    flow = start
    for place, item in enumerate(variant.chain):
        where = f"variants.{variant.name}.chain[{place}]"
        flow = _treated(item, flow, where, tell) if isinstance(item, Each) else _behind(item, flow, where)
    if isinstance(variant.chain[-1], Step):
        return next(iter(flow.values())).node
    return Node(Step("collect", Params()), tuple(flow.items()))


def _behind(step: Step, flow: Flow, where: str) -> Flow:
    """The signals that a stage makes of these."""
    wanted = STAGES[step.stage].inputs(step.params)
    if wanted == ():
        node = Node(step, ())
    elif wanted is None:
        if MIX in flow:
            raise UsageError(f'{where}: {step.stage} takes stems, and there is one signal: put "separate" before it.')
        node = Node(step, (*flow.items(), (MIX, _mix_of(flow, step.stage, where))))
    else:
        if len(flow) != 1:
            raise UsageError(
                f"{where}: {step.stage} takes one signal, and there are {len(flow)} stems ({', '.join(flow)}): "
                'put "remix" before it, or treat the stems with "each".'
            )
        node = Node(step, ((MIX, next(iter(flow.values()))),))
    return {name: Out(node, name) for name in node.outputs}


def _treated(each: Each, flow: Flow, where: str, tell: Callable[[str], None]) -> Flow:
    """The stems after their own chains. Those of which nothing is said pass; for those that are not there, nothing."""
    if len(flow) < 2:
        raise UsageError(f'{where}: "each" treats stems, and there is one signal: put "separate" before it.')
    made = dict(flow)
    for stem, steps in each.stems:
        if stem not in flow:
            continue
        signal = {MIX: flow[stem]}
        for place, step in enumerate(steps):
            after = _behind(step, signal, f"{where}.each.{stem}[{place}]")
            if len(after) == 1 and (why := STAGES[step.stage].unavailable_reason(step.params)):
                tell(f"{step.stage} is left out for {stem}: {why}")
            else:
                signal = after
        if len(signal) != 1:
            raise UsageError(f"{where}.each.{stem} must end with one signal, and ends with {len(signal)}.")
        made[stem] = next(iter(signal.values()))
    return made


def _mix_of(flow: Flow, stage: str, where: str) -> Out:
    """What the stems were made of."""
    for out in flow.values():
        for node in reversed(out.node.lineage()):
            if len(node.outputs) > 1 and len(node.inputs) == 1:
                return node.inputs[0][1]
    raise UsageError(f'{where}: {stage} takes stems, and there are none: put "separate" before it.')
