"""How the files hang together: floors, and no circles of imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: From the ground up, as engine/__init__.py tells it.
FLOORS = (
    ("names", "plain_data", "signals", "text"), ("errors",), ("files",), ("machine",), ("audio",), ("dsp",), ("analysis",), ("models",),
    ("stages",), ("planning",), ("library",), ("run",), ("player",), ("compare",), ("api", "commands"),
)  # fmt: skip


def modules(package: str) -> dict[str, Path]:
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in (ROOT / package).rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in files.items()}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All that is run, functions included: what is for the type checker alone hangs nothing together."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from statements(node)


def imports(file: Path) -> set[str]:
    """Every module that a file names in an import, wherever that stands in it."""
    found = set()
    for node in statements(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("package", "least"), [("engine", 100), ("tui", 20)])
def test_there_is_no_circle_of_imports(package, least):
    files = modules(package)
    # A package's own file is looked into before each of its modules: that is no circle, nor is naming it.
    graph = {name: imports(file) & files.keys() - {name} for name, file in files.items()}
    packages = {name for name, file in files.items() if file.name == "__init__.py"}
    for name, needs in graph.items():
        needs -= {other for other in packages if name.startswith(f"{other}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
    assert len(files) > least


def test_each_package_of_the_engine_builds_on_lower_floors_alone():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for name, file in modules("engine").items():
        needed = imports(file)
        assert not [other for other in needed if other.split(".")[0] == "tui"], name
        if name.count(".") == 0 or name == "engine.__main__":
            continue
        own = name.split(".")[1]
        for other in (other.split(".") for other in needed):
            if other[0] == "engine" and len(other) > 1 and other[1] in floor and other[1] != own:
                assert floor[other[1]] < floor[own], f"{name} imports {'.'.join(other)}"


def test_no_screen_knows_the_app():
    assert not [n for n, file in modules("tui").items() if n.startswith("tui.screens.") and "tui.app" in imports(file)]


def test_what_is_listed_as_slow_is_there():
    """A test that is renamed must not come back into ``make test-fast`` unseen."""
    entries = [e for e in (ROOT / "tests" / "slow.txt").read_text("utf-8").splitlines() if not e.startswith("#")]
    assert entries == sorted(set(entries), key=entries.index), "none twice"
    for entry in entries:
        file, *names = entry.split("::")
        assert (ROOT / file).exists(), entry
        assert not names or f"def {names[-1]}(" in (ROOT / file).read_text("utf-8"), entry
