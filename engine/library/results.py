"""Finished results: whether they still are what was made, and tags and covers that changed brought into them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from engine.audio.readers import BLOCK
from engine.audio.sound_hash import flac_md5, sound_hash
from engine.audio.soundfiles import open_sound
from engine.audio.tags import Tags, disk_errors, write_tags
from engine.errors import OutputError
from engine.files import file_hash, writing
from engine.library.records import Marker, Output, Song
from engine.library.store import Store
from engine.planning.task import Task

_PROVENANCE = "MP3RESTORE_"  # comments about how a result was made begin with it


def tags_hash(tags: Tags) -> str:
    """Equal for tags and covers that give equal results."""
    comments = sorted(tags.comments.items())
    pictures = [[hashlib.sha256(p.data).hexdigest(), p.mime, p.kind, p.description] for p in tags.pictures]
    return hashlib.sha256(json.dumps([comments, pictures]).encode()).hexdigest()


def retag(store: Store, song: Song, tags: Tags) -> None:
    """Write ``tags`` into every published result of the song that was given others, whatever recipe made it.

    Samples are not touched, and a file is either the old or the new one. A result that turns out to be damaged loses
    its marker, so that it is made again. Raises OSError.
    """
    digest = tags_hash(tags)
    for marker in store.all_markers_at(song.key):
        if marker.is_published and marker.tags != digest:
            outputs = [_retagged(store.out, marker, output, tags) for output in marker.outputs]
            if None in outputs and marker.pruned:
                continue  # what was given up is not damaged
            if None in outputs:
                store.forget(song.key, marker.task)
            else:
                kept = [output for output in outputs if output is not None]
                store.write_marker(song.key, dataclasses.replace(marker, outputs=kept, tags=digest))


def is_intact(store: Store, song: Song, task: Task) -> bool:
    """Whether the task's result is there with the samples that its marker tells of. Reads all of it. Raises OSError."""
    marker = store.marker(song, task)
    if marker is None or not marker.outputs:
        return False
    outputs = [_as_it_is(store.out, output) for output in marker.outputs]
    kept = [output for output in outputs if output is not None]
    if len(kept) == len(outputs) and kept != marker.outputs:
        store.write_marker(song.key, dataclasses.replace(marker, outputs=kept))
    return len(kept) == len(outputs)


def reads_back(store: Store, marker: Marker) -> bool:
    """Whether all files of a finished task are there with the samples that were written. Reads all of them."""
    return bool(marker.outputs) and all(_as_it_is(store.out, output) is not None for output in marker.outputs)


def _retagged(out: Path, marker: Marker, output: Output, tags: Tags) -> Output | None:
    """The file with the tags; None where it is gone or damaged."""
    path = out / output.path
    found = _as_it_is(out, output)
    if found is None:
        return None
    untouched = marker.recipe.get("stage") == "decode" and marker.gain == 0.0
    with writing(path) as temporary:
        shutil.copyfile(path, temporary)
        write_tags(temporary, tags, _provenance(temporary), keep_replaygain=untouched)
        if sound_hash(temporary) != sound_hash(path):
            raise OutputError("The tags of a result could not be renewed without touching its sound: please report it.")
        return dataclasses.replace(found, size=temporary.stat().st_size, sha256=file_hash(temporary))


def _as_it_is(out: Path, output: Output) -> Output | None:
    """The same; None also where it cannot be read."""
    try:
        return as_it_is(out, output)
    except OSError:
        return None


def as_it_is(out: Path, output: Output) -> Output | None:
    """The output with the size and hash that its file has now; None where its samples are not the same. Reads all.

    A file of another hash may have been given other tags, by hand or by a run that was killed: then its samples decide.
    Raises OSError.
    """
    path = out / output.path
    digest, size = file_hash(path), path.stat().st_size
    if digest == output.sha256 or (output.sound and samples_md5(path) == output.sound):
        return dataclasses.replace(output, size=size, sha256=digest, sound=output.sound or flac_md5(path))
    return None


def samples_md5(path: Path) -> str:
    """MD5 of the samples of a 24-bit FLAC file, as STREAMINFO has it; empty where it is broken. Raises OSError."""
    import soundfile

    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open_sound(path) as file:
            while len(block := file.read(BLOCK, dtype="int32", always_2d=True)):
                low_first = np.ascontiguousarray(block, "<i4").view(np.uint8).reshape(-1, 4)
                digest.update(low_first[:, 1:].tobytes())  # left-justified in 32 bits
    except soundfile.SoundFileError:
        return ""
    return digest.hexdigest()


def _provenance(path: Path) -> dict[str, str]:
    from mutagen.flac import FLAC

    with disk_errors():
        tags = FLAC(path).tags or ()
    return {name.upper(): value for name, value in tags if name.upper().startswith(_PROVENANCE)}
