"""Speed of every stage and peak memory: ``make bench``.

Speeds are multiples of real time on this machine, and as a ratio to plain decoding in the same run, which is
what can be compared between machines. Every recipe step runs in a process of its own, so that its peak memory is
its own; the last table holds that of a long song against that of a short one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from engine.commands.demo import RATE, compose

_VARIANTS = {
    "decode": ("01_baseline", 'chain = ["decode"]'),
    "lowpass": ("20_lowpass", 'chain = ["decode", "lowpass"]'),
    "denoise": ("09_denoised", 'chain = ["decode", "denoise"]'),
    "restore": ("11_offline", 'chain = ["decode", "restore"]'),
    "eq": ("20_eq", 'from = "01_baseline"\nchain = [{ stage = "eq", tilt_db = 0.5 }]'),
    "width": ("20_width", 'from = "01_baseline"\nchain = [{ stage = "width", high = 1.5 }]'),
    "compress": ("20_compress", 'from = "01_baseline"\nchain = ["compress"]'),
    "master": ("07_mastered", 'from = "01_baseline"\nchain = ["master"]'),
}
_CHILD = """
import json, resource, sys
from pathlib import Path
from engine.run.events import TaskDone
from engine.run.session import Session
session = Session([Path(sys.argv[1])], Path(sys.argv[2]), sys.argv[3], [sys.argv[4]])
times = {}
session.subscribe(lambda e: times.update({e.stage: e.seconds}) if isinstance(e, TaskDone) else None)
session.start(jobs=1).join()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
print(json.dumps({"times": times, "peak": peak}))
"""


def make_song(path: Path, seconds: float) -> None:
    """An MP3 of that length."""
    piece = compose(30.0)
    with soundfile.SoundFile(path, "w", RATE, 2, format="MP3") as file:
        for _ in range(max(1, round(seconds / 30))):
            file.write(np.asarray(piece))


def measure(song: Path, stage: str, folder: Path) -> tuple[float, float]:
    """(seconds that the stage took, peak memory in MB) for ``song``."""
    variant, chain = _VARIANTS[stage]
    recipe = folder / f"{stage}.toml"
    base = "" if stage == "decode" else '[variants.01_baseline]\nchain = ["decode"]\n'
    recipe.write_text(f"format = 1\n{base}[variants.{variant}]\n{chain}\n", "utf-8")
    command = [sys.executable, "-c", _CHILD, str(song), str(folder / "out"), str(recipe), variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "out")
    result = json.loads(done.stdout.splitlines()[-1])
    return result["times"][stage], result["peak"]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="length of the song")
    parser.add_argument("--long", type=float, default=1200, help="length of the long song; 0 leaves it out")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        song, long = folder / "song.mp3", folder / "long.mp3"
        make_song(song, options.seconds)
        if options.long:
            make_song(long, options.long)
        table = Table(title=f"{options.seconds:g} s of stereo at 44.1 kHz")
        for column in ("stage", "x real time", "time / decode", "peak MB", f"peak MB at {options.long:g} s"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        began = time.monotonic()
        reference = None
        for stage in _VARIANTS:
            seconds, peak = measure(song, stage, folder)
            reference = reference or seconds
            long_peak = ""
            if options.long and stage != "denoise":  # its chunks are as long as the others', its work is not
                long_peak = f"{measure(long, stage, folder)[1]:.0f}"
            table.add_row(
                stage,
                f"{options.seconds / seconds:.1f}",
                f"{seconds / reference:.1f}",
                f"{peak:.0f}",
                long_peak,
            )
        console.print(table)
        console.print(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
