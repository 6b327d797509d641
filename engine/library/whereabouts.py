"""Where a song's results lie now though its file was moved, renamed or retagged; nothing is changed by looking.

A run brings them to the song's new place (see :mod:`engine.library.recognition`); until then they are found here.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import PurePath

from engine.audio.decode import sound_hash
from engine.errors import RestoreError
from engine.library.records import Song, SongRecord
from engine.library.store import Store

_Found = tuple[PurePath, SongRecord]


class Whereabouts:
    """Of the songs of one output folder. All that is known there is read once, and only where a song is missed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: dict[str, _Found | None] = {}

    def find(self, song: Song, *, closely: bool = True) -> tuple[Song, SongRecord | None]:
        """The song with the key at which its results lie, and what is known of it (None: nothing).

        Not ``closely``: no song's file is read. One that was retagged is taken for the one that was there, and one that
        was retagged and moved is not found.
        """
        record = self._store.record(song)
        if record is not None:
            return song, record
        with self._lock:
            if song.id in self._found:
                found = self._found[song.id]
            else:
                found = self._look(song, closely=closely)
                if closely:
                    self._found[song.id] = found
        return (dataclasses.replace(song, key=found[0]), found[1]) if found is not None else (song, None)

    def _look(self, song: Song, *, closely: bool) -> _Found | None:
        try:
            status = song.path.stat()
            stamp = status.st_size, status.st_mtime_ns
            before = self._store.record_at(song.key)
            if before is not None and before.sound and (not closely or sound_hash(song.path) == before.sound):
                return song.key, dataclasses.replace(before, size=stamp[0], modified=stamp[1])  # retagged
            elsewhere = self._by_source.get(os.path.realpath(song.path))
            if elsewhere is not None and (elsewhere[1].size, elsewhere[1].modified) == stamp:
                return elsewhere  # reached through another folder
            if not self._departed:
                return None
            moved = self._departed_by_stamp.get(stamp)
            if moved is not None or not closely:
                return moved  # moving and renaming leave size and time as they are; a run looks closer
            sound = sound_hash(song.path)
            return next((f for f in self._departed if f[1].sound == sound), None)
        except (OSError, RestoreError):
            return None

    @cached_property
    def _by_source(self) -> dict[str, _Found]:
        """All that is known, by the file that it was made from."""
        found = {}
        for key in self._store.sounds.all_places():
            record = self._store.record_at(key)
            if record is not None:
                with suppress(ValueError):  # what a record tells need not be the name of a file
                    found[os.path.realpath(record.source)] = key, record
        return found

    @cached_property
    def _departed_by_stamp(self) -> dict[tuple[int, int], _Found]:
        """The first of them of each size and time."""
        return {(found[1].size, found[1].modified): found for found in reversed(self._departed)}

    @cached_property
    def _departed(self) -> list[_Found]:
        """What was made of files that are not there any more."""
        return [found for source, found in self._by_source.items() if not os.path.lexists(source)]
