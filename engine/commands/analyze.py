"""``mp3restore analyze``: what songs are, as tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.analysis.song import SongAnalysis, analyze
from engine.audio.decode import read_tags
from engine.errors import SongError, UsageError
from engine.library.scan import default_output, find_songs
from engine.text import duration, printable


def show(paths: list[Path], *, as_json: bool) -> int:
    """Analyse and print each of the songs and of those below the folders in ``paths``.

    Gives the exit code: 1 where one could not be read. Raises UsageError where a folder holds none.
    """
    failed = False
    found: list[dict[str, Any]] = []
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for path in _songs(paths):
        try:
            analysis = analyze(path)
        except SongError as error:
            failed = True
            found.append({"file": str(path), "error": str(error)})
            if not as_json:
                console.print(Text.assemble((printable(str(path)), "bold"), f"\n  {error}\n"))
            continue
        found.append({"file": str(path), "duration": round(analysis.duration, 3), **analysis.to_json()})
        if not as_json:
            console.print(_table(path, analysis))
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


def _table(path: Path, analysis: SongAnalysis) -> Table:
    tags, _ = read_tags(path)
    names = [tags.first("ARTIST"), tags.first("TITLE")]
    title = " – ".join(printable(n) for n in names if n)
    table = Table(
        title=Text.assemble((printable(path.name), "bold"), (f"  {title}" if title else "", "dim")),
        title_justify="left", box=None, show_header=False, pad_edge=True,
    )  # fmt: skip
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in describe(analysis):
        table.add_row(name, Text(printable(text)))
    for warning in analysis.warnings:
        table.add_row("note", Text(printable(warning), "yellow"))
    table.add_row("", "")
    return table


def describe(analysis: SongAnalysis) -> list[tuple[str, str]]:
    """(topic, text) for everything that was found, in words."""
    channels = {1: "mono", 2: "stereo"}.get(analysis.channels, f"{analysis.channels} channels")
    if analysis.exact_mono and analysis.channels > 1:
        channels += ", both channels the same"
    rows = [
        (
            "format",
            f"{duration(analysis.duration)}, {analysis.rate / 1000:g} kHz, {channels}, {_container(analysis)}",
        )
    ]
    mpeg = analysis.mpeg
    if mpeg is not None:
        encoder = mpeg.lame.encoder if mpeg.lame is not None else "unknown encoder"
        mode = mpeg.mode
        if mpeg.mode == "joint stereo" or mpeg.joint_share:
            mode += f" ({mpeg.mid_side_share:.0%} of frames mid/side)"
        rows.append(("encoded", f"{encoder}, {mpeg.bitrate / 1000:.0f} kbit/s {mpeg.bitrate_mode}, {mode}"))
        if mpeg.lame is not None and mpeg.lame.lowpass:
            rows.append(("low-pass", f"{mpeg.lame.lowpass / 1000:.1f} kHz, by the encoder's own tag"))
    cutoff = analysis.cutoff
    if cutoff.hz is None:
        rows.append(("cutoff", f"none found (confidence {cutoff.confidence:.0%})"))
    else:
        rows.append(("cutoff", f"{cutoff.hz / 1000:.1f} kHz, {cutoff.source} (confidence {cutoff.confidence:.0%})"))
    loudness = f"{analysis.loudness:.1f} LUFS" if analysis.loudness > -100 else "no loudness"
    rows.append(("level", f"{loudness}, true peak {analysis.true_peak:.1f} dBTP, peak {analysis.peak:.1f} dBFS"))
    if analysis.overs or analysis.clipped_runs:
        rows.append(("clipping", f"{analysis.clipped_runs} flat tops, {analysis.overs} samples beyond full scale"))
    else:
        rows.append(("clipping", "none"))
    return rows


def _container(analysis: SongAnalysis) -> str:
    if analysis.mpeg is not None:
        return f"{analysis.mpeg.version} Layer III"
    return analysis.container
