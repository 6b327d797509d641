"""The output tree: where everything lies, what is done, and that only one process writes there.

::

    OUT/VARIANT/Artist/Album/Song.suffix.flac     results
    OUT/_done/Artist/Album/Song/song.json         the source's hash and analysis
    OUT/_done/Artist/Album/Song/TASK.done.json    a marker per finished task
    OUT/_chunks/Artist/Album/Song/TASK/…          chunks of unfinished tasks, and results only on the way
    OUT/_logs/Artist/Album/Song.log
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from engine.analysis.song import ANALYSIS_VERSION, analysis_from_json
from engine.errors import UsageError, explain_os_error
from engine.files import file_hash, write_json
from engine.library.chunk_cache import ChunkCache
from engine.library.layout import fitting_name
from engine.library.records import FORMAT, Marker, Output, Song, SongRecord
from engine.library.scan import Found
from engine.planning.plan import State, Task
from engine.text import printable


class Store:
    """The output folder ``out``. Reading needs no lock; writing needs :meth:`lock`."""

    def __init__(self, out: Path) -> None:
        self.out = Path(os.path.abspath(out))
        self._claimed: dict[str, Path] = {}

    def lock(self) -> FileLock:
        """Hold the output folder for this process until the lock is released.

        Raises:
            UsageError: another process holds it, or it cannot be written to.
        """
        try:
            (self.out / "_done").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.out / "_done" / ".lock", timeout=0, thread_local=False)
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
        plain = found.relative.with_name(fitting_name(found.relative.stem))
        key, number = plain, 2
        while self._taken(key, found.path):
            key = plain.with_name(f"{plain.name} ({number})")
            number += 1
        self._claimed[str(key).casefold()] = found.path
        return Song(found.path, key, found.relative.as_posix())

    def _taken(self, key: PurePath, path: Path) -> bool:
        claimed = self._claimed.get(str(key).casefold())
        if claimed is not None:
            return claimed != path
        record = self._read_json(self._song_folder(key) / "song.json")
        source = record.get("source") if record else None
        return isinstance(source, str) and source != str(path) and Path(source).is_file()

    def _song_folder(self, key: PurePath) -> Path:
        return self.out / "_done" / key

    def log_path(self, song: Song) -> Path:
        """Where the song's log is."""
        return self.out / "_logs" / song.key.with_name(song.key.name + ".log")

    def record(self, song: Song) -> SongRecord | None:
        """What is remembered of the song, if its file is still the same."""
        data = self._read_json(self._song_folder(song.key) / "song.json")
        try:
            if data is None or data["format"] != FORMAT:
                return None
            status = song.path.stat()
            if (status.st_size, status.st_mtime_ns) != (data["size"], data["modified"]):
                return None
            current = data["analysis_version"] == ANALYSIS_VERSION
            analysis = analysis_from_json(data["analysis"]) if current and data["analysis"] else None
            return SongRecord(data["source"], data["size"], data["modified"], data["sha256"], analysis)
        except (OSError, KeyError, TypeError, AttributeError):
            return None

    def identify(self, song: Song) -> SongRecord:
        """The remembered record, or one with the file's hash and no analysis. Raises OSError."""
        known = self.record(song)
        if known is not None:
            return known
        status = song.path.stat()
        return SongRecord(str(song.path), status.st_size, status.st_mtime_ns, file_hash(song.path), None)

    def remember(self, song: Song, record: SongRecord) -> None:
        """Keep ``record``. Raises OSError."""
        analysis = record.analysis.to_json() if record.analysis is not None else None
        data = {
            "format": FORMAT, "source": record.source, "size": record.size, "modified": record.modified,
            "sha256": record.sha256, "analysis_version": ANALYSIS_VERSION, "analysis": analysis,
        }  # fmt: skip
        write_json(self._song_folder(song.key) / "song.json", data)

    # --- tasks -------------------------------------------------------------------------------------------

    def output_path(self, song: Song, task: Task) -> Path:
        """Where the task's result goes."""
        if task.is_final:
            return self.out / task.id / song.key.with_name(f"{song.key.name}{task.suffix}.flac")
        return self.out / "_chunks" / song.key / task.id / "result.flac"

    def marker(self, song: Song, task: Task) -> Marker | None:
        """The task's marker, whether still valid or not."""
        return self._marker(self._marker_path(song, task))

    def _marker(self, path: Path) -> Marker | None:
        data = self._read_json(path)
        try:
            if data is None or data["format"] != FORMAT:
                return None
            return Marker(**{**data, "outputs": [Output(**o) for o in data["outputs"]]})
        except (KeyError, TypeError):
            return None

    def markers(self, song: Song) -> list[Marker]:
        """The markers of all tasks that were ever finished for the song, whatever recipe they belong to."""
        found = []
        with suppress(OSError):
            for path in sorted(self._song_folder(song.key).glob("*.done.json")):
                marker = self._marker(path)
                if marker is not None:
                    found.append(marker)
        return found

    def source_of(self, key: PurePath) -> Path | None:
        """The file that the song with this place in the tree was made from, as far as it is remembered."""
        record = self._read_json(self._song_folder(key) / "song.json")
        source = record.get("source") if record else None
        return Path(source) if isinstance(source, str) else None

    def write_marker(self, song: Song, task: Task, marker: Marker) -> None:
        """Declare the task done. Raises OSError."""
        write_json(self._marker_path(song, task), dataclasses.asdict(marker))

    def _marker_path(self, song: Song, task: Task) -> Path:
        return self._song_folder(song.key) / f"{task.id}.done.json"

    def state(self, song: Song, task: Task, source_hash: str | None) -> State:
        """How the task stands. Without the source's hash, a marker can only be taken for stale."""
        if task.impossible:
            return State.IMPOSSIBLE
        marker = self.marker(song, task)
        if marker is None:
            return State.TODO
        if source_hash is None or marker.fingerprint != task.fingerprint(source_hash):
            return State.STALE
        if task.parent is not None:
            before = self.marker(song, task.parent)
            if before is None or [o.sha256 for o in before.outputs] != marker.inputs:
                return State.STALE
        expected = [self._relative(self.output_path(song, task))]
        if [o.path for o in marker.outputs] != expected or not all(self._is_there(o) for o in marker.outputs):
            return State.STALE
        return State.DONE

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def _is_there(self, output: Output) -> bool:
        if output.path.startswith("_chunks/"):
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
        return ChunkCache(self.out / "_chunks" / song.key / task.id, fingerprint)

    def drop_chunks(self, song: Song, tasks: Iterable[Task]) -> None:
        """Remove the chunks of a song's finished tasks, and folders that are empty then."""
        folder = self.out / "_chunks" / song.key
        for task in tasks:
            shutil.rmtree(folder / task.id, ignore_errors=True)
        while folder != self.out and folder.is_relative_to(self.out):
            with suppress(FileNotFoundError):
                try:
                    folder.rmdir()
                except OSError:
                    break
            folder = folder.parent

    @staticmethod
    def _read_json(path: Path) -> dict[str, Any] | None:
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None
