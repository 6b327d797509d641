"""What the dashboard's model keeps of a day: ``python -m benchmarks.day_of_events MUSIC OUT``.

The events of 24 hours, twenty a second, of the songs in MUSIC one after the other, drained as often as a screen would;
told are memory and open files after each tenth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from engine.run.events import Event, Progress, SongStarted, TaskDone, TaskStarted
from engine.run.session import Session
from tui.model import DashboardModel

_EVENTS = 24 * 3600 * 20
_A_TASK = 100  # events


def _event(model: DashboardModel, number: int) -> Event:
    song = model.songs[number // _A_TASK % len(model.songs)].song.id
    task = model.final[number // _A_TASK % len(model.final)].id
    match number % _A_TASK:
        case 0:
            return SongStarted(song, number, 3, 200.0, False)
        case 1:
            return TaskStarted(song, task, task, "restore", "cpu")
        case 99:
            return TaskDone(song, task, task, "restore", 5.0, 40.0, (), ("a warning",), "")
        case step:
            return Progress(song, task, task, "restore", step, _A_TASK, step / _A_TASK)


def main() -> None:
    """Feed, and print."""
    music, out = map(Path, sys.argv[1:])
    model = DashboardModel(Session([music], out, "offline"))
    me = psutil.Process()
    for number in range(_EVENTS):
        model.receive(_event(model, number))
        if number % 2:
            model.drain()
            model.new_lines.clear()
        if number % (_EVENTS // 10) == 0:
            print(f"{number / 72000:.1f} h: {me.memory_info().rss / 2**20:.0f} MB, {me.num_fds()} files", flush=True)


if __name__ == "__main__":
    main()
