"""The pages keep their word: sentences they quote are the program's own, and links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def texts(tree: ast.AST):
    """Every text in some code, with … for what is put into it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_sentence_of_the_troubleshooting_is_one_of_the_program():
    code = [file for folder in ("engine", "tui") for file in (ROOT / folder).rglob("*.py")]
    said = "\n".join(text for file in code for text in texts(ast.parse(file.read_text("utf-8"))))
    said += "".join((ROOT / name).read_text("utf-8") for name in ("Makefile", "launch.cmd"))
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = [
        q for row in re.findall(r"^\| (`[^|]*) \|", page, re.M) for q in re.findall(r"`([^`]+)`", row) if " " in q
    ]
    assert len(quoted) > 50
    for sentence in quoted:
        assert sentence in said, f"nothing says: {sentence}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in anchors, target


def test_every_page_and_picture_is_in_the_index_or_on_a_page():
    told = {link for page in PAGES for link in re.findall(r"\]\((?:docs/)?([\w.-]+)", page.read_text("utf-8"))}
    here = {file.name for file in (ROOT / "docs").iterdir() if file.suffix in (".md", ".png", ".svg")}
    assert not here - told - {"README.md"}


def test_the_readme_is_short_and_its_figures_are_those_that_were_measured():
    readme, measured = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/measured.md"))
    assert len(readme.splitlines()) <= 150
    rows = re.findall(r"^\| (64 kbit/s|96 kbit/s|128 kbit/s|V5|192 kbit/s) \| (\S+) \| (\S+) \|", readme, re.M)
    assert len(rows) == 5
    (mean,) = re.findall(r"^\| \*\*mean\*\* \|(.*)\|$", measured, re.M)
    columns = [cell.strip(" *") for cell in mean.split("|")]
    assert [f"{before} to {after}" for _, before, after in rows] == [columns[i] for i in (0, 1, 2, 3, 4)]


def test_commands_stand_in_the_documents_as_they_are():
    """What a page says that one runs exists: modules, targets of make, commands of the program."""
    told = "\n".join(page.read_text("utf-8") for page in PAGES)
    for module in set(re.findall(r"python -m ((?:docs|benchmarks|training|tests)(?:\.\w+)*)", told)):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for asked in set(re.findall(r"`make ([\w-]+)", told) + re.findall(r"^make ([\w-]+)", told, re.M)):
        assert asked in targets, asked
