"""Memory and open files along the length of a song: ``python -m benchmarks.long_songs SONG.mp3 FOLDER [MINUTES...]``.

The frames of SONG are repeated to songs of so many MINUTES (10 and 60), which are analysed and restored by the recipe
``offline`` as anybody would do it; told are times, and what the program and its reading child held at most.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

from engine.audio.mpeg import find_frame, id3v2_size, parse_header

_PAUSE = 0.2  # seconds between two looks


def repeated(song: Path, path: Path, minutes: float) -> None:
    """Write the frames of ``song``, but for its header's, again and again to ``path``."""
    data = song.read_bytes()
    at = find_frame(data, id3v2_size(data[:10]), len(data))
    frame = parse_header(data, at)
    assert frame is not None
    rate, per_frame = frame.rate, frame.samples
    at += frame.size
    start = at
    count = 0
    while (frame := parse_header(data, at)) is not None and at + frame.size <= len(data):
        at, count = at + frame.size, count + 1
    with path.open("wb") as file:
        for _ in range(round(minutes * 60 * rate / (count * per_frame))):
            file.write(data[start:at])


def watched(*arguments: str) -> tuple[float, int, int, int]:
    """Run the program: seconds, the peaks of itself and of its children in bytes, and the most open files."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "engine", *arguments], stdout=subprocess.DEVNULL)
    own = children = files = 0
    me = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            own, files = max(own, _peak(me)), max(files, me.num_fds())
            children = max(children, *map(_peak, me.children()), 0)
        except (psutil.Error, OSError):
            pass
        time.sleep(_PAUSE)
    if process.returncode:
        raise SystemExit(f"it ended with {process.returncode}")
    return time.monotonic() - began, own, children, files


def _peak(process: psutil.Process) -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text("ascii"))
    return int(found[1]) << 10 if found is not None else 0


def main() -> None:
    """Measure, and print a table."""
    song, folder, *minutes = sys.argv[1:]
    print("| minutes | what | seconds | times real time | program | its reading child | open files |")
    print("|---|---|---|---|---|---|---|")
    for length in minutes or ("10", "60"):
        path = Path(folder) / length / "Long.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        repeated(Path(song), path, float(length))
        for what, arguments in (
            ("analysed", ("analyze", str(path))),
            ("restored", ("--no-tui", "--recipe", "offline", str(path))),
        ):
            took, own, children, files = watched(*arguments)
            fast = float(length) * 60 / took
            print(
                f"| {length} | {what} | {took:.0f} | {fast:.0f} | {own >> 20} MB | {children >> 20} MB | {files} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
