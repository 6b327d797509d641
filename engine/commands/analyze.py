"""``mp3restore analyze``: what songs are, as tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.analysis.findings import findings
from engine.analysis.song import SongAnalysis, analyze
from engine.analysis.tried import SelfTest, last
from engine.analysis.verdict import verdict_of
from engine.audio.decode import read_tags
from engine.errors import SongError, UsageError
from engine.library.damage_report import told
from engine.library.scan import default_output, find_songs
from engine.text import duration, fit, printable

_TITLE = 100  # cells of what its tags say
_STYLES = {
    "fine": "green", "leave it alone": "green", "slight": "cyan", "clear": "yellow", "restore": "yellow",
    "heavy": "red",
}  # fmt: skip


def show(paths: list[Path], *, as_json: bool) -> int:
    """Analyse and print each of the songs and of those below the folders in ``paths``.

    Gives the exit code: 1 where one could not be read. Raises UsageError where a folder holds none.
    """
    failed = False
    found: list[dict[str, Any]] = []
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    tried = last()
    for path in _songs(paths):
        try:
            analysis = analyze(path)
        except SongError as error:
            failed = True
            found.append({"file": str(path), "error": str(error)})
            if not as_json:
                console.print(Text.assemble((printable(str(path)), "bold"), f"\n  {error}\n"))
            continue
        found.append({"file": str(path), **told(analysis, tried)})
        if not as_json:
            console.print(_table(path, analysis, tried))
    if as_json:
        print(json.dumps(found, indent=1))
    return 1 if failed else 0


def _songs(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = find_songs([path], default_output([path]))
        if not found:
            raise UsageError(f"There are no songs in {printable(str(path))}.")
        yield from (item.path for item in found)


def _table(path: Path, analysis: SongAnalysis, tried: SelfTest | None) -> Table:
    tags, _ = read_tags(path)
    names = [tags.first("ARTIST"), tags.first("TITLE")]
    title = fit(" – ".join(printable(n) for n in names if n), _TITLE).rstrip()
    table = Table(
        title=Text.assemble((printable(path.name), "bold"), (f"  {title}" if title else "", "dim")),
        title_justify="left", box=None, show_header=False, pad_edge=True,
    )  # fmt: skip
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in (verdict_row(analysis, tried), *describe(analysis)):
        text = Text.assemble(printable(row.text), (f"\n{printable(row.figure)}" if row.figure else "", "dim"))
        table.add_row(row.topic, Text(row.severity, _STYLES.get(row.severity, "")), text)
    for warning in analysis.warnings:
        table.add_row("note", "", Text(printable(warning), "yellow"))
    table.add_row("", "", "")
    return table


@dataclass(frozen=True)
class Row:
    """A line of what is said of a song: ``severity`` is empty where nothing is judged, ``figure`` where none is."""

    topic: str
    severity: str
    text: str
    figure: str = ""


def verdict_row(analysis: SongAnalysis, tried: SelfTest | None = None) -> Row:
    """What is worth doing, and why; ``tried``: the listener's own self-test."""
    verdict = verdict_of(analysis, tried)
    if verdict.leave:
        return Row("verdict", "leave it alone", verdict.reason)
    return Row("verdict", "restore", f"{verdict.reason} Worth it: --recipe {verdict.recipe}.")


def describe(analysis: SongAnalysis) -> list[Row]:
    """Everything that was found, in words: the format, and a row for each finding."""
    channels = {1: "mono", 2: "stereo"}.get(analysis.channels, f"{analysis.channels} channels")
    if analysis.exact_mono and analysis.channels > 1:
        channels += ", both channels the same"
    form = f"{duration(analysis.duration)}, {analysis.rate / 1000:g} kHz, {channels}, {_container(analysis)}"
    return [
        Row("format", "", form),
        *(Row(one.topic, one.severity, one.sentence, one.figure) for one in findings(analysis)),
    ]


def _container(analysis: SongAnalysis) -> str:
    if analysis.mpeg is not None:
        return f"{analysis.mpeg.version} Layer III"
    return analysis.container
