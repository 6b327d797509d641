"""Tags and covers from the source to the variants.

ID3 (v1, v2.2 to v2.4), APEv2 and Vorbis comments are read with mutagen and written as Vorbis comments and
FLAC pictures. What describes the old encoding and not the music (length, encoder settings, player counters,
private frames) is left behind; ReplayGain too where the level may have changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ID3_NAMES = {
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
_MAX_VALUE = 1 << 20
_MAX_PICTURE = (1 << 24) - 4096  # a FLAC block holds 16 MB


@dataclass(frozen=True)
class Picture:
    """A cover. ``kind`` is ID3's and FLAC's picture type (3: front cover)."""

    data: bytes
    mime: str
    kind: int
    description: str


@dataclass
class Tags:
    """Vorbis comments (upper-case names, values in order) and pictures."""

    comments: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)

    def add(self, name: str, values: Iterable[object]) -> None:
        """Add values under ``name`` as far as a Vorbis comment can hold them; no value twice."""
        name = "".join(c for c in name.upper() if " " <= c <= "}" and c != "=").strip()
        if not name or name.startswith(_LEFT_BEHIND):
            return
        into = self.comments.setdefault(name, [])
        for value in values:
            text = str(value).replace("\0", "").strip().encode("utf-8", "replace").decode()
            if text and text not in into and len(text) <= _MAX_VALUE:
                into.append(text)
        if not into:
            del self.comments[name]

    def first(self, name: str) -> str:
        """The first value under ``name``; empty where there is none."""
        return self.comments.get(name, [""])[0]


def read_tags(path: Path) -> tuple[Tags, str]:
    """The tags of ``path`` and a warning (empty where all went well). Never raises for what a file holds."""
    tags = Tags()
    try:
        _read(path, tags)
    except Exception as error:  # hostile tags make mutagen fail in every way there is
        return (
            tags,
            f"Some of the song's tags could not be read ({type(error).__name__}); the audio is not affected.",
        )
    return tags, ""


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
            _add_picture(tags, Picture(frame.data, frame.mime, int(frame.type), frame.desc))
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
            _add_number(tags, _ID3_NAMES[name], str(frame))
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
        elif name in _ID3_NAMES:
            tags.add(_ID3_NAMES[name], getattr(frame, "text", None) or [frame.url])


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
            _add_picture(tags, Picture(data, mime, 4 if "BACK" in name else 3, ""))
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
        _add_picture(tags, Picture(p.data, p.mime, int(p.type), p.desc))


def _add_picture(tags: Tags, picture: Picture) -> None:
    if picture.data and len(picture.data) <= _MAX_PICTURE and picture.mime != "-->":
        tags.pictures.append(picture)


def write_tags(path: Path, tags: Tags, provenance: dict[str, str], *, keep_replaygain: bool) -> None:
    """Write ``tags`` and ``provenance`` (how the file was made) into the FLAC file at ``path``."""
    from mutagen.flac import FLAC
    from mutagen.flac import Picture as FlacPicture

    flac = FLAC(path)
    if flac.tags is None:
        flac.add_tags()
    flac.tags.clear()
    flac.clear_pictures()
    for name, values in tags.comments.items():
        if keep_replaygain or not name.startswith(("REPLAYGAIN_", "R128_")):
            flac[name] = values
    for name, value in provenance.items():
        flac[name] = [value]
    for picture in tags.pictures:
        block = FlacPicture()
        block.data, block.mime, block.desc = picture.data, picture.mime, picture.description.replace("\0", "")
        block.type = picture.kind if 0 <= picture.kind <= 20 else 0
        flac.add_picture(block)
    flac.save()
