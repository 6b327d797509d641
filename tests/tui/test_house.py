"""How the files of the dashboard hang together."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tui

ROOT = Path(tui.__file__).parent


def imports(file: Path) -> set[str]:
    """Every module that a file names in an import, wherever that stands in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_circle_of_imports_and_no_screen_knows_the_app():
    files = {".".join(("tui", *f.relative_to(ROOT).with_suffix("").parts)): f for f in ROOT.rglob("*.py")}
    graph = {name: imports(file) & files.keys() for name, file in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
    assert len(files) > 20
    assert not [name for name, needs in graph.items() if name.startswith("tui.screens.") and "tui.app" in needs]
