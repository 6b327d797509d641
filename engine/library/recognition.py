"""Songs are recognised by their sound, wherever they lie now and whatever their tags say.

What was made of a sound moves along with it: to another place in the tree where its file was moved, renamed or is
reached through another folder; two files of one sound that both exist share the work, each with files of its own.
Every step can be repeated: a run that is killed in the middle is finished by the next one.
"""

from __future__ import annotations

import dataclasses
import errno
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from engine.audio.decode import file_hash, sound_hash
from engine.audio.sound_hash import flac_md5
from engine.audio.tags import Tags
from engine.errors import DecodeError, OutsideError
from engine.files import make_folder, remove, remove_empty, replace_file, sweep, writing
from engine.library.layout import CHUNKS, DONE, LISTENING, LOGS, RECORD, SET_ASIDE
from engine.library.records import FORMAT, Marker, Output, Song, SongRecord
from engine.library.results import retag, tags_hash
from engine.library.store import OF_A_FILE, Store, is_same_file
from engine.planning.task import Task

ReadTags = Callable[[], tuple[Tags, str]]  # a song's tags and what is wrong with them, read once for all who ask


def look(store: Store, song: Song, tags_of_song: ReadTags) -> SongRecord:
    """What is known of the song's file as it is now; it is read only where it is new or was touched.

    Raises OSError or DecodeError: it cannot be read.
    """
    status, before = song.path.stat(), store.record_at(song.key)
    source, size, modified = str(song.path), status.st_size, status.st_mtime_ns
    is_fresh = before is not None and (before.size, before.modified) == (size, modified)
    if before is not None and is_fresh and before.sound and before.tags:
        return dataclasses.replace(before, source=source)
    sound = sound_hash(song.path)
    tags, problem = tags_of_song()
    if before is None or not _has_sound(before, song.path, sound):
        return SongRecord(source, size, modified, sound, sound, tags_hash(tags), None)
    analysis = before.analysis
    if analysis is not None and analysis.start and not is_fresh:
        analysis = None  # where the audio begins may have changed with the tags before it
    digest = before.tags if problem and before.tags else tags_hash(tags)
    return SongRecord(source, size, modified, before.identity, sound, digest, analysis)


def _has_sound(record: SongRecord, path: Path, sound: str) -> bool:
    """Whether the record is of the file at ``path``, which has that sound."""
    return record.sound == sound if record.sound else record.identity == file_hash(path)


def settle(store: Store, song: Song, record: SongRecord, tasks: Sequence[Task], tags_of_song: ReadTags) -> SongRecord:
    """Bring to the song's place what was made of its sound elsewhere, and its tags into it, and keep the record.

    Gives the record, which may have got another identity and an analysis. Raises OSError or DecodeError.
    """
    with store.arranging:
        before = store.record_at(song.key)
        if before is not None and not _is_same_sound(before, record):
            _set_aside(store, song.key, before)
            before = None
        if before is not None and not before.sound:
            _bring_up_to_date(store, song.key, record.tags)
        record = _adopt(store, song, record, tasks)
        tags, problem = tags_of_song()
        if not problem:
            retag(store, song, tags)
        store.remember(song.key, record)
        return record


def _is_same_sound(before: SongRecord, record: SongRecord) -> bool:
    return before.sound == record.sound if before.sound else before.identity == record.identity


def _bring_up_to_date(store: Store, key: PurePath, tags: str) -> None:
    """Give markers of format 1 what they lack: the results' sounds, and the hash of the tags that were written."""
    markers = store.markers_at(key)
    contents: dict[str, str | None] = {}  # of results by the hash of their file; None for those on the way
    known: list[Marker] = []
    for marker in markers:
        outputs = [_with_sound(store.out, output) for output in marker.outputs]
        known.append(dataclasses.replace(marker, format=FORMAT, outputs=outputs, tags=tags))
        for output in outputs:
            contents[output.sha256] = output.content if marker.is_published else None
    for marker in known:
        inputs = [content for i in marker.inputs if (content := contents.get(i, i)) is not None]
        store.write_marker(key, dataclasses.replace(marker, inputs=inputs))


def _with_sound(out: Path, output: Output) -> Output:
    with suppress(OSError):
        if (out / output.path).stat().st_size == output.size:
            return dataclasses.replace(output, sound=flac_md5(out / output.path))
    return output


# --- what was made elsewhere ------------------------------------------------------------------------------


