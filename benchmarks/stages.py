"""Speed of every stage and peak memory, beside programs that do the same work: ``make bench``.

Speeds are of processor seconds on one core: times real time, and as a ratio to plain decoding in the same run, which is
what can be compared between machines. Each step runs in a process of its own, so that its peak memory is its
own, behind a song of two seconds, so that nothing is loaded or started while it is measured. Another
program takes its turns with ours, and the best of each counts; where there is none, the table says why.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.others import OTHERS, Material, NotHere, write_song

_VARIANTS = {
    "decode": ("01_baseline", 'chain = ["decode"]'),
    "lowpass": ("20_lowpass", 'chain = ["decode", "lowpass"]'),
    "denoise": ("09_denoised", 'chain = ["decode", "denoise"]'),
    "restore": ("11_offline", 'chain = ["decode", { stage = "restore", engine = "learned", pre_echo = 0.5 }]'),
    "transients": ("20_transients", 'chain = ["decode", "transients"]'),
    "eq": ("20_eq", 'from = "01_baseline"\nchain = [{ stage = "eq", tilt_db = 0.5 }]'),
    "width": ("20_width", 'from = "01_baseline"\nchain = [{ stage = "width", high = 1.5 }]'),
    "compress": ("20_compress", 'from = "01_baseline"\nchain = ["compress"]'),
    "master": ("07_mastered", 'from = "01_baseline"\nchain = ["master"]'),
}
_WHOLE = "recipe offline, all of it"
_SLOW = ("denoise",)  # not done for the long song: its chunks are as long as the others', its work is not
_CHILD = """
import json, resource, sys
from pathlib import Path
import psutil
import engine.run.song_run as song_run
from benchmarks.memory import peak
from engine.run.events import SongDone, SongStarted, TaskDone, TaskStarted
from engine.run.session import Session

warm, song, out, recipe = map(Path, sys.argv[1:5])
recipe = str(recipe) if recipe.suffix else recipe.name
spent, begun = {}, {}


def seconds():
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    running = [child.cpu_times() for child in psutil.Process().children()]
    return sum(t.ru_utime + t.ru_stime for t in times) + sum(t.user + t.system for t in running)


def watch(event):
    if isinstance(event, (SongStarted, TaskStarted)):
        begun[getattr(event, "stage", "all")] = seconds()
    if isinstance(event, (SongDone, TaskDone)):
        name = getattr(event, "stage", "all")
        spent[name] = seconds() - begun[name]


def analyze(*arguments):
    began = seconds()
    result = measured(*arguments)
    spent["analysis"] = seconds() - began
    return result


measured, song_run.analyze = song_run.analyze, analyze
for path in (warm, song):
    session = Session([path], out, recipe, sys.argv[5:])
    session.subscribe(watch)
    session.start(jobs=1).join()
    assert session.outcome.done == 1, session.outcome
print(json.dumps({"spent": spent, "peak": peak() / (1 << 20)}))
"""


def measure(song: Path, stage: str, folder: Path) -> tuple[dict[str, float], float]:
    """(processor seconds of the analysis, of the stage and of others on the way, peak memory in MB) for ``song``."""
    warm = folder / "warm.mp3"
    if not warm.exists():
        write_song(warm, 2.0)
    recipe, wanted = Path("offline"), []
    if stage != _WHOLE:
        variant, chain = _VARIANTS[stage]
        recipe, wanted = folder / f"{stage}.toml", [variant]
        base = "" if stage == "decode" else '[variants.01_baseline]\nchain = ["decode"]\n'
        recipe.write_text(f"format = 1\n{base}[variants.{variant}]\n{chain}\n", "utf-8")
    command = [sys.executable, "-c", _CHILD, *map(str, (warm, song, folder / "out", recipe)), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "out")
    result = json.loads(done.stdout.splitlines()[-1])
    return result["spent"], result["peak"]


@dataclass(frozen=True)
class Row:
    """A line of the table; what is empty was not measured."""

    what: str
    times_real: float = 0.0
    times_decode: float = 0.0
    peak: str = ""  # MB
    long_peak: str = ""
    beside: str = ""
    ratio: str = ""  # the other's time over ours, or why there is none

    def cells(self) -> tuple[str, ...]:
        """As they are shown."""
        speeds = (f"{number:.1f}" if number else "" for number in (self.times_real, self.times_decode))
        return (self.what, *speeds, self.peak, self.long_peak, self.beside, self.ratio)


def stages(seconds: float, long: float, folder: Path, names: Sequence[str] = tuple(_VARIANTS)) -> Iterator[Row]:
    """The stages, decode first, and the whole recipe; of songs of ``seconds`` and, for their memory, of ``long``."""
    song, long_song = folder / "song.mp3", folder / "long.mp3"
    write_song(song, seconds)
    if long:
        write_song(long_song, long)
    decode = 0.0
    for stage in (*names, _WHOLE):
        spent, peak = measure(song, stage, folder)
        if not decode:
            decode = spent["decode"]
            yield Row("analysis", seconds / spent["analysis"], spent["analysis"] / decode)
        taken = spent["all" if stage == _WHOLE else stage]
        long_peak = f"{measure(long_song, stage, folder)[1]:.0f}" if long and stage not in _SLOW else ""
        yield Row(stage, seconds / taken, taken / decode, f"{peak:.0f}", long_peak)


def beside(material: Material) -> Iterator[Row]:
    """The same work by others, as far as they are here."""
    for other in OTHERS:
        try:
            seconds, ours, theirs = other.measure(material)
            yield Row(other.work, seconds / ours, beside=other.name, ratio=f"{theirs / ours:.2f}")
        except NotHere as reason:
            yield Row(other.work, beside=other.name, ratio=f"skipped: {reason}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="length of the song")
    parser.add_argument("--long", type=float, default=600, help="length of the long song; 0 leaves it out")
    parser.add_argument("--full", action="store_true", help="networks of full size beside others, not tiny ones")
    options = parser.parse_args()
    table = Table(title=f"{options.seconds:g} s of stereo at 44.1 kHz, on one core")
    for column in (
        "what",
        "x real time",
        "time / decode",
        "peak MB",
        f"at {options.long:g} s",
        "beside",
        "its time / ours",
    ):
        table.add_column(column, justify="left" if column in ("what", "beside") else "right")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in (*stages(options.seconds, options.long, folder), *beside(Material(folder, full=options.full))):
            table.add_row(*row.cells())
    console = Console()
    console.print(table)
    console.print(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
