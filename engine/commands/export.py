"""Favourites into one clean folder, with final names: what the listener keeps in the end.

Names and sub-folders are those of the library, without the variants' suffixes. Where the plain decode is the
favourite, the source itself is exported: it is what it is, and no copy of it is better. For players that take no FLAC
of 24 bits another format can be asked for, and tags that make all songs equally loud.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePath

from engine.audio import player_formats, replaygain
from engine.audio.decode import read_tags
from engine.audio.player_tags import write_player_tags
from engine.audio.tags import Tags
from engine.errors import OutputError, OutsideError, RestoreError, UsageError, explain_os_error
from engine.files import file_hash, remove, writing
from engine.library.exports import Exports, read_exports, write_exports
from engine.library.records import Song
from engine.library.store import Store, is_same_file
from engine.library.verdicts import read_verdict
from engine.player.listening_sets import PLAIN
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


def check_kind(kind: str, *, link: bool) -> None:
    """Raise UsageError where there is no such format, or it cannot be linked."""
    if kind and kind not in player_formats.ENDINGS:
        raise UsageError(f"There is no format '{printable(kind)}': give {', '.join(player_formats.ENDINGS)}.")
    if kind and link:
        raise UsageError("A copy in another format cannot be a link: give --format or --link.")


@dataclass(frozen=True)
class _Favourite:
    """One song's file to export: its ``name`` below the target, and the hash of ``source``."""

    song: str
    source: Path
    sha256: str
    name: PurePath


