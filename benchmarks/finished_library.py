"""A finished library of 10,000 songs: how soon it is on the screen, and how soon a run finds nothing to do.

``python -m benchmarks.finished_library`` restores one short song, and makes of it as many songs as are wanted: MP3s
that sound different by a few bits, in 500 folders, each with the record and the markers that a run would have written
(the results are hard links to those of the first). Then it measures, each in a process of its own.
"""

from __future__ import annotations

import engine  # isort: skip  # noqa: F401 - before NumPy: it says how many threads that takes
import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePath
from typing import Any
from unittest import mock

import psutil
import soundfile
from rich.console import Console
from rich.table import Table

from engine.audio.sound_hash import sound_hash
from engine.commands.demo import RATE, compose
from engine.library.records import Marker, Song, SongRecord
from engine.library.state_index import index_path
from engine.library.store import Store
from engine.planning.task import State
from engine.run.session import Session

_FOLDERS = 500
_RECIPE = "offline"


# --- making it ------------------------------------------------------------------------------------------------


def make_library(folder: Path, count: int) -> tuple[Path, Path]:
    """(the songs, the output folder) of a finished library of ``count`` songs."""
    first, music, out = folder / "first" / "song.mp3", folder / "Music", folder / "out"
    first.parent.mkdir(parents=True)
    soundfile.write(first, compose(3.0)[:RATE], RATE, format="MP3", compression_level=0.6)
    session = Session([first.parent], folder / "first-out", _RECIPE)
    session.start().join()
    made = _Made(session)
    per_folder = -(-count // _FOLDERS)
    with mock.patch("os.fsync", lambda handle: None):  # nothing here is worth waiting for the disk
        store = Store(out)
        for number in range(count):
            place = number // per_folder
            relative = PurePath(f"Artist {place // 5:03d}", f"Album {place % 5}", f"{number:05d} A song.mp3")
            made.again(store, music / relative, relative.with_suffix(""), number)
    return music, out


class _Made:
    """A song with all that was made of it, to be made again for others."""

    def __init__(self, session: Session) -> None:
        song, self._store = session.songs[0], session.store
        record = self._store.record(song)
        assert record is not None
        self._song, self._record = song, record
        self._audio = song.path.read_bytes()
        self._tasks = session.tasks
        self._markers = {task.id: m for task in session.tasks if (m := self._store.marker(song, task)) is not None}

    def again(self, store: Store, path: Path, key: PurePath, number: int) -> None:
        """The same song, with another last sound, at ``path``; and its record, markers and results."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._audio[:-4] + number.to_bytes(4, "big"))
        song, status, sound = Song(path, key, str(path)), path.stat(), sound_hash(path)
        record: SongRecord = dataclasses.replace(
            self._record, source=str(path), size=status.st_size, modified=status.st_mtime_ns, identity=sound,
            sound=sound,
        )  # fmt: skip
        store.remember(key, record)
        for task in self._tasks:
            if (marker := self._markers.get(task.id)) is not None:
                self._publish(store, song, marker, store.chosen(song, task, sound).fingerprint(sound))

    def _publish(self, store: Store, song: Song, marker: Marker, fingerprint: str) -> None:
        outputs = []
        for output in marker.outputs:
            place = output.path.replace(self._song.key.as_posix(), song.key.as_posix())
            outputs.append(dataclasses.replace(output, path=place))
            if (self._store.out / output.path).exists():
                (store.out / place).parent.mkdir(parents=True, exist_ok=True)
                os.link(self._store.out / output.path, store.out / place)
        store.write_marker(song.key, dataclasses.replace(marker, fingerprint=fingerprint, outputs=outputs))


# --- measuring it ---------------------------------------------------------------------------------------------


def _told(what: str, music: Path, out: Path) -> list[float]:
    """What a process that does ``what`` tells: seconds since it was started, seconds of the processor, and MB."""
    command = [sys.executable, "-m", "benchmarks.finished_library", "--measure", what, str(music), str(out)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in text.splitlines()[-1].split()]


def _tell() -> None:
    me = psutil.Process()
    seconds, processor = time.time() - me.create_time(), sum(me.cpu_times()[:2])
    print(f"\n{seconds} {processor} {me.memory_info().rss / 2**20}", file=sys.__stdout__, flush=True)


def _show_first(music: Path, out: Path) -> None:
    """The dashboard, until what is on the screen is known and painted."""
    _show(music, out, whole=False)


def _show(music: Path, out: Path, *, whole: bool = True) -> None:
    """The dashboard, until the whole table is known and painted."""
    from tui.app import RestoreApp
    from tui.model import DashboardModel, Reading
    from tui.widgets.song_table import SongTable

    class Watched(RestoreApp):
        CSS_PATH = str(Path(sys.modules["tui.app"].__file__ or "").with_name(str(RestoreApp.CSS_PATH)))

        def _opened(self, *opened: Any) -> None:
            super()._opened(*opened)
            self.call_after_refresh(_tell)

        def _loaded(self, library: DashboardModel, readings: list[Reading]) -> None:
            super()._loaded(library, readings)
            if not whole:
                seen = self.home.query_one(SongTable).size.height
                assert all(view.standing == "done" for view in library.songs[:seen]), library.songs[0]
                self.call_after_refresh(self._end)

        def _all_loaded(self, library: DashboardModel) -> None:
            super()._all_loaded(library)
            assert library.counts()["done"] == len(library.songs), library.counts()
            self.call_after_refresh(self._end)

        def _end(self) -> None:
            _tell()
            os._exit(0)

    Watched([music], out, _RECIPE).run(headless=True, size=(160, 45))


def _plan(music: Path, out: Path) -> None:
    session = Session([music], out, _RECIPE)
    wanted = [task.id for task in session.tasks if task.is_final]
    assert all(plan.states[task] is State.DONE for plan in session.states() for task in wanted)
    _tell()


def _resume(music: Path, out: Path) -> None:
    session = Session([music], out, _RECIPE)
    session.start().join()
    assert session.outcome is not None and session.outcome.up_to_date == len(session.songs), session.outcome
    _tell()


_MEASURES = {
    "shown: the first screen": _show_first,
    "shown: all songs": _show,
    "planned (--dry-run)": _plan,
    "resumed: nothing to do": _resume,
}


def main() -> None:
    """Make it, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder in which the library is made, or found again")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "MUSIC", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, music, out = options.measure
        _MEASURES[what](Path(music), Path(out))
        return
    folder = options.keep or Path(tempfile.mkdtemp())
    try:
        if not (folder / "out").exists():
            make_library(folder, options.songs)
        table = Table("what", "seconds since the start", "of a processor", "memory", box=None)
        for index in ("without the index", "with it"):
            for what in _MEASURES:
                if index == "without the index":
                    index_path(folder / "out").unlink(missing_ok=True)
                seconds, processor, memory = _told(what, folder / "Music", folder / "out")
                table.add_row(f"{what}, {index}", f"{seconds:.2f}", f"{processor:.2f}", f"{memory:.0f} MB")
        Console().print(table)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
