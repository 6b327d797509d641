"""How much the dashboard costs: ``python -m benchmarks.dashboard``.

5,000 songs in the table, the offline restorer on every core as the engine at full work, and twenty progress events a
second. Told
are the time from a key to the paint that follows it, and the dashboard's share of one core; and the time from the
start of the program to its first paint, as a ratio to starting Python with numpy.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from engine.machine.priority import work_in_background
from engine.run.events import Progress, TaskStarted
from tui.app import RestoreApp
from tui.widgets.song_table import SongTable


def _work(end: threading.Event) -> None:
    """What the engine's threads do: the offline restorer's chunks, in this process, at the engine's priority."""
    from engine.dsp.replicate import BandProfile
    from engine.stages.restore import RestoreParams, _Restorer

    work_in_background()
    noise = np.random.default_rng(0).standard_normal((44100 * 10, 2)).astype(np.float32) * 0.1
    restore = _Restorer(BandProfile(16000.0, -3.0, 1.0, -1.0, 0.5), RestoreParams(), True, 44100, 1)
    while not end.is_set():
        restore(noise, 0)


def _library(folder: Path, songs: int) -> Path:
    for number in range(songs):
        path = (
            folder
            / f"Artist {number // 100:02d}"
            / f"Album {number // 10 % 10}"
            / f"{number:04d} A song of some length.mp3"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xfb\x90\x64")
    return folder


async def _measure(library: Path, songs: int, keys: int) -> tuple[list[float], float]:
    """(seconds from key to paint, share of one core while events stream in)."""
    app = RestoreApp([library])
    painted = asyncio.Event()
    async with app.run_test(size=(160, 45)) as pilot:
        while app.library is None or len(app.library.songs) < songs:
            await pilot.pause(0.1)
        await pilot.pause(3.0)
        await app.workers.wait_for_complete()
        table = app.home.query_one(SongTable)
        compose = SongTable.render_line

        def render_line(self: SongTable, y: int) -> Any:
            painted.set()
            return compose(self, y)

        SongTable.render_line = render_line  # type: ignore[method-assign]
        end = threading.Event()
        assert app.library is not None
        receive, ids = app.library.receive, [v.song.id for v in app.library.songs[:4]]

        def stream() -> None:
            for song in ids:
                receive(TaskStarted(song, "11_offline", "11_offline", "restore", "cpu"))
            count = 0
            while not end.wait(0.05):
                count += 1
                song = ids[count % len(ids)]
                receive(Progress(song, "11_offline", "11_offline", "restore", count % 20, 20, count % 100 / 100))

        threading.Thread(target=stream, daemon=True).start()
        await asyncio.sleep(1.0)
        cpu, began = time.thread_time(), time.perf_counter()
        await asyncio.sleep(8.0)
        share = (time.thread_time() - cpu) / (time.perf_counter() - began)
        times = []
        for number in range(keys):
            cursor = table.cursor
            painted.clear()
            began = time.perf_counter()
            app.simulate_key("down" if number % 40 < 20 else "up")
            while table.cursor == cursor or not painted.is_set():
                await asyncio.sleep(0)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
        end.set()
        SongTable.render_line = compose  # type: ignore[method-assign]
    return times, share


def _first_paint() -> float:
    """Seconds from starting the program in a terminal to its first words on the screen."""
    began = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "tui"])
    seen = b""
    while b"open a folder" not in seen and time.perf_counter() - began < 20:
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536)
    took = time.perf_counter() - began
    os.write(fd, b"q")
    os.close(fd)
    os.waitpid(pid, 0)
    return took


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=5000)
    parser.add_argument("--keys", type=int, default=400)
    options = parser.parse_args()
    console = Console()
    starts = sorted(_first_paint() for _ in range(5))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    plain = time.perf_counter() - began
    console.print(f"first paint after {starts[2]:.2f} s (median of 5), {starts[2] / plain:.1f} x 'import numpy'")
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(HOME=name, XDG_CONFIG_HOME=name, XDG_STATE_HOME=name)
        library = _library(Path(name) / "Music", options.songs)
        for busy in (0, os.cpu_count() or 2):
            end = threading.Event()
            workers = [threading.Thread(target=_work, args=(end,), daemon=True) for _ in range(busy)]
            for worker in workers:
                worker.start()
            times, share = asyncio.run(_measure(library, options.songs, options.keys))
            end.set()
            for worker in workers:
                worker.join()
            times.sort()
            p99 = times[int(len(times) * 0.99)]
            median = statistics.median(times)
            console.print(f"{options.songs} songs, {busy} cores busy:")
            console.print(f"  key to paint: median {median * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
            console.print(f"  dashboard: {share:.1%} of a core at 20 events/s")


if __name__ == "__main__":
    main()
