"""A library of very many very short songs: what a song costs besides the work on it, and whether memory stays flat.

``python -m benchmarks.short_songs --songs 500`` makes that many different one-second songs, reads the headers of
10,000 (links to them), restores them, and runs a second time, where all is done.
"""

from __future__ import annotations

import engine  # isort: skip  # noqa: F401 - before NumPy: it says how many threads that takes
import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil
import soundfile
from rich.console import Console
from rich.table import Table

from engine.analysis.headers import look_at
from engine.analysis.song import analyze
from engine.audio.decode import open_decoder
from engine.commands.demo import RATE, compose
from engine.run.events import Event, SongDone
from engine.run.session import Session

_HEADERS = 10_000
_VARIANTS = ("01_baseline", "11_offline", "07_mastered")


def make_songs(folder: Path, count: int) -> list[Path]:
    """That many MP3s of one second each, no two the same."""
    piece = compose(30.0)
    songs = []
    for number in range(count):
        at = number * 1237 % (len(piece) - RATE)
        songs.append(folder / f"{number // 100:03d}" / f"{number:05d}.mp3")
        songs[-1].parent.mkdir(parents=True, exist_ok=True)
        level = 0.5 + 0.5 * number / count
        soundfile.write(songs[-1], piece[at : at + RATE] * level, RATE, format="MP3", compression_level=0.6)
    return songs


def restore(songs: Path, out: Path, jobs: int) -> tuple[float, list[float]]:
    """(seconds, memory in MB of this process and its children after each tenth of the songs)."""
    session = Session([songs], out, "offline", _VARIANTS)
    step = max(1, len(session.songs) // 10)
    memory: list[float] = []
    seen: list[Event] = []

    def receive(event: Event) -> None:
        if isinstance(event, SongDone):
            seen.append(event)
            if len(seen) % step == 0:
                me = psutil.Process()
                memory.append(sum(p.memory_info().rss for p in (me, *me.children())) / 2**20)

    session.subscribe(receive)
    began = time.monotonic()
    session.start(jobs=jobs).join()
    if session.outcome is None or session.outcome.failed:
        raise SystemExit("some songs failed")
    return time.monotonic() - began, memory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=0)
    options = parser.parse_args()
    table = Table("what", "in all", "a song", "10,000 of them", box=None)

    def tell(what: str, seconds: float, count: int) -> None:
        each = seconds / count
        table.add_row(what, f"{seconds:.1f} s", f"{1000 * each:.2f} ms", f"{each * 10_000 / 60:.1f} min")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        songs = make_songs(folder / "songs", options.songs)
        links = [folder / "links" / f"{n:05d}.mp3" for n in range(_HEADERS)]
        links[0].parent.mkdir()
        for number, link in enumerate(links):
            os.link(songs[number % len(songs)], link)
        analyze(songs[0])  # what is loaded once
        began = time.monotonic()
        look_at(links, lambda facts: None)
        tell("headers", time.monotonic() - began, _HEADERS)
        began = time.monotonic()
        for song in songs:
            with open_decoder(song) as decoded:
                for _ in decoded.blocks:
                    pass
        tell("decoding", time.monotonic() - began, len(songs))
        began = time.monotonic()
        for song in songs:
            analyze(song)
        tell("analysis, with decoding", time.monotonic() - began, len(songs))
        first, memory = restore(folder / "songs", folder / "out", options.jobs)
        tell(f"first run ({', '.join(_VARIANTS)})", first, len(songs))
        second, _ = restore(folder / "songs", folder / "out", options.jobs)
        tell("second run", second, len(songs))
    console = Console()
    console.print(table)
    console.print("memory after each tenth of the songs: " + ", ".join(f"{mb:.0f}" for mb in memory) + " MB")


if __name__ == "__main__":
    main()
