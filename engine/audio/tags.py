"""Tags and covers from the source to the variants.

ID3 (v1, v2.2 to v2.4), APEv2 and Vorbis comments are read with mutagen and written as Vorbis comments and
FLAC pictures. What describes the old encoding and not the music (length, encoder settings, player counters,
private frames) is left behind; ReplayGain too where the level may have changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from engine.files import open_regular
from engine.text import size as readable_size

ID3_NAMES = {
    "TIT1": "GROUPING", "TIT2": "TITLE", "TIT3": "SUBTITLE", "TPE1": "ARTIST", "TPE2": "ALBUMARTIST",
    "TPE3": "CONDUCTOR", "TPE4": "REMIXER", "TALB": "ALBUM", "TRCK": "TRACKNUMBER", "TPOS": "DISCNUMBER",
    "TCON": "GENRE", "TCOM": "COMPOSER", "TEXT": "LYRICIST", "TDRC": "DATE", "TDOR": "ORIGINALDATE",
    "TDRL": "RELEASEDATE", "TBPM": "BPM", "TKEY": "KEY", "TSRC": "ISRC", "TPUB": "LABEL",
    "TCOP": "COPYRIGHT", "TENC": "ENCODED-BY", "TLAN": "LANGUAGE", "TMOO": "MOOD", "TMED": "MEDIA",
    "TSST": "DISCSUBTITLE", "TCMP": "COMPILATION", "TOPE": "ORIGINALARTIST", "TOAL": "ORIGINALALBUM",
    "TSOT": "TITLESORT", "TSOP": "ARTISTSORT", "TSO2": "ALBUMARTISTSORT", "TSOA": "ALBUMSORT",
    "TSOC": "COMPOSERSORT", "MVNM": "MOVEMENTNAME", "MVIN": "MOVEMENT", "GRP1": "GROUPING",
    "WCOM": "WEBSITE", "WOAR": "WEBSITE", "WOAF": "WEBSITE", "WPUB": "WEBSITE",
}  # fmt: skip
_PADDING = 1024  # bytes behind the tags: a result that got others has the bytes that it has when made anew
_APE_NAMES = {
    "TRACK": "TRACKNUMBER", "DISC": "DISCNUMBER", "YEAR": "DATE", "ALBUM ARTIST": "ALBUMARTIST",
    "PUBLISHER": "LABEL", "RECORD DATE": "DATE",
}  # fmt: skip
_LEFT_BEHIND = (
    "ENCODER",
    "ENCODER_OPTIONS",
    "ENCODING",
    "ITUNNORM",
    "ITUNSMPB",
    "TOOL NAME",
    "TLEN",
    "MP3GAIN_",
)
_GAINS = ("REPLAYGAIN_", "R128_")
_PROVENANCE = "MP3RESTORE_VERSION"  # no result is without it, and nothing else has it
_BLOCK = (1 << 24) - 1  # bytes that a FLAC block holds
_MAX_COMMENTS = _BLOCK - (1 << 20)  # the rest is for where the file comes from
_MAX_VALUE = 1 << 20
_MOST_VALUES = 10_000  # nobody reads more, and writing them takes as long as the song
_MAX_PICTURE = _BLOCK - 32  # its own fields
_MAX_DESCRIPTION = 1 << 16
_LAST_KIND = 20  # of pictures; what says another is of kind 0, "other"
_MOST_NAMED = 5
_MOST_BLOCKS = 10_000  # before a FLAC file's frames
_COMMENTS_BLOCK, _LONGEST_NAME = 4, 64


@dataclass(frozen=True)
class Picture:
    """A cover. ``kind`` is ID3's and FLAC's picture type (3: front cover)."""

    data: bytes
    mime: str
    kind: int
    description: str


@dataclass
class Tags:
    """Vorbis comments (upper-case names, values in order) and pictures: no more than FLAC holds.

    ``left_out`` names what was too large.
    """

    comments: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _size: int = 0
    _count: int = 0

    def add(self, name: str, values: Iterable[object]) -> None:
        """Add values under ``name`` as far as a Vorbis comment can hold them; no value twice."""
        name = "".join(c for c in name.upper() if " " <= c <= "}" and c != "=").strip()
        if not name or name.startswith(_LEFT_BEHIND):
            return
        into = self.comments.get(name, [])
        known = set(into)
        for value in values:
            data = str(value).replace("\0", "").strip().encode("utf-8", "replace")
            text, size = data.decode(), 4 + len(name) + 1 + len(data)
            if not text or text in known:
                continue
            if self._count == _MOST_VALUES:
                self._leave_out(f"more than {_MOST_VALUES} values")
                break
            if size > _MAX_VALUE or self._size + size > _MAX_COMMENTS:
                self._leave_out(f"{name[:40]} ({readable_size(len(data))})")
                continue
            self._size += size
            self._count += 1
            known.add(text)
            into.append(text)
        if into:
            self.comments[name] = into

    def add_picture(self, picture: Picture) -> None:
        """Add a cover as far as a FLAC block can hold it; links to one are none."""
        if not picture.data or picture.mime == "-->":
            return
        if not 0 <= picture.kind <= _LAST_KIND:
            picture = replace(picture, kind=0)
        description = picture.description.replace("\0", "")
        if len(description.encode("utf-8", "replace")) > _MAX_DESCRIPTION or len(picture.mime) > _MAX_DESCRIPTION:
            self._leave_out("the description of a picture")
            picture = replace(picture, mime=picture.mime[:100], description="")
        fields = len(picture.description.encode("utf-8", "replace")) + len(picture.mime.encode("utf-8", "replace"))
        if len(picture.data) + fields > _MAX_PICTURE:
            self._leave_out(f"a picture ({readable_size(len(picture.data))})")
        else:
            self.pictures.append(picture)

    @property
    def album(self) -> str:
        """What the songs of one folder that are one album have in common; empty: of none."""
        return " ".join(self.comments.get("ALBUM", [])).strip().casefold()

    def _leave_out(self, what: str) -> None:
        if what not in self.left_out:
            self.left_out.append(what)

    def without_gains(self) -> Tags:
        """The same without ReplayGain."""
        kept = {name: values for name, values in self.comments.items() if not name.startswith(_GAINS)}
        return Tags(kept, self.pictures, self.left_out)

    def first(self, name: str) -> str:
        """The first value under ``name``; empty where there is none."""
        return self.comments.get(name, [""])[0]


def read_tags(path: Path) -> tuple[Tags, str]:
    """The tags of ``path`` and a warning (empty where all went well). Never raises for what a file holds."""
    tags = Tags()
    problems = []
    try:
        _read(path, tags)
    except Exception as error:  # hostile tags make mutagen fail in every way there is
        problems.append(f"Some of the song's tags could not be read ({type(error).__name__}).")
    if tags.left_out:
        named = ", ".join(tags.left_out[:_MOST_NAMED])
        more = f" and {len(tags.left_out) - _MOST_NAMED} more" if len(tags.left_out) > _MOST_NAMED else ""
        problems.append(f"Too large for the tags of a FLAC file, and left out: {named}{more}.")
    return tags, " ".join([*problems, "The audio is not affected."] if problems else [])


def _read(path: Path, tags: Tags) -> None:
    import mutagen
    from mutagen.apev2 import APENoHeaderError, APEv2
    from mutagen.id3 import ID3, ID3NoHeaderError

    is_mpeg = path.suffix.lower() in (".mp3", ".mp2", ".mpga")
    if is_mpeg:
        with suppress(ID3NoHeaderError):
            _from_id3(ID3(path), tags)
        with suppress(APENoHeaderError):
            _from_ape(APEv2(path), tags)
        return
    file = mutagen.File(path)
    if file is None or file.tags is None:
        return
    if isinstance(file.tags, ID3):
        _from_id3(file.tags, tags)
    else:
        _from_vorbis(file, tags)


def _from_id3(id3: Any, tags: Tags) -> None:
    for frame in id3.values():
        name = frame.FrameID
        if name == "APIC":
            tags.add_picture(Picture(frame.data, frame.mime, int(frame.type), frame.desc))
        elif name == "TXXX":
            tags.add(frame.desc, frame.text)
        elif name == "COMM":
            if not frame.desc or frame.desc.lower() in ("comment", "description"):
                tags.add("COMMENT", frame.text)
            else:
                tags.add(frame.desc, frame.text)
        elif name == "USLT":
            tags.add("LYRICS", [frame.text])
        elif name == "TCON":
            tags.add("GENRE", frame.genres)
        elif name in ("TRCK", "TPOS", "MVIN"):
            _add_number(tags, ID3_NAMES[name], str(frame))
        elif name in ("TIPL", "TMCL"):
            for role, person in frame.people:
                tags.add(
                    role if name == "TIPL" else "PERFORMER",
                    [person if name == "TIPL" else f"{person} ({role})"],
                )
        elif name == "UFID" and frame.owner == "http://musicbrainz.org":
            tags.add("MUSICBRAINZ_TRACKID", [frame.data.decode("ascii", "replace")])
        elif name == "RVA2":
            continue
        elif name in ID3_NAMES:
            tags.add(ID3_NAMES[name], getattr(frame, "text", None) or [frame.url])


_TOTALS = {"TRACKNUMBER": "TRACKTOTAL", "DISCNUMBER": "DISCTOTAL", "MOVEMENT": "MOVEMENTTOTAL"}


def _add_number(tags: Tags, name: str, text: str) -> None:
    """``3/12`` becomes a number and a total."""
    number, _, total = text.partition("/")
    tags.add(name, [number])
    if total:
        tags.add(_TOTALS[name], [total])


def _from_ape(ape: Any, tags: Tags) -> None:
    """APEv2 fills in what ID3 does not say."""
    known = set(tags.comments)
    for key, value in ape.items():
        name = _APE_NAMES.get(key.upper(), key.upper())
        if name.startswith("COVER ART") and not any(p.kind == 3 for p in tags.pictures):
            _, _, data = value.value.partition(b"\0")
            mime = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
            tags.add_picture(Picture(data, mime, 4 if "BACK" in name else 3, ""))
        elif name not in known and value.kind == 0:
            if name in _TOTALS:
                _add_number(tags, name, str(value))
            else:
                tags.add(name, list(value))


def _from_vorbis(file: Any, tags: Tags) -> None:
    import base64

    from mutagen.flac import Picture as FlacPicture

    pictures = list(getattr(file, "pictures", []))
    for name, value in file.tags:
        if name.upper() == "METADATA_BLOCK_PICTURE":
            pictures.append(FlacPicture(base64.b64decode(value)))
        else:
            tags.add(name, [value])
    for p in pictures:
        tags.add_picture(Picture(p.data, p.mime, int(p.type), p.desc))


def write_tags(path: Path, tags: Tags, provenance: dict[str, str], *, keep_replaygain: bool) -> None:
    """Write ``tags`` and ``provenance`` (how the file was made) into the FLAC file at ``path``. Raises OSError."""
    from mutagen.flac import FLAC

    with disk_errors():
        flac = FLAC(path)
        if flac.tags is None:
            flac.add_tags()
        flac.tags.clear()
        flac.clear_pictures()
        for name, values in (tags if keep_replaygain else tags.without_gains()).comments.items():
            flac[name] = values
        for name, value in provenance.items():
            flac[name] = [value]
        for picture in tags.pictures:
            flac.add_picture(picture_block(picture))
        flac.save(padding=lambda _: _PADDING)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise the OSError that mutagen puts into an error of its own."""
    from mutagen import MutagenError

    try:
        yield
    except MutagenError as error:
        for cause in (error.__cause__, error.__context__, *error.args):
            if isinstance(cause, OSError):
                raise cause from error
        raise