def export(
    store: Store, songs: Sequence[Song], target: Path, *, link: bool = False, kind: str = "", gains: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Exported:  # fmt: skip
    """Copy (``link``: hard-link, where the disk can) each song's favourite below ``target``.

    Files that an earlier export wrote are replaced when they changed; any other file is left alone and told.

    Args:
        kind: one of :data:`engine.audio.player_formats.ENDINGS`, in which the copies are encoded, with the tags and
            covers of the favourite; empty: they are copied as they are. An MP3 is never encoded as one again.
        gains: write ReplayGain tags of track and album (in place of links, plain copies get them too).

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
    result = Exported()
    chosen = []
    for song, variant in favourites(store, songs):
        try:
            chosen.append(_favourite(store, song, variant, kind))
        except OSError as error:
            result.problems.append(explain_os_error(error, printable(song.id)))
        except UsageError as error:
            result.problems.append(f"{printable(song.id)}: {error}")
    copies = _Copies(target, read_exports(target), kind, link, gains, chosen)
    for favourite in chosen:
        try:
            copies.place(favourite, result)
        except OSError as error:
            result.problems.append(explain_os_error(error, printable(str(target / favourite.name))))
        except RestoreError as error:
            result.problems.append(f"{printable(favourite.song)} could not be exported: {error}")
        if progress is not None:
            progress(printable(favourite.name.as_posix()))
    with suppress(OSError):
        write_exports(target, copies.exports)
    return result


def _favourite(store: Store, song: Song, favourite: str, kind: str) -> _Favourite:
    """What is to be exported of a song. Raises OSError, and UsageError where there is no such file."""
    source, sha256 = song.path, ""
    if favourite != PLAIN:
        marker = next((m for m in store.markers(song) if m.task == favourite), None)
        outputs = marker.outputs if marker is not None else []
        if len(outputs) > 1:
            raise UsageError(f"{printable(favourite)} is not one file: choose its remix.")
        source, sha256 = (store.out / outputs[0].path, outputs[0].sha256) if outputs else (Path(), "")
    if not source.is_file():
        raise UsageError(f"{printable(favourite)} is not there any more: make it again (f, or --force).")
    ending = source.suffix.lower() if _stays(source, kind) else player_formats.ENDINGS[kind]
    return _Favourite(song.id, source, sha256 or file_hash(source), song.key.with_name(song.key.name + ending))


def _stays(source: Path, kind: str) -> bool:
    """Whether the audio is copied as it is."""
    return not kind or source.suffix.lower() == player_formats.ENDINGS[kind] == ".mp3"


class _Copies:
    """The copies below ``target``, of which ``exports`` tells what is there."""

    def __init__(
        self, target: Path, exports: Exports, kind: str, link: bool, gains: bool, chosen: Sequence[_Favourite]
    ) -> None:
        self.exports = exports
        self._target, self._kind, self._link, self._gains, self._chosen = target, kind, link, gains, chosen
        self._level = cache(replaygain.measure)
        self._tags = cache(lambda path: read_tags(path)[0])
        self._before: defaultdict[PurePath, list[str]] = defaultdict(list)  # names of earlier exports, by song
        for name in exports.names:
            self._before[PurePath(name).with_suffix("")].append(name)

    def place(self, favourite: _Favourite, result: Exported) -> None:
        """Make the copy of a favourite, unless it is there. Raises OSError and RestoreError."""
        path, key = self._target / favourite.name, favourite.name.as_posix()
        self._forget_other_kinds(favourite.name)
        if is_same_file(favourite.source, path):  # the library is exported into itself: its songs are no exports
            result.up_to_date.append(printable(key))
            return
        is_copy = _stays(favourite.source, self._kind) and not self._gains
        made_of = "" if is_copy else self._made_of(favourite)
        if path.exists():
            there = file_hash(path)
            is_ours = self.exports.wrote(key, there)
            if there == favourite.sha256 if is_copy else is_ours and self.exports.made_of.get(key) == made_of:
                self._keep(key, there, made_of)
                result.up_to_date.append(printable(key))
                return
            if not is_ours:
                result.problems.append(f"{printable(str(path))} was not written by an export: it was left as it is.")
                return
        with writing(path) as temporary:
            sha256 = self._copy(favourite, temporary) if is_copy else self._make(favourite, temporary)
        self._keep(key, sha256, made_of)
        result.written.append(printable(key))

    def _keep(self, key: str, sha256: str, made_of: str) -> None:
        self.exports.forget(key)
        self.exports.files[key] = sha256
        if made_of:
            self.exports.made_of[key] = made_of

    def _forget_other_kinds(self, name: PurePath) -> None:
        """The favourite was another kind of file before."""
        for other in self._before[name.with_suffix("")]:
            if other == name.as_posix():
                continue
            with suppress(OSError, OutsideError):
                if self.exports.wrote(other, file_hash(self._target / other)):
                    remove(self._target / other, self._target)
            self.exports.forget(other)

    def _made_of(self, favourite: _Favourite) -> str:
        """What a copy is made of, its album included: a copy of the same is the same."""
        album = sorted(one.sha256[:16] for one in self._album(favourite)) if self._gains else []
        return " ".join([favourite.sha256, self._kind or "as it is", *album])

    def _album(self, favourite: _Favourite) -> list[_Favourite]:
        """The chosen ones of the same folder and album; none where it is of no album."""
        album = self._tags(favourite.source).album
        return self._albums[favourite.name.parent, album] if album else []

    @cached_property
    def _albums(self) -> defaultdict[tuple[PurePath, str], list[_Favourite]]:
        """The chosen ones by folder and album tag."""
        found: defaultdict[tuple[PurePath, str], list[_Favourite]] = defaultdict(list)
        for one in self._chosen:
            found[one.name.parent, self._tags(one.source).album].append(one)
        return found

    def _copy(self, favourite: _Favourite, path: Path) -> str:
        """The file as it is; its hash."""
        if not (self._link and _linked(favourite.source, path)):
            shutil.copyfile(favourite.source, path)
        return favourite.sha256

    def _make(self, favourite: _Favourite, path: Path) -> str:
        """Encode or copy into ``path``, and tag; the hash of what came of it, which is then known for an export."""
        source, ending = favourite.source, favourite.name.suffix
        if _stays(source, self._kind):
            shutil.copyfile(source, path)
        else:
            player_formats.convert(source, path, self._kind, lambda: self._level(source).frames)
        tags = self._tags(source)
        if self._gains:
            album = [self._level(one.source) for one in self._album(favourite)]
            tags = tags.without_gains()
            tags.comments.update(replaygain.comments(self._level(source), album, opus=ending == ".opus"))
        _tag(path, ending, tags)
        sha256 = file_hash(path)
        self.exports.coming[favourite.name.as_posix()] = sha256  # whatever happens next
        write_exports(self._target, self.exports)
        return sha256


def _tag(path: Path, ending: str, tags: Tags) -> None:
    import mutagen

    try:
        write_player_tags(path, ending, tags)
    except mutagen.MutagenError as error:
        raise OutputError(f"its tags could not be written ({type(error).__name__}).") from error


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path)
    except OSError:
        return False
    return True
