"""``_report/damage.csv`` and ``damage.json``: what was found in every song, for spreadsheets and programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from typing import Any

from engine.analysis.findings import findings
from engine.analysis.song import SongAnalysis
from engine.analysis.verdict import verdict_of
from engine.files import writing
from engine.library.records import SongRecord
from engine.library.store import Store
from engine.text import spreadsheet_cell


def told(analysis: SongAnalysis) -> dict[str, Any]:
    """Everything that was measured and found in a song, in plain types."""
    return {
        "duration": round(analysis.duration, 3),
        "verdict": asdict(verdict_of(analysis)),
        "findings": [asdict(one) for one in findings(analysis)],
        **analysis.to_json(),
    }


def write(store: Store) -> None:
    """Write both files anew from the records of the tree; nothing where no song was analysed. Raises OSError."""
    table, whole = store.places.report("damage.csv"), store.places.report("damage.json")
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
            lines.writerow(_row(record, analysis, topics))
            objects.write(",\n" if number else "\n")
            json.dump({"file": record.source, **told(analysis)}, objects)
        objects.write("\n]\n")


def _analysed(store: Store) -> Iterator[tuple[SongRecord, SongAnalysis]]:
    for _, record in store.records():
        if record.analysis is not None:
            yield record, record.analysis


def _row(record: SongRecord, analysis: SongAnalysis, topics: tuple[str, ...]) -> list[str]:
    verdict = verdict_of(analysis)
    found = {one.topic: one for one in findings(analysis)}
    cells = [record.source, "leave" if verdict.leave else "restore", verdict.recipe, verdict.reason]
    for topic in topics:
        one = found.get(topic)
        cells += [one.severity, one.figure] if one is not None else ["", ""]
    return [spreadsheet_cell(cell) for cell in cells]
