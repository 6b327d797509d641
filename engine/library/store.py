"""The output tree: where everything lies, what is done, and that only one process writes there.

:mod:`engine.library.layout` says where everything lies.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Literal

from filelock import FileLock, Timeout

from engine.audio.encode import Encoded
from engine.audio.sound_hash import flac_md5
from engine.audio.soundfiles import is_whole
from engine.dsp.mix import Strip
from engine.errors import OutsideError, UsageError, explain_os_error
from engine.files import flush_folder, make_folder, read_json, remove, remove_empty
from engine.library.albums import Albums
from engine.library.chunk_cache import ChunkCache, chunk_folders, drop_chunks
from engine.library.layout import CHUNKS, DONE, MARKER_ENDING, RECORD, Layout, key_of, numbered, same_place
from engine.library.mixes import read_mixes
from engine.library.records import (
    FORMAT,
    UNCHECKED_FORMAT,
    Marker,
    Outcome,
    Output,
    Song,
    SongRecord,
    marker_from_json,
    marker_to_json,
    outcome_from_json,
    record_from_json,
    record_to_json,
)
from engine.library.scan import Found
from engine.library.sound_index import Entry, SoundIndex
from engine.library.state_file import read_checked, write_checked
from engine.library.state_index import StateIndex
from engine.planning.task import Port, State, Task
from engine.signals import MIX
from engine.text import printable

OF_A_FILE = "file:"  # in the index, before the hash of a whole file


class Store:
    """The output folder ``out``. Reading needs no lock; writing needs :meth:`lock`."""

    def __init__(self, out: Path) -> None:
        self.out = Path(os.path.abspath(out))
        self.places = Layout(self.out)
        self.index = StateIndex(self.out)
        self.albums = Albums(self.places)
        self.sounds = SoundIndex(self.places.sounds, self._all_sounds)
        self.arranging = threading.RLock()  # held while anything moves from place to place
        self.alone: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # held while a sound is worked on
        self._claimed: dict[str, Path] = {}
        self._named: dict[str, Path] = {}  # songs by their ids

    def lock(self) -> FileLock:
        """Hold the output folder for this process until the lock is released.

        Raises:
            UsageError: another process holds it, or it cannot be written to.
        """
        try:
            make_folder(self.places.lock.parent)
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
        name = found.relative.as_posix()
        if self._named.setdefault(name, found.path) != found.path:  # in another of the folders that were given
            name = f"{name} ({number - 1})"
        song = Song(found.path, key, name)
        self.albums.claim(song)
        return song

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
        return self.index.read(self.places.record(key), UNCHECKED_FORMAT, record_from_json)

    def remember(self, key: PurePath, record: SongRecord) -> None:
        """Keep ``record`` of the song at ``key``. Raises OSError."""
        if record != self.record_at(key):
            self._reports_are_old()
            self.sounds.add(*_entry(record, key))
            write_checked(self.places.record(key), record_to_json(record))

    def _reports_are_old(self) -> None:
        """The mark is gone for good before the record is there, even if the power fails then. Raises OSError."""
        with suppress(FileNotFoundError):
            self.places.reported.unlink()
            flush_folder(self.places.reported.parent)

    def records(self, *, all_of_them: bool = False) -> Iterator[tuple[PurePath, SongRecord]]:
        """What is remembered of all songs of the tree, by their keys.

        ``all_of_them``: raises OSError where the disk refuses a folder or a record, which is left out else.
        """
        done = self.out / DONE

        def refused(error: OSError) -> None:
            if all_of_them and not isinstance(error, FileNotFoundError | PermissionError):
                raise error

        for folder, folders, names in os.walk(done, onerror=refused):
            folders.sort()  # whatever order the disk has them in
            if RECORD in names:
                key = PurePath(folder).relative_to(done)
                record = self.record_at(key)
                if record is not None:
                    yield key, record
                elif all_of_them:
                    with suppress(PermissionError):  # not ours to read
                        read_json(self.places.record(key), to_change=True)  # damaged, it is none

    def _all_sounds(self) -> Iterator[Entry]:
        for key, record in self.records(all_of_them=True):
            yield _entry(record, key)

    # --- tasks -------------------------------------------------------------------------------------------

    def output_path(self, song: Song, task: Task, port: str = MIX) -> Path:
        """Where one of the task's results goes: beside those of other songs; several in a folder of the song's."""
        if not task.is_final:
            return self.places.on_the_way(song.key, task.id, port)
        if len(task.outputs) > 1:
            return self.places.stem(song.key, task.id, port, task.suffix)
        return self.places.result(song.key, task.id, task.suffix)

    def marker(self, song: Song, task: Task) -> Marker | None:
        """The task's marker, whether still valid or not."""
        return self._marker(self._marker_path(song.key, task.id))

    def _marker(self, path: Path) -> Marker | None:
        marker = self.index.read(path, UNCHECKED_FORMAT, marker_from_json)
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

    def all_markers_at(self, key: PurePath) -> list[Marker]:
        """The same for what must leave none out. Those that are damaged are none.

        Raises OSError: the disk refuses one.
        """
        try:
            there = sorted(self.places.song_folder(key).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        paths = [path for path in there if path.name.endswith(MARKER_ENDING)]
        found = [read_checked(path, UNCHECKED_FORMAT, to_change=True) for path in paths]
        return [marker for data in found if data is not None and (marker := marker_from_json(data)) is not None]

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
        return self.standing(song, task, source_hash)[1]

    def standing(self, song: Song, task: Task, source_hash: str | None) -> tuple[Task, State]:
        """The task as it is :meth:`chosen` for this song, and how it stands."""
        if task.impossible:
            return task, State.IMPOSSIBLE
        task = self.chosen(song, task, source_hash)
        return task, self._state(song, task, source_hash)

    def _state(self, song: Song, task: Task, source_hash: str | None) -> State:
        marker = self.marker(song, task)
        if marker is None:
            return State.TODO
        if source_hash is not None and marker.pruned and not self.is_kept(marker):
            return State.PRUNED  # whatever the recipe says by now: what was given up is made when it is asked for
        if source_hash is None or marker.fingerprint != task.fingerprint(source_hash):
            return State.STALE
        if not self._builds_on_what_is_there(song, task, marker):
            return State.STALE
        if not task.is_final:
            return State.DONE  # a result on the way may be gone: it is made again when it is needed
        expected = [self._relative(self.output_path(song, task, port)) for port in task.outputs]
        if all(o.path.startswith(f"{CHUNKS}/") for o in marker.outputs):
            return State.TODO  # made for others' sake, and never published
        if [o.path for o in marker.outputs] != expected or not all(self.is_there(o) for o in marker.outputs):
            return State.STALE
        return State.DONE

    def chosen(self, song: Song, task: Task, source_hash: str | None) -> Task:
        """The task as it is for this song: behind the best source that did not lose too much of it, mixed as kept,
        beside the other songs of its album."""
        if task.inputs and source_hash is not None:
            inputs = tuple(
                (name, Port(self.chosen(song, port.task, source_hash), port.name)) for name, port in task.inputs
            )
            if any(now.task is not before.task for (_, now), (_, before) in zip(inputs, task.inputs, strict=True)):
                task = dataclasses.replace(task, inputs=inputs)
            if task.instead is not None and self.ruin_of_source(song, task, source_hash):
                return self.chosen(song, task.instead, source_hash)
            if task.stage.takes_mix and (mix := self.mixes(song).get(task.variant)):
                task = dataclasses.replace(task, params=task.stage.mixed(task.params, mix))
            if task.stage.wants_album(task.params) and (loudness := self.albums.loudness(song)) is not None:
                task = dataclasses.replace(task, params=task.stage.in_album(task.params, loudness))
        return task

    def mixes(self, song: Song) -> dict[str, dict[str, Strip]]:
        """The mixes that the listener made of the song and keeps, by variant."""
        return read_mixes(self.places.listening(song.key))

    def ruin_of_source(self, song: Song, task: Task, source_hash: str) -> str:
        """Empty, or one sentence about what the variant that the task starts from lost of the song."""
        source = next((step for step in task.lineage() if step.id == task.source), None)
        marker = self.marker(song, source) if source is not None else None
        if source is None or marker is None or marker.fingerprint != source.fingerprint(source_hash):
            return ""
        return marker.ruined

    def _builds_on_what_is_there(self, song: Song, task: Task, marker: Marker) -> bool:
        """Whether the published result that the task builds on is still the one it was made from.

        Steps on the way are compared by the fingerprint alone: made again on a GPU, they need not have the same bytes.
        """
        before = task.published_before()
        if not before or not marker.inputs:
            return True
        if marker.format == UNCHECKED_FORMAT and before[0].task not in task.parents:
            return True  # it tells of the step on the way
        now = self.contents(song, before)
        if len(now) != len(marker.inputs):
            return False
        inputs = zip(now, marker.inputs, before, strict=False)
        return all(there == used or self._is_pruned(song, port) for there, used, port in inputs)

    def _is_pruned(self, song: Song, port: Port) -> bool:
        """Whether the signal's file was given up. Made again on the way, it need not have the same bytes."""
        marker = self.marker(song, port.task)
        return marker is not None and marker.pruned

    def contents(self, song: Song, ports: Iterable[Port]) -> list[str]:
        """What finished signals hold, as their markers tell it; what is not finished is left out."""
        found = []
        for port in ports:
            made = self.marker(song, port.task)
            found += [o.content for o in made.outputs if o.port == port.name] if made is not None else []
        return found

    def _relative(self, path: Path) -> str:
        return self.places.relative(path)

    def is_there(self, output: Output) -> bool:
        """Whether the file is there, as far as can be told at a glance."""
        if output.path.startswith(f"{CHUNKS}/"):
            return True  # a result on the way may be gone: it is made again when it is needed
        with suppress(OSError):
            if os.stat(f"{self.out}/{output.path}").st_size == output.size:  # noqa: PTH116 - a Path takes long to make
                return True
            # Of another size, it may still have the same samples, with tags that were changed by hand; or be cut off.
            path = self.out / output.path
            return output.sound != "" and flac_md5(path) == output.sound and is_whole(path)
        return False

    def is_kept(self, marker: Marker) -> bool:
        """Whether the marker's files are there as variants, as far as can be told at a glance."""
        return marker.is_published and all(map(self.is_there, marker.outputs))

    def output(self, port: str, encoded: Encoded) -> Output:
        """The record of a finished file in this tree. Raises OSError."""
        return Output(
            self._relative(encoded.path), encoded.size, encoded.sha256, flac_md5(encoded.path), port, encoded.rate,
            encoded.channels, encoded.frames,
        )  # fmt: skip

    # --- what was not finished ---------------------------------------------------------------------------

    def outcome(self, song: Song, task: Task, source_hash: str | None) -> Outcome | None:
        """Why the task was not finished, as long as neither the song nor what is to be done has changed."""
        known = self._outcome(self._outcome_path(song, task))
        if known is None or source_hash is None:
            return None
        return known if known.fingerprint == self.chosen(song, task, source_hash).fingerprint(source_hash) else None

    def song_outcome(self, song: Song) -> Outcome | None:
        """Why the song as a whole was not finished, as long as its file is the same."""
        known = self._outcome(self._outcome_path(song, None))
        return known if known is not None and known.fingerprint == self._stamp(song) else None

    def remember_outcome(self, song: Song, task: Task | None, kind: Literal["failed", "skipped"], reason: str,
                         source_hash: str = "") -> None:  # fmt: skip
        """Keep why a task (None: the song) was not finished. Raises OSError."""
        what = task.fingerprint(source_hash) if task is not None else self._stamp(song)
        data = {"format": FORMAT, **dataclasses.asdict(Outcome(kind, reason, what))}
        write_checked(self._outcome_path(song, task), data)

    def forget_outcome(self, song: Song, task: Task | None) -> None:
        """The task (None: the song) is not failed or skipped any more."""
        with suppress(OSError):
            self._outcome_path(song, task).unlink()

    def _outcome_path(self, song: Song, task: Task | None) -> Path:
        return self.places.outcome(song.key, task.id if task is not None else "")

    def _outcome(self, path: Path) -> Outcome | None:
        return self.index.read(path, 0, outcome_from_json)

    @staticmethod
    def _stamp(song: Song) -> str:
        """What tells whether a file is still the same without reading it."""
        with suppress(OSError):
            status = song.path.stat()
            return f"{status.st_size} {status.st_mtime_ns}"
        return ""

    def switched_off(self, key: PurePath) -> list[str]:
        """The variants that are not wanted of the song at ``key``."""
        return self.index.read(self.places.off(key), 0, _variants) or []

    def switch_off(self, key: PurePath, variants: Iterable[str]) -> None:
        """Keep which variants are not wanted of the song at ``key`` from now on. Raises OSError."""
        path, variants = self.places.off(key), sorted(variants)
        if variants:
            write_checked(path, {"format": FORMAT, "variants": variants})
        elif path.exists():
            remove(path, self.out / DONE)
            remove_empty(path.parent, self.out / DONE)

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

    def has_chunks(self, song: Song) -> bool:
        """Whether there may be anything of unfinished tasks of the song, be it an empty folder."""
        return (self.out / CHUNKS / song.key.parts[0]).is_dir()

    def drop_chunks(self, song: Song, tasks: Iterable[Task]) -> None:
        """Remove the chunks of a song's finished tasks, and folders that are empty then."""
        for task in tasks:
            drop_chunks(self.places.chunks(song.key, task.id), task.outputs)
        with suppress(OutsideError):  # a link leads somewhere else: then the empty folders stay there
            remove_empty(self.places.chunks(song.key), self.out)


def _variants(data: dict[str, Any]) -> list[str]:
    variants = data.get("variants")
    return [v for v in variants if isinstance(v, str)] if isinstance(variants, list) else []


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
