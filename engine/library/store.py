"""The output tree: where everything lies, what is done, and that only one process writes there.

:mod:`engine.library.layout` says where everything lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from filelock import FileLock, Timeout

from engine.errors import OutsideError, UsageError, explain_os_error
from engine.files import file_hash, remove_empty
from engine.library.chunk_cache import ChunkCache, drop_chunks
from engine.library.layout import CHUNKS, MARKER_ENDING, Layout, key_of, numbered, same_place
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
from engine.library.state_file import read_checked, write_checked
from engine.planning.plan import State, Task
from engine.text import printable


class Store:
    """The output folder ``out``. Reading needs no lock; writing needs :meth:`lock`."""

    def __init__(self, out: Path) -> None:
        self.out = Path(os.path.abspath(out))
        self.places = Layout(self.out)
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
        return source is not None and source != path and _may_exist(source)

    def log_path(self, song: Song) -> Path:
        """Where the song's log is."""
        return self.places.log(song.key)

    def record(self, song: Song) -> SongRecord | None:
        """What is remembered of the song, if its file is still the same."""
        record = self._record_at(song.key)
        try:
            status = song.path.stat()
        except OSError:
            return None
        same = record is not None and (status.st_size, status.st_mtime_ns) == (record.size, record.modified)
        return record if same else None

    def _record_at(self, key: PurePath) -> SongRecord | None:
        data = read_checked(self.places.record(key), UNCHECKED_FORMAT)
        return record_from_json(data) if data is not None else None

    def identify(self, song: Song) -> SongRecord:
        """The remembered record; a new one, still to be kept, where the file is new or was touched. Raises OSError."""
        known = self.record(song)
        if known is not None:
            return known
        status, digest = song.path.stat(), file_hash(song.path)
        before = self._record_at(song.key)
        analysis = before.analysis if before is not None and before.sha256 == digest else None
        return SongRecord(str(song.path), status.st_size, status.st_mtime_ns, digest, analysis)

    def remember(self, song: Song, record: SongRecord) -> None:
        """Keep ``record``. Raises OSError."""
        if record != self._record_at(song.key):
            write_checked(self.places.record(song.key), record_to_json(record))

    # --- tasks -------------------------------------------------------------------------------------------

    def output_path(self, song: Song, task: Task) -> Path:
        """Where the task's result goes."""
        if task.is_final:
            return self.places.result(song.key, task.id, task.suffix)
        return self.places.on_the_way(song.key, task.id)

    def marker(self, song: Song, task: Task) -> Marker | None:
        """The task's marker, whether still valid or not."""
        return self._marker(self._marker_path(song, task))

    def _marker(self, path: Path) -> Marker | None:
        data = read_checked(path, UNCHECKED_FORMAT)
        return marker_from_json(data) if data is not None else None

    def markers(self, song: Song) -> list[Marker]:
        """The markers of all tasks that were ever finished for the song, whatever recipe they belong to."""
        found = []
        with suppress(OSError):
            for path in sorted(self.places.song_folder(song.key).glob(f"*{MARKER_ENDING}")):
                marker = self._marker(path)
                if marker is not None:
                    found.append(marker)
        return found

    def source_of(self, key: PurePath) -> Path | None:
        """The file that the song with this place in the tree was made from, as far as it is remembered."""
        record = self._record_at(key)
        return Path(record.source) if record is not None else None

    def write_marker(self, song: Song, task: Task, marker: Marker) -> None:
        """Declare the task done. Raises OSError."""
        write_checked(self._marker_path(song, task), marker_to_json(marker))

    def _marker_path(self, song: Song, task: Task) -> Path:
        return self.places.marker(song.key, task.id)

    def state(self, song: Song, task: Task, source_hash: str | None) -> State:
        """How the task stands. Without the source's hash, a marker can only be taken for stale."""
        if task.impossible:
            return State.IMPOSSIBLE
        marker = self.marker(song, task)
        if marker is None:
            return State.TODO
        if source_hash is None or marker.fingerprint != task.fingerprint(source_hash):
            return State.STALE
        if not self._builds_on_what_is_there(song, task, marker):
            return State.STALE
        expected = [self._relative(self.output_path(song, task))]
        if [o.path for o in marker.outputs] != expected or not all(self._is_there(o) for o in marker.outputs):
            return State.STALE
        return State.DONE

    def _builds_on_what_is_there(self, song: Song, task: Task, marker: Marker) -> bool:
        """Whether the published result that the task builds on is still the one it was made from.

        Steps on the way are compared by the fingerprint alone: made again on a GPU, they need not have the same bytes.
        """
        before = task.published_before()
        if before is None or not marker.inputs:
            return True
        if marker.format == UNCHECKED_FORMAT and before is not task.parent:
            return True  # it tells of the step on the way
        made = self.marker(song, before)
        return made is not None and marker.inputs == [o.sha256 for o in made.outputs]

    def is_intact(self, song: Song, task: Task) -> bool:
        """Whether the task's result is there, byte for byte as its marker says. Reads all of it."""
        marker = self.marker(song, task)
        if marker is None or not marker.outputs:
            return False
        try:
            return all(file_hash(self.out / o.path) == o.sha256 for o in marker.outputs)
        except OSError:
            return False

    def _relative(self, path: Path) -> str:
        return self.places.relative(path)

    def _is_there(self, output: Output) -> bool:
        if output.path.startswith(f"{CHUNKS}/"):
            return True  # a result on the way may be gone: it is made again when it is needed
        with suppress(OSError):
            return (self.out / output.path).stat().st_size == output.size
        return False

    def output(self, path: Path, size: int, sha256: str) -> Output:
        """The record of a finished file in this tree."""
        return Output(self._relative(path), size, sha256)

    # --- chunks ------------------------------------------------------------------------------------------

    def chunks(self, song: Song, task: Task, fingerprint: str) -> ChunkCache:
        """The chunks of one task; those of other fingerprints are thrown away."""
        return ChunkCache(self.places.chunks(song.key, task.id), fingerprint)

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
