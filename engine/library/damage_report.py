"""``_report/damage.csv`` and ``damage.json``: what was found in every song, for spreadsheets and programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from itertools import chain
from typing import Any

from engine import __version__
from engine.analysis.findings import findings
from engine.analysis.song import ANALYSIS_VERSION, SongAnalysis
from engine.analysis.tried import SelfTest
from engine.analysis.verdict import verdict_of
from engine.files import writing
from engine.library.records import SongRecord
from engine.library.store import Store
from engine.text import spreadsheet_cell

_TABLE, _WHOLE = "damage.csv", "damage.json"


def told(analysis: SongAnalysis, tried: SelfTest | None = None) -> dict[str, Any]:
    """Everything that was measured and found in a song, in plain types; ``tried``: the listener's own self-test."""
    return {
        "duration": round(analysis.duration, 3),
        "verdict": asdict(verdict_of(analysis, tried)),
        "findings": [asdict(one) for one in findings(analysis)],
        **analysis.to_json(),
    }


def bring_up_to_date(store: Store, tried: SelfTest | None = None) -> None:
    """Write both files where they do not tell of all records of the tree as they are, which takes a while where there
    are many; nothing where no song was analysed. Raises OSError."""
    made_by, mark = f"{__version__} {ANALYSIS_VERSION} {tried}", store.places.reported
    files = [store.places.report(name) for name in (_TABLE, _WHOLE)]
    with suppress(OSError, ValueError):
        if mark.read_text("utf-8") == made_by and all(path.is_file() for path in files):
            return
    _write(store, tried)
    if files[0].is_file():
        mark.write_text(made_by, "utf-8")


def _write(store: Store, tried: SelfTest | None) -> None:
    table, whole = store.places.report(_TABLE), store.places.report(_WHOLE)
    songs = _analysed(store)
    first = next(songs, None)
    if first is None:
        return
    topics = ("encoded", "history", "cutoff", "holes", "rounding", "pre-echo", "tails", "stereo", "dynamics")
    columns = [column for topic in topics for column in (topic, f"{topic}: figure")]
    table.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        place, other = stack.enter_context(writing(table)), stack.enter_context(writing(whole))
        rows = stack.enter_context(place.open("w", encoding="utf-8-sig", newline=""))
        objects = stack.enter_context(other.open("w", encoding="utf-8"))
        lines = csv.writer(rows)
        lines.writerow(["song", "verdict", "recipe", "why", *columns])
        objects.write("[")
        for number, (record, analysis) in enumerate(chain([first], songs)):
            whole_of_it = told(analysis, tried)
            lines.writerow(_row(record.source, whole_of_it, topics))
            objects.write(",\n" if number else "\n")
            json.dump({"file": record.source, **whole_of_it}, objects)
        objects.write("\n]\n")


def _analysed(store: Store) -> Iterator[tuple[SongRecord, SongAnalysis]]:
    for _, record in store.records(all_of_them=True):
        if record.analysis is not None:
            yield record, record.analysis


def _row(source: str, known: dict[str, Any], topics: tuple[str, ...]) -> list[str]:
    """The cells of a song, of what is :func:`told` of it."""
    verdict = known["verdict"]
    found = {one["topic"]: one for one in known["findings"]}
    cells = [source, "leave" if verdict["leave"] else "restore", verdict["recipe"], verdict["reason"]]
    for topic in topics:
        one = found.get(topic)
        cells += [one["severity"], one["figure"]] if one is not None else ["", ""]
    return [spreadsheet_cell(cell) for cell in cells]
