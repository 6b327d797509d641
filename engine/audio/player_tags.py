"""Tags and covers into what players take: ID3 for MP3, Vorbis comments for FLAC and Opus, atoms for MP4."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from engine.audio.tags import ID3_NAMES, Tags, disk_errors, picture_block, write_tags

_ATOMS = {
    "TITLE": "\xa9nam", "ARTIST": "\xa9ART", "ALBUMARTIST": "aART", "ALBUM": "\xa9alb", "GENRE": "\xa9gen",
    "DATE": "\xa9day", "COMPOSER": "\xa9wrt", "COMMENT": "\xa9cmt", "LYRICS": "\xa9lyr", "GROUPING": "\xa9grp",
    "COPYRIGHT": "cprt", "TITLESORT": "sonm", "ARTISTSORT": "soar", "ALBUMARTISTSORT": "soaa", "ALBUMSORT": "soal",
    "COMPOSERSORT": "soco",
}  # fmt: skip
_NUMBERS = {"TRACKNUMBER": ("trkn", "TRCK", "TRACKTOTAL"), "DISCNUMBER": ("disk", "TPOS", "DISCTOTAL")}
_TOTALS = tuple(total for _, _, total in _NUMBERS.values())
_FREE = "----:com.apple.iTunes:"
_MOST_OF_A_NUMBER = 65535


def write_player_tags(path: Path, ending: str, tags: Tags) -> None:
    """Write ``tags`` into the FLAC, Opus, MP3 or MP4 file at ``path``, in place of those that it has.

    ``ending`` tells which it is, whatever the file is called.

    Raises:
        OSError: it could not be written.
        mutagen.MutagenError: it is no such file.
    """
    with disk_errors():
        match ending:
            case ".flac":
                write_tags(path, tags, {}, keep_replaygain=True)
            case ".opus":
                _write_opus(path, tags)
            case ".mp3":
                _write_id3(path, tags)
            case _:
                _write_atoms(path, tags)


def _write_opus(path: Path, tags: Tags) -> None:
    from mutagen.oggopus import OggOpus

    file = OggOpus(path)
    file.tags.clear()
    for name, values in tags.comments.items():
        file[name] = values
    pictures = [b64encode(picture_block(picture).write()).decode("ascii") for picture in tags.pictures]
    if pictures:
        file["METADATA_BLOCK_PICTURE"] = pictures
    file.save()


def _write_id3(path: Path, tags: Tags) -> None:
    from mutagen import id3

    frames: dict[str, str] = {}
    for frame, name in ID3_NAMES.items():
        if frame.startswith("T"):  # of two that mean the same, the first
            frames.setdefault(name, frame)
    found = id3.ID3()
    for name, values in tags.comments.items():
        if name in _TOTALS:
            continue
        if name in _NUMBERS:
            _, frame, total = _NUMBERS[name]
            whole = values[0] + (f"/{tags.first(total)}" if tags.first(total) else "")
            found.add(getattr(id3, frame)(encoding=3, text=[whole]))
        elif name == "COMMENT":
            found.add(id3.COMM(encoding=3, lang="XXX", desc="", text=values))
        elif name == "LYRICS":
            found.add(id3.USLT(encoding=3, lang="XXX", desc="", text="\n".join(values)))
        elif name in frames:
            found.add(getattr(id3, frames[name])(encoding=3, text=values))
        else:
            found.add(id3.TXXX(encoding=3, desc=name, text=values))
    for picture in tags.pictures:
        found.add(
            id3.APIC(encoding=3, mime=picture.mime, type=picture.kind, desc=picture.description, data=picture.data)
        )
    found.save(path)


def _write_atoms(path: Path, tags: Tags) -> None:
    from mutagen.mp4 import MP4, MP4Cover

    file = MP4(path)
    atoms: dict[str, Any] = {}
    for name, values in tags.comments.items():
        if name in _TOTALS:
            continue
        if name in _NUMBERS:
            atom, _, total = _NUMBERS[name]
            atoms[atom] = [(_number(values[0]), _number(tags.first(total)))]
        elif name in _ATOMS:
            atoms[_ATOMS[name]] = values
        elif name == "COMPILATION":
            atoms["cpil"] = values[0] == "1"
        else:
            atoms[_FREE + name] = [value.encode() for value in values]
    kinds = {"image/png": MP4Cover.FORMAT_PNG, "image/jpeg": MP4Cover.FORMAT_JPEG, "image/jpg": MP4Cover.FORMAT_JPEG}
    covers = [MP4Cover(p.data, kinds[p.mime]) for p in tags.pictures if p.mime in kinds]
    if covers:
        atoms["covr"] = covers
    file.delete()
    file.update(atoms)
    file.save()


def _number(text: str) -> int:
    """0 for what is none; an atom holds no more than 16 bits."""
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _MOST_OF_A_NUMBER else 0