def _adopt(store: Store, song: Song, record: SongRecord, tasks: Sequence[Task]) -> SongRecord:
    """Take over what was made of the same sound at other places. Raises OSError."""
    ours = {task.id for task in tasks}
    for key in _others(store, song, record):
        other = store.record_at(key)
        if other is None or (other.identity != record.identity and store.markers(song)):
            continue  # made twice, before it was known that they are one
        record = dataclasses.replace(record, identity=other.identity)
        if record.analysis is None and other.analysis is not None and not other.analysis.start:
            record = dataclasses.replace(record, analysis=other.analysis)
        unfinished = dataclasses.replace(record, tags="")  # the results have the other one's
        possible = (store.chosen(song, task, record.identity) for task in tasks if not task.impossible)
        wanted = {task.fingerprint(record.identity) for task in possible}
        if _has_left(key, other, song.path):
            _move(store, key, song.key, unfinished, wanted)
            continue
        store.remember(song.key, unfinished)
        for marker in store.markers_at(key):
            if marker.task in ours:
                _transfer(store, key, song.key, marker, wanted, keep=True)
    return record


def _others(store: Store, song: Song, record: SongRecord) -> list[PurePath]:
    """The other places of the sound."""
    found = store.sounds.places(record.sound)
    if store.sounds.knows(OF_A_FILE):
        for key in store.sounds.places(OF_A_FILE + file_hash(song.path)):
            other = store.record_at(key)
            if key != song.key and other is not None and not other.sound:
                _bring_up_to_date(store, key, record.tags)
                store.remember(key, dataclasses.replace(other, sound=record.sound, tags=record.tags))
                found.append(key)
    return [key for key in found if _has(store, key, record.sound) and not _is_one(store, key, song.key)]


def _has(store: Store, key: PurePath, sound: str) -> bool:
    record = store.record_at(key)
    return record is not None and record.sound == sound


def _is_one(store: Store, key: PurePath, other: PurePath) -> bool:
    """Whether both are one place, perhaps because the disk does not tell capitals from small letters."""
    try:
        return key == other or store.places.song_folder(key).samefile(store.places.song_folder(other))
    except OSError:
        return False


def _has_left(key: PurePath, record: SongRecord, path: Path) -> bool:
    """Whether the song at ``key`` is not there any more: it is the one at ``path`` now."""
    if key.parts[0] == SET_ASIDE:
        return True
    source = Path(record.source)
    if is_same_file(source, path):
        return True
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            return True
        if (status.st_size, status.st_mtime_ns) == (record.size, record.modified):
            return False
        return sound_hash(source) != record.sound
    except DecodeError:
        return False  # what cannot be read now may be read again
    except ValueError:
        return True
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def _set_aside(store: Store, key: PurePath, record: SongRecord) -> None:
    """Make room for another sound: what was made of the old one waits for its song to be found elsewhere.

    Of a file that could not be decoded nothing was made; what waits is perhaps what lay here before it.
    """
    if record.analysis is None and not store.markers_at(key):
        _discard(store, key)
        return
    aside = PurePath(SET_ASIDE, *key.parts)
    waiting = store.record_at(aside)
    if waiting is not None and waiting.identity != record.identity:
        _discard(store, aside)
    _move(store, key, aside, record, set())


def clear_set_aside(store: Store, songs: Sequence[Song]) -> None:
    """Throw away what none of ``songs``, a whole run's, has asked for; favourites and notes stay with the place.

    It is kept while it is not known of one of them what it sounds like; and where a file that could not be worked on
    lies at its place now: the song may come back.
    """
    with store.arranging, suppress(OSError):
        done = store.out / DONE
        waiting = sorted((done / SET_ASIDE).rglob(RECORD))
        if waiting and any(store.record(song) is None for song in songs):
            return
        for path in waiting:
            key = PurePath(path.parent.relative_to(done))
            place = PurePath(*key.parts[1:])
            if not store.places.outcome(place, "").exists():
                _move_listening(store, key, place)
                _discard(store, key)


def _discard(store: Store, key: PurePath) -> None:
    for marker in store.all_markers_at(key):
        for output in marker.outputs:
            _remove(store, store.out / output.path)
    for tree, path in _everything(store, key):
        _remove(store, path, tree)


# --- from place to place ----------------------------------------------------------------------------------