def picture_block(picture: Picture) -> Any:
    """The picture as FLAC and Vorbis comments hold it (RFC 9639, 8.8)."""
    from mutagen.flac import Picture as FlacPicture

    block = FlacPicture()
    block.data, block.mime, block.desc = picture.data, picture.mime, picture.description.replace("\0", "")
    block.type = picture.kind
    return block


def has_provenance(path: Path) -> bool:
    """Whether a FLAC file is a result of this program, by its comments. Reads no more than these.

    What cannot be read, or is no FLAC file, is none.
    """
    try:
        with open_regular(path) as file:
            return _PROVENANCE.encode() in _comment_names(file)
    except OSError:
        return False


def _comment_names(file: BinaryIO) -> set[bytes]:
    """The names in a FLAC file's comments (RFC 9639, 8.6), in capitals; empty for what is no such file."""
    if file.read(4) != b"fLaC":
        return set()
    for _ in range(_MOST_BLOCKS):
        if len(head := file.read(4)) < 4:
            break
        kind, size = head[0] & 0x7F, int.from_bytes(head[1:])
        if kind == _COMMENTS_BLOCK:
            return set(_names_in(file.read(size)))
        if head[0] & 0x80:  # the last block
            break
        file.seek(size, os.SEEK_CUR)
    return set()


def _names_in(block: bytes) -> Iterator[bytes]:
    at = 4 + int.from_bytes(block[:4], "little") + 4  # the vendor's name, and the count
    while at + 4 <= len(block):
        size = int.from_bytes(block[at : at + 4], "little")
        yield block[at + 4 : at + 4 + min(size, _LONGEST_NAME)].partition(b"=")[0].upper()
        at += 4 + size
