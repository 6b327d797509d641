"""From a recipe to tasks in order, and what is to be done of them for a song.

The graph of tasks is the same for all songs of a run; what several variants need is done once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.errors import UsageError
from engine.planning import costs
from engine.planning.graph import Flow, Node, Out, end_of
from engine.planning.recipes import Recipe, Variant
from engine.planning.task import Port, Task

_PATIENCE = 20.0  # times the playing time that a variant may take without having been asked for by name
_A_SONG = 240.0  # seconds


def build(
    recipe: Recipe, wanted: Iterable[str] = (), device: Callable[[], str] = lambda: "cpu",
    allow_slow: Iterable[str] = (),
) -> list[Task]:  # fmt: skip
    """The tasks that the wanted variants (all enabled ones, where none are named) need, in order.

    What would take very long on ``device`` (which is only asked for where it matters) is left out, unless it is
    wanted by name or one of the ``allow_slow``.

    Raises:
        UsageError: a wanted variant is not in the recipe or cannot be made on this machine.
    """
    names = [_find(recipe, name) for name in wanted]
    builder = _Builder(recipe, {*names, *allow_slow}, device)
    needed = _needed(recipe, names)
    for variant in recipe.variants.values():
        if variant.enabled or variant.name in needed:
            builder.add(variant)
    for name in names:
        if why := _unavailable_reason(builder.ends[name]):
            raise UsageError(f"{name} cannot be made here. {why}")
    return builder.tasks(names or list(builder.ends))


class _Builder:
    """Makes each task once, however many variants need it. ``ends`` are the nodes that variants end with."""

    def __init__(self, recipe: Recipe, allowed: set[str], device: Callable[[], str]) -> None:
        self._recipe, self._allowed, self._device = recipe, allowed, device
        self.ends: dict[str, Node] = {}
        self._flows: dict[str, Flow] = {}
        self._left_out: dict[str, list[str]] = {}  # by variant: what it does without
        self._sources: dict[str, list[str]] = {}
        self._variants: dict[Node, Variant] = {}  # by the node that ends them
        self._serves: dict[Node, list[str]] = {}
        self._made: dict[Node, Task] = {}
        self._asked: set[Node] = set()  # what is needed by those that are waited for

    def add(self, variant: Variant) -> None:
        """Take a variant, behind those that it may start from. Raises UsageError."""
        self._sources[variant.name] = self._possible_sources(variant)
        self._left_out[variant.name] = []
        start = self._start(self._sources[variant.name])
        end = end_of(variant, start, self._left_out[variant.name].append)
        if end in self._variants:
            same = self._variants[end].name
            raise UsageError(f"The variants {same} and {variant.name} are the same: switch one of them off.")
        self.ends[variant.name], self._variants[end] = end, variant
        self._flows[variant.name] = {name: Out(end, name) for name in end.outputs}

    def _possible_sources(self, variant: Variant) -> list[str]:
        """The variants it may start from and that will be made, best first; the best at least, if none will."""
        if not variant.sources:
            return []
        made = [name for name in variant.sources if name in self.ends]
        if not made:
            any_of = " or ".join(variant.sources)
            raise UsageError(f"{variant.name} starts from {any_of}, and none of them is switched on.")

        def will_be_made(name: str) -> bool:
            slow = name not in self._allowed and _why_not_worth_it(self.ends[name], self._device, set())
            return not (slow or _unavailable_reason(self.ends[name]))

        return list(filter(will_be_made, made)) or made[:1]

    def _start(self, sources: list[str]) -> Flow:
        """The signals of the best source; none where a variant starts from the song."""
        return self._flows[sources[0]] if sources else {}

    def tasks(self, names: list[str]) -> list[Task]:
        """What the named variants need, in order."""
        self._asked = {node for name in self._allowed & self.ends.keys() for node in self.ends[name].lineage()}
        wanted = list(dict.fromkeys(node for name in names for node in self.ends[name].lineage()))
        also = [self._variants[node].name for node in wanted if node in self._variants]
        for name in dict.fromkeys([*names, *also]):
            for node in self.ends[name].lineage():
                self._serves.setdefault(node, []).append(name)
        return [self._task(node) for node in wanted]

    def _task(self, node: Node) -> Task:
        if node not in self._made:
            ending = self._variants.get(node)
            sources = self._sources[ending.name] if ending is not None else []
            left_out = self._left_out[ending.name] if ending is not None else []
            self._made[node] = self._new(node, ending, sources, left_out)
        return self._made[node]

    def _new(self, node: Node, ending: Variant | None, sources: list[str], left_out: Iterable[str] = ()) -> Task:
        slow = _why_not_worth_it(node, self._device, self._asked)
        serves = self._serves.get(node, []) or ([ending.name] if ending is not None else [])
        impossible = _unavailable_reason(node) or slow
        if ending is None and serves:  # what leads to nothing is not made either
            reasons = [self._unreachable(name) for name in serves]
            impossible = impossible or (reasons[0] if all(reasons) else "")
        return Task(
            id=ending.name if ending is not None else f"step-{node.key}",
            stage=node.stage,
            params=node.step.params,
            inputs=tuple((name, Port(self._task(out.node), out.name)) for name, out in node.inputs),
            outputs=node.outputs,
            variant=ending.name if ending is not None else next(iter(serves), ""),
            suffix=ending.suffix if ending is not None else "",
            is_final=ending is not None,
            impossible=impossible,
            too_slow=bool(slow),
            serves=frozenset(serves),
            source=sources[0] if sources else "",
            instead=self._instead(ending, sources[1:]) if ending is not None else None,
            left_out=tuple(left_out),
            temporary=ending is not None and ending.temporary,
        )

    def _instead(self, ending: Variant, sources: list[str]) -> Task | None:
        """The variant behind the next of its sources."""
        if not sources:
            return None
        left_out: list[str] = []
        try:
            return self._new(end_of(ending, self._start(sources), left_out.append), ending, sources, left_out)
        except UsageError:  # the chain does not fit there: stems where there is one signal
            return self._instead(ending, sources[1:])

    def _unreachable(self, name: str) -> str:
        end = self.ends[name]
        return _unavailable_reason(end) or _why_not_worth_it(end, self._device, self._asked)


def _find(recipe: Recipe, wanted: str) -> str:
    """``11``, ``offline`` and ``11_offline`` all mean the variant ``11_offline``."""
    for name in recipe.variants:
        if wanted == name or wanted in name.split("_", 1):
            return name
    raise UsageError(f"The recipe '{recipe.name}' has no variant '{wanted}'; it has: {', '.join(recipe.variants)}.")


def _needed(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """The named variants, and what those among them start from that would start from nothing, all the way back."""
    found: set[str] = set()
    left = list(names)
    while left:
        variant = recipe.variants[left.pop()]
        if variant.name not in found:
            found.add(variant.name)
            sources = [recipe.variants[name] for name in variant.sources]
            if not any(source.enabled or source.name in names for source in sources):
                left += variant.sources
    return found


def _unavailable_reason(end: Node) -> str:
    """Empty, or one sentence about the first stage that cannot run on this machine."""
    return next((why for node in end.lineage() if (why := node.stage.unavailable_reason(node.step.params))), "")


def _why_not_worth_it(end: Node, device: Callable[[], str], allowed: set[Node]) -> str:
    """Empty, or one sentence about how long it would take, but for what of it is ``allowed`` anyway."""
    if _unavailable_reason(end):
        return ""
    own = [node for node in end.lineage() if node not in allowed]
    seconds = sum(costs.factor(node.stage, node.step.params, device()) for node in own if node.stage.neural)
    if seconds <= _PATIENCE:
        return ""
    return (
        f"It would take about {_roughly(seconds * _A_SONG)} for a song of four minutes on this machine: "
        "switch it on, or name it (--variants), to make it all the same."
    )


def _roughly(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
