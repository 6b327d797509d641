"""The report of a library: one page to see and hear it, a table and a JSON file.

The page is one file: its script, style and figures are in it, and it asks no network for anything. What it plays and
the pictures that it shows are files beside it, named by relative addresses: the output folder can be moved or copied as
a whole. Without them, the page still tells all figures. Names and tags are data to it, never HTML; its policy
(Content-Security-Policy) lets nothing run but its own script.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from engine import __version__
from engine.compare.batch import Entry, Version
from engine.compare.figures import COLUMNS, OCTAVES
from engine.files import writing
from engine.library.state_file import read_checked, write_checked
from engine.library.store import Store
from engine.planning.recipes import by_number
from engine.text import counted, printable, spreadsheet_cell

PAGE, TABLE, WHOLE = "report.html", "report.csv", "report.json"
_ORIGINALS, _FORMAT = "originals.json", 1


def originals_of(store: Store) -> Path | None:
    """The folder of originals that the latest report was made with; None where it was made without."""
    folder = (read_checked(store.places.report(_ORIGINALS), 0) or {}).get("folder")
    return Path(folder) if isinstance(folder, str) and folder else None


def write(store: Store, entries: Sequence[Entry], originals: Path | None = None) -> Path:
    """Write all three files anew, each whole or not at all; gives the page's path. Raises OSError.

    ``originals`` is the folder of originals that was compared with: it is remembered for the next report.
    """
    page, table, whole = (store.places.report(name) for name in (PAGE, TABLE, WHOLE))
    page.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        places = [stack.enter_context(writing(path)) for path in (page, table, whole)]
        places[0].write_bytes(html(entries, store.out).encode("utf-8"))
        with places[1].open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows(rows(entries))
        with places[2].open("w", encoding="utf-8") as file:
            songs = [asdict(entry) for entry in entries]
            json.dump({"program": __version__, "octaves_hz": OCTAVES, "songs": songs}, file, indent=1)
    if originals is not None:
        folder = os.path.abspath(originals)
        write_checked(store.places.report(_ORIGINALS), {"format": _FORMAT, "folder": folder})
    else:
        store.places.report(_ORIGINALS).unlink(missing_ok=True)
    return page


# --- the table --------------------------------------------------------------------------------------------


def rows(entries: Iterable[Entry]) -> Iterator[list[str]]:
    """Lines of a CSV file: one for each variant of each song, with a first one of names."""
    octaves = [f"octave {hz} Hz (dB)" for hz in OCTAVES]
    yield ["song", "variant", *(f"{c.title} ({c.unit})" for c in COLUMNS), *octaves, "lost", "file", "problem"]
    for entry in entries:
        for version in entry.versions:
            figures = ["" if (value := c.of(version.figures)) is None else f"{value}" for c in COLUMNS]
            levels = ["" if level is None else f"{level}" for level in version.figures.octaves]
            texts = (version.lost, version.path, "")
            yield [*map(spreadsheet_cell, (entry.name, version.name)), *figures, *levels, *map(spreadsheet_cell, texts)]
        if not entry.versions:
            yield [
                spreadsheet_cell(entry.name),
                *[""] * (len(COLUMNS) + len(OCTAVES) + 3),
                spreadsheet_cell(entry.problem),
            ]


# --- the page ---------------------------------------------------------------------------------------------


def html(entries: Sequence[Entry], out: Path) -> str:
    """The page, for the folder ``_report`` in the output folder ``out``."""
    folder = resources.files("engine.compare") / "page"
    page, style, script = (folder.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src 'self' file: data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
    # The data last: whatever is in it is not looked through again.
    for name, text in (("POLICY", policy), ("STYLE", style), ("SCRIPT", script)):
        page = page.replace(f"@{name}@", text)
    before, after = page.split("@DATA@")
    return before + embedded(data(entries, out)) + after


def embedded(value: Any) -> str:
    """JSON that nothing in a script element can end or be taken for: all that HTML looks at is escaped."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def data(entries: Sequence[Entry], out: Path) -> dict[str, Any]:
    """All that the page shows, in plain types."""
    used = [c for c in COLUMNS if any(c.of(v.figures) is not None for e in entries for v in e.versions)]
    columns = [c for c in COLUMNS if c in used or c is COLUMNS[0]]  # the players are matched by the first
    return {
        "title": printable(out.parent.name),
        "counts": f"{counted(len(entries), 'song')}, {counted(sum(len(e.versions) for e in entries), 'file')}",
        "octaves": OCTAVES,
        "columns": [{"title": c.title, "unit": c.unit, "digits": c.digits, "tells": c.tells} for c in columns],
        "summary": summary(entries, columns),
        "songs": [_song(entry, columns) for entry in entries],
    }


def summary(entries: Iterable[Entry], columns: Sequence[Any] = COLUMNS) -> list[dict[str, Any]]:
    """For each variant: ``name``, how many ``songs`` have it, how many of them it ``lost`` much of, and the medians."""
    found: dict[str, list[Version]] = {}
    for entry in entries:
        for version in entry.versions:
            found.setdefault(version.name, []).append(version)
    lines = []
    for name in sorted(found, key=by_number):
        own = found[name]
        values = [[v for version in own if (v := c.of(version.figures)) is not None] for c in columns]
        medians = [
            round(float(np.median(some)), c.digits) if some else None for some, c in zip(values, columns, strict=True)
        ]
        lines.append({"name": name, "songs": len(own), "lost": sum(bool(v.lost) for v in own), "figures": medians})
    return lines


def _song(entry: Entry, columns: Sequence[Any]) -> dict[str, Any]:
    verdict = entry.verdict
    return {
        "name": entry.name,
        "duration": round(entry.duration, 3),
        "cutoff": entry.cutoff,
        "rate": entry.rate,
        "favourite": entry.favourite,
        "verdict": f"{verdict.advice[:1].upper()}{verdict.advice[1:]}. {verdict.reason}" if verdict is not None else "",
        "findings": [[f.topic, f.figure, f.severity, f.sentence] for f in entry.findings],
        "problem": entry.problem,
        "leftOut": entry.left_out,
        "original": entry.original,
        "versions": [
            {
                "name": version.name,
                "url": address(version.path),
                "picture": version.picture,
                "difference": version.difference,
                "lost": version.lost,
                "figures": [c.of(version.figures) for c in columns],
                "octaves": version.figures.octaves,
                "against": version.figures.reference.octaves if version.figures.reference is not None else None,
            }
            for version in entry.versions
        ],
    }


def address(path: str) -> str:
    """The relative address, from the report's folder, of a file of the output folder: every byte that could be taken
    for something else is encoded."""
    return "../" + "/".join(quote(os.fsencode(part), safe="") for part in path.split("/"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