def _move(store: Store, old: PurePath, new: PurePath, record: SongRecord, wanted: set[str]) -> None:
    """All of a song's files, and last its record: as long as the old one is there, this is not finished.

    ``record`` is what is remembered at the new place: from the first on, so that what has come there is found.
    Raises OSError.
    """
    store.remember(new, record)
    _move_listening(store, old, new)
    for marker in store.all_markers_at(old):
        _transfer(store, old, new, marker, wanted, keep=False)
    *others, (done, last) = _everything(store, old)
    for tree, path in others:
        target = _at(tree, path, old, new)
        if path.exists() and not target.exists():
            _rename(path, target)
        _remove(store, path, tree)
    _remove(store, last, done)


def _move_listening(store: Store, old: PurePath, new: PurePath) -> None:
    tree = store.out / LISTENING
    for path in _files(store.places.listening(old)):
        target = _at(tree, path, old, new)
        if not target.exists():
            _rename(path, target)
    with suppress(OutsideError):  # a link leads somewhere else
        remove_empty(store.places.listening(old), tree)


def _everything(store: Store, key: PurePath) -> list[tuple[Path, Path]]:
    """What there is of a song but results and what was heard of it: (tree, path), the record last."""
    places, done = store.places, store.out / DONE
    found = [(store.out / LOGS, places.log(key))]
    found += [(store.out / CHUNKS, path) for path in store.chunk_folders(key)]
    found += [(done, path) for path in _files(places.song_folder(key)) if path != places.record(key)]
    return [*found, (done, places.record(key))]


def _at(tree: Path, path: Path, old: PurePath, new: PurePath) -> Path:
    """Where what lies at ``path`` for the song at ``old`` lies for the one at ``new``."""
    tail = path.relative_to(tree).as_posix().removeprefix(old.as_posix())
    return tree / (new.as_posix() + tail)


def _transfer(store: Store, old: PurePath, new: PurePath, marker: Marker, wanted: set[str], *, keep: bool) -> None:
    """One result with its marker, copied (``keep``) or moved, unless a better one is there. Raises OSError."""
    ours = next((m for m in store.markers_at(new) if m.task == marker.task), None)
    if ours is None or not _is_better(store, ours, marker, wanted, keep=keep):
        outputs = [dataclasses.replace(o, path=_renamed(o.path, old, new)) for o in marker.outputs]
        moved = dataclasses.replace(marker, outputs=outputs)
        if ours is None:  # broken off in between, it tells where the files are
            store.write_marker(new, moved)
        for before, after in zip(marker.outputs, outputs, strict=True):
            source, target = store.out / before.path, store.out / after.path
            with suppress(FileNotFoundError):
                (_copy if keep else _rename)(source, target)
        store.write_marker(new, moved)
    if not keep:
        for output in marker.outputs:
            _remove(store, store.out / output.path)
        store.forget(old, marker.task)  # last, so that empty folders are not forgotten


def _is_better(store: Store, ours: Marker, other: Marker, wanted: set[str], *, keep: bool) -> bool:
    """Whether a result that a place has is rather kept than the other place's, which goes on (``keep``) or is moved.

    What was given up here is not copied back; but nothing that is there is lost to what is not.
    """
    if ours.pruned and not store.is_kept(ours):
        return keep or (other.pruned and not store.is_kept(other))
    if other.pruned and not store.is_kept(other):
        return True
    return ours.fingerprint in {other.fingerprint, *wanted} and _is_there(store, ours)


def _is_there(store: Store, marker: Marker) -> bool:
    return all(store.is_there(output) for output in marker.outputs)


def _renamed(path: str, old: PurePath, new: PurePath) -> str:
    """The result's path, whose first part is its variant (or ``_chunks``), for a song at another place."""
    tree, _, rest = path.partition("/")
    return f"{tree}/{new.as_posix()}{rest.removeprefix(old.as_posix())}"


def _files(folder: Path) -> list[Path]:
    """The files in a folder; none where there is none. Raises OSError: a drive that fails must not pass for an empty
    folder, of which nothing would be moved and nothing known afterwards."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _rename(source: Path, target: Path) -> None:
    make_folder(target.parent)
    try:
        replace_file(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with writing(target) as temporary:
        shutil.copyfile(source, temporary)


def _remove(store: Store, path: Path, tree: Path | None = None) -> None:
    """A file or a folder of chunks, and the folders that are empty then."""
    tree = tree if tree is not None else store.out / path.relative_to(store.out).parts[0]
    remove(path, tree)
    sweep(path.parent)
    if path.parent != tree:
        remove_empty(path.parent, tree)
