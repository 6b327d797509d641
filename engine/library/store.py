"""The output tree: where everything lies, what is done, and that only one process writes there.

:mod:`engine.library.layout` says where everything lies.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath

from filelock import FileLock, Timeout

from engine.audio.sound_hash import flac_md5
from engine.errors import OutsideError, UsageError, explain_os_error
from engine.files import remove, remove_empty
from engine.library.chunk_cache import ChunkCache, chunk_folders, drop_chunks
from engine.library.layout import CHUNKS, DONE, MARKER_ENDING, Layout, key_of, numbered, same_place
from engine.library.records import (
    UNCHECKED_FORMAT,
    Marker,
    Output,
    Song,
    SongRecord,
    marker_from_json,
    marker_to_json,
    record_from_json,
    record_to_json,
)
from engine.library.scan import Found
from engine.library.sound_index import Entry, SoundIndex
from engine.library.state_file import read_checked, write_checked
from engine.planning.plan import State, Task
from engine.text import printable

OF_A_FILE = "file:"  # in the index, before the hash of a whole file


class Store:
    """The output folder ``out``. Reading needs no lock; writing needs :meth:`lock`."""

    def __init__(self, out: Path) -> None:
        self.out = Path(os.path.abspath(out))
        self.places = Layout(self.out)
        self.sounds = SoundIndex(self.places.sounds, self._all_sounds)
        self.arranging = threading.RLock()  # held while anything moves from place to place
        self.alone: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # held while a sound is worked on
        self._claimed: dict[str, Path] = {}

    def lock(self) -> FileLock:
        """Hold the output folder for this process until the lock is released.

        Raises:
            UsageError: another process holds it, or it cannot be written to.
        """
        try:
            self.places.lock.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.places.lock, timeout=0, thread_local=False)
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"Another mp3restore is working in {printable(str(self.out))}: wait for it, stop it, or choose "
                "another folder with --out."
            ) from error
        except OSError as error:
            raise UsageError(explain_os_error(error, f"the output folder {printable(str(self.out))}")) from error
        return lock

    # --- songs -------------------------------------------------------------------------------------------

    def claim(self, found: Found) -> Song:
        """The song's place in the tree; another one where a different, still existing file has taken it."""
        plain = key_of(found.relative)
        key, number = plain, 2
        while self._taken(key, found.path):
            key = numbered(plain, number)
            number += 1
        self._claimed[same_place(key)] = found.path
        return Song(found.path, key, found.relative.as_posix())

    def _taken(self, key: PurePath, path: Path) -> bool:
        claimed = self._claimed.get(same_place(key))
        if claimed is not None:
            return claimed != path
        source = self.source_of(key)
        return source is not None and not is_same_file(source, path) and _may_exist(source)

    def log_path(self, song: Song) -> Path:
        """Where the song's log is."""
        return self.places.log(song.key)

    def record(self, song: Song) -> SongRecord | None:
        """What is remembered of the song, if its file is still the same."""
        record = self.record_at(song.key)
        try:
            status = song.path.stat()
        except OSError:
            return None
        same = record is not None and (status.st_size, status.st_mtime_ns) == (record.size, record.modified)
        return record if same else None

    def record_at(self, key: PurePath) -> SongRecord | None:
        """What is remembered of the song at ``key``, whether its file is still the same or not."""
        data = read_checked(self.places.record(key), UNCHECKED_FORMAT)
        return record_from_json(data) if data is not None else None

    def remember(self, key: PurePath, record: SongRecord) -> None:
        """Keep ``record`` of the song at ``key``. Raises OSError."""
        if record != self.record_at(key):
            self.sounds.add(*_entry(record, key))
            write_checked(self.places.record(key), record_to_json(record))

    def _all_sounds(self) -> Iterator[Entry]:
        done = self.out / DONE
        for path in done.rglob("song.json"):
            key = PurePath(path.parent.relative_to(done))
            if (record := self.record_at(key)) is not None:
                yield _entry(record, key)

    # --- tasks -------------------------------------------------------------------------------------------

    def output_path(self, song: Song, task: Task) -> Path:
        """Where the task's result goes."""
        if task.is_final:
            return self.places.result(song.key, task.id, task.suffix)
        return self.places.on_the_way(song.key, task.id)

    def marker(self, song: Song, task: Task) -> Marker | None:
        """The task's marker, whether still valid or not."""
        return self._marker(self._marker_path(song.key, task.id))

    def _marker(self, path: Path) -> Marker | None:
        data = read_checked(path, UNCHECKED_FORMAT)
        marker = marker_from_json(data) if data is not None else None
        return marker if marker is not None and path.name == marker.task + MARKER_ENDING else None

    def markers(self, song: Song) -> list[Marker]:
        """The markers of all tasks that were ever finished for the song, whatever recipe they belong to."""
        return self.markers_at(song.key)

    def markers_at(self, key: PurePath) -> list[Marker]:
        """The same for the song at ``key``."""
        found = []
        with suppress(OSError):
            for path in sorted(self.places.song_folder(key).glob(f"*{MARKER_ENDING}")):
                marker = self._marker(path)
                if marker is not None:
                    found.append(marker)
        return found

    def source_of(self, key: PurePath) -> Path | None:
        """The file that the song with this place in the tree was made from, as far as it is remembered."""
        record = self.record_at(key)
        return Path(record.source) if record is not None else None

    def write_marker(self, key: PurePath, marker: Marker) -> None:
        """Declare the marker's task done for the song at ``key``. Raises OSError."""
        write_checked(self._marker_path(key, marker.task), marker_to_json(marker))

    def forget(self, key: PurePath, task: str) -> None:
        """The task with that id is not done any more for the song at ``key``. Raises OSError."""
        remove(self._marker_path(key, task), self.places.song_folder(key))

    def _marker_path(self, key: PurePath, task: str) -> Path:
        return self.places.marker(key, task)

    def state(self, song: Song, task: Task, source_hash: str | None) -> State:
        """How the task stands. Without the source's hash, a marker can only be taken for stale."""
        if task.impossible:
            return State.IMPOSSIBLE
        marker = self.marker(song, task)
        if marker is None:
            return State.TODO
        if source_hash is None or marker.fingerprint != task.fingerprint(source_hash):
            return State.STALE
        if not self._builds_on_whatis_there(song, task, marker):
            return State.STALE
        expected = [self._relative(self.output_path(song, task))]
        if [o.path for o in marker.outputs] != expected or not all(self.is_there(o) for o in marker.outputs):
            return State.STALE
        return State.DONE

    def _builds_on_whatis_there(self, song: Song, task: Task, marker: Marker) -> bool:
        """Whether the published result that the task builds on is still the one it was made from.

        Steps on the way are compared by the fingerprint alone: made again on a GPU, they need not have the same bytes.
        """
        before = task.published_before()
        if before is None or not marker.inputs:
            return True
        if marker.format == UNCHECKED_FORMAT and before is not task.parent:
            return True  # it tells of the step on the way
        made = self.marker(song, before)
        return made is not None and marker.inputs == [o.content for o in made.outputs]

    def _relative(self, path: Path) -> str:
        return self.places.relative(path)

    def is_there(self, output: Output) -> bool:
        """Whether the file is there, as far as can be told at a glance."""
        if output.path.startswith(f"{CHUNKS}/"):
            return True  # a result on the way may be gone: it is made again when it is needed
        path = self.out / output.path
        with suppress(OSError):
            # Of another size, it may still have the same samples, with tags that were changed by hand.
            return path.stat().st_size == output.size or (output.sound != "" and flac_md5(path) == output.sound)
        return False

    def output(self, path: Path, size: int, sha256: str) -> Output:
        """The record of a finished FLAC file in this tree. Raises OSError."""
        return Output(self._relative(path), size, sha256, flac_md5(path))

    # --- chunks ------------------------------------------------------------------------------------------

    def chunks(self, song: Song, task: Task, fingerprint: str) -> ChunkCache:
        """The chunks of one task; those of other fingerprints are thrown away."""
        return ChunkCache(self.places.chunks(song.key, task.id), fingerprint)

    def chunk_folders(self, key: PurePath) -> list[Path]:
        """The folders with chunks of unfinished tasks of the song at ``key``."""
        try:
            tasks = [path for path in self.places.chunks(key).iterdir() if path.is_dir()]
        except OSError:
            return []
        return [folder for task in tasks for folder in chunk_folders(task)]

    def drop_chunks(self, song: Song, tasks: Iterable[Task]) -> None:
        """Remove the chunks of a song's finished tasks, and folders that are empty then."""
        for task in tasks:
            drop_chunks(self.places.chunks(song.key, task.id))
        with suppress(OutsideError):  # a link leads somewhere else: then the empty folders stay there
            remove_empty(self.places.chunks(song.key), self.out)


def _may_exist(path: Path) -> bool:
    """Whether a file is there, as far as one may look."""
    try:
        return path.is_file()
    except PermissionError:
        return True
    except (OSError, ValueError):  # a name that no file can have
        return False


def _entry(record: SongRecord, key: PurePath) -> Entry:
    """Records of before sounds were known are found by the hash of their file."""
    return record.sound or OF_A_FILE + record.identity, key


def is_same_file(source: Path, path: Path) -> bool:
    """Whether both are names of one file, as far as they are not hard links: those are two songs."""
    if source == path:
        return True
    try:
        if os.path.realpath(source) == os.path.realpath(path):
            return True
        return str(source).casefold() == str(path).casefold() and source.samefile(path)
    except (OSError, ValueError):
        return False
