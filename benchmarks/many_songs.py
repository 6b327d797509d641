"""Memory, threads and open files along a run over 10,000 songs: ``python -m benchmarks.many_songs FOLDER [COUNT]``.

So many songs of one second, which differ in their last bytes, in 500 folders, are restored (recipe ``offline``, its
variants given with ``--variants``) by the program as anybody would start it; it is killed once in the middle and goes
on. Told every so many songs: what the process holds, and how fast the last of them went. Then every result is read
against its marker, and a third run must find nothing to do.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import soundfile

from engine.commands.demo import RATE, compose

_FOLDERS = 500
_LINES = 20  # of the table, for each of the two runs


def make_songs(folder: Path, count: int) -> Path:
    """The folder with ``count`` songs of a second."""
    first = folder / "first.mp3"
    first.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(first, compose(3.0)[:RATE], RATE, format="MP3", compression_level=0.6)
    audio = first.read_bytes()
    first.unlink()
    for number in range(count):
        place = number * _FOLDERS // count
        path = folder / "Music" / f"Artist {place // 5:03d}" / f"Album {place % 5}" / f"{number:05d} A song.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(audio[:-4] + number.to_bytes(4, "big"))
    return folder / "Music"


def run(music: Path, out: Path, variants: str, every: int, kill_at: int = 0) -> Iterator[tuple[int, float, str]]:
    """(songs done, seconds, what the process holds) of a run, every so many songs; killed at ``kill_at``."""
    command = [sys.executable, "-m", "engine", "--no-tui", "--json", "--recipe", "offline", "--out", str(out)]
    command += ["--variants", variants] if variants else []
    began = time.monotonic()
    with subprocess.Popen([*command, str(music)], stdout=subprocess.PIPE, text=True) as process:
        me, done = psutil.Process(process.pid), 0
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("event") == "BatchDone":
                print(f"The run: {event}")
            if event.get("event") != "SongDone":
                continue
            done += 1
            if done == 1 or done % every == 0:
                yield done, time.monotonic() - began, _held(me)
            if done == kill_at:
                process.send_signal(signal.SIGKILL)
                break
    if process.returncode != (-signal.SIGKILL if kill_at else 0):
        raise SystemExit(f"it ended with {process.returncode}")
    yield done, time.monotonic() - began, "killed" if kill_at else "ended"


def _held(me: psutil.Process) -> str:
    children = me.children(recursive=True)
    memory = sum(child.memory_info().rss for child in children if child.is_running())
    return (f"{me.memory_info().rss / 2**20:.0f} MB, {me.num_fds()} files, {me.num_threads()} threads; "
            f"{len(children)} children, {memory / 2**20:.0f} MB")  # fmt: skip


def main() -> None:
    """Make the songs, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--variants", default="")
    wanted = parser.parse_args()
    music = make_songs(wanted.folder, wanted.count)
    out, every = wanted.folder / "out", max(1, wanted.count // _LINES)
    for name, kill_at in (("first", wanted.count // 2), ("after the kill", 0), ("third", 0)):
        print(f"{name} run", flush=True)
        for done, seconds, held in run(music, out, wanted.variants, every, kill_at):
            print(f"{done:6d} songs  {seconds:7.1f} s  {held}", flush=True)
    subprocess.run([sys.executable, "-m", "engine", "verify", "--out", str(out), str(music)], check=True)


if __name__ == "__main__":
    main()
