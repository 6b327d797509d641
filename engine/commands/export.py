"""Favourites into one clean folder, with final names: what the listener keeps in the end.

Names and sub-folders are those of the library, without the variants' suffixes. Where the plain decode is the
favourite, the source itself is exported: it is what it is, and no copy of it is better.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from engine.errors import OutsideError, UsageError, explain_os_error
from engine.files import file_hash, remove, writing
from engine.library.exports import read_exports, write_exports
from engine.library.records import Song
from engine.library.store import Store, is_same_file
from engine.player.listening_sets import PLAIN
from engine.player.verdicts import read_verdict
from engine.text import counted, printable


@dataclass
class Exported:
    """What came of it: names written, names that were up to date, and one sentence per problem."""

    written: list[str] = field(default_factory=list)
    up_to_date: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def in_words(self, target: str) -> str:
        """The same as a sentence."""
        there = f", {len(self.up_to_date)} of them up to date already" if self.up_to_date else ""
        whole = counted(len(self.written) + len(self.up_to_date), "favourite")
        return f"{whole} in {printable(target)}{there}."


def favourites(store: Store, songs: Sequence[Song]) -> list[tuple[Song, str]]:
    """The songs that have a favourite, and which variant it is."""
    found = [(song, read_verdict(store.places.listening(song.key)).favourite) for song in songs]
    return [(song, favourite) for song, favourite in found if favourite]


def export(
    store: Store, songs: Sequence[Song], target: Path, *, link: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Exported:  # fmt: skip
    """Copy (``link``: hard-link, where the disk can) each song's favourite below ``target``.

    Files that an earlier export wrote are replaced when they changed; any other file is left alone and told.

    Raises:
        UsageError: ``target`` cannot be used.
    """
    target = Path(os.path.abspath(target))
    if target.is_relative_to(store.out):
        raise UsageError("The favourites must go outside of the results: choose another folder.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(explain_os_error(error, f"the folder {printable(str(target))}")) from error
    manifest = read_exports(target)
    result = Exported()
    for song, favourite in favourites(store, songs):
        source, sha256 = _file_of(store, song, favourite)
        if source is None:
            result.problems.append(
                f"{printable(song.id)}: {printable(favourite)} is not there any more: make it again (f, or --force)."
            )
            continue
        name = song.key.with_name(song.key.name + source.suffix.lower())
        try:
            _place(source, sha256 or file_hash(source), target, name, manifest, result, link=link)
        except OSError as error:
            result.problems.append(explain_os_error(error, printable(str(target / name))))
        if progress is not None:
            progress(printable(name.as_posix()))
    with suppress(OSError):
        write_exports(target, manifest)
    return result


def _file_of(store: Store, song: Song, favourite: str) -> tuple[Path | None, str]:
    """The file to export and its hash, as far as that is known."""
    if favourite == PLAIN:
        return (song.path if song.path.is_file() else None), ""
    for marker in store.markers(song):
        if marker.task == favourite and len(marker.outputs) == 1:
            path = store.out / marker.outputs[0].path
            return (path if path.is_file() else None), marker.outputs[0].sha256
    return None, ""


def _place(
    source: Path, sha256: str, target: Path, name: PurePath, manifest: dict[str, str], result: Exported, *, link: bool
) -> None:
    path, key = target / name, name.as_posix()
    for other in [k for k in manifest if PurePath(k).with_suffix("") == name.with_suffix("") and k != key]:
        with suppress(OSError, OutsideError):  # the favourite was another kind of file before
            if file_hash(target / other) == manifest[other]:
                remove(target / other, target)
        del manifest[other]
    if is_same_file(source, path):  # the library is exported into itself: a song is never taken for an export
        result.up_to_date.append(printable(key))
        return
    if path.exists():
        there = file_hash(path)
        if there == sha256:
            manifest[key] = sha256
            result.up_to_date.append(printable(key))
            return
        if manifest.get(key) != there:
            result.problems.append(f"{printable(str(path))} was not written by an export: it was left as it is.")
            return
    with writing(path) as temporary:
        if not (link and _linked(source, temporary)):
            shutil.copyfile(source, temporary)
    manifest[key] = sha256
    result.written.append(printable(key))


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path)
    except OSError:
        return False
    return True
