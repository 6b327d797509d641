"""What a song sounds like, as a hash: of the audio in a file, without its tags.

Retagging, renaming and moving leave it alone; any change to the audio, broken parts included, does not. Nothing is
decoded, so that it is the same on every machine and with every version of a decoder. Read with little memory and
without memory maps: a file that shrinks meanwhile must not be a signal.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.files import open_regular

_BLOCK = 1 << 20
_LYRICS3_1 = 5100 + 20  # bytes of the longest Lyrics3 tag of the first version
_MOST_CHUNKS = 10_000  # in a RIFF, AIFF or FLAC file, and tags one after the other
Range = tuple[int, int]  # first byte and end


def sound_hash(path: Path) -> str:
    """SHA-256, as hex, of the audio in ``path``.

    MPEG and what is not named here: all but ID3v1, ID3v2, APE and Lyrics3 tags at both ends. FLAC: STREAMINFO and the
    frames. WAV and AIFF: the format and the samples. Ogg: all packets but the comments. Raises OSError.
    """
    with open_regular(path) as file:
        start, end = _without_tags(file, file.seek(0, 2))
        head = _read(file, start, 12)
        if head[:4] == b"OggS":
            return _ogg_hash(file, start, end)
        digest = hashlib.sha256()
        for first, last in _audio(file, head, start, end):
            digest.update(struct.pack("<Q", last - first))
            for block in _blocks(file, first, last):
                digest.update(block)
        return digest.hexdigest()


def flac_md5(path: Path) -> str:
    """The MD5 of its samples that a FLAC file carries, as hex; empty where it has none. Raises OSError."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        head = _read(file, _skip_leading_tags(file, size), 42)
    return head[26:42].hex() if head[:4] == b"fLaC" and len(head) == 42 and any(head[26:42]) else ""


def _audio(file: BinaryIO, head: bytes, start: int, end: int) -> list[Range]:
    """The parts of the file that decide the sound; all between the tags where it is not what it looks like."""
    found: list[Range] | None = None
    if head[:4] == b"fLaC":
        found = _flac(file, start, end)
    elif head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        found = _chunks(file, start, "<", (b"fmt ", b"data"))
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found = _chunks(file, start, ">", (b"COMM", b"SSND"))
    return found or [(start, end)]


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(max(0, at))
    return file.read(size)


def _blocks(file: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    file.seek(first)
    while first < last and (block := file.read(min(_BLOCK, last - first))):
        first += len(block)
        yield block


# --- tags at both ends -----------------------------------------------------------------------------------


def _without_tags(file: BinaryIO, size: int) -> Range:
    start, end = _skip_leading_tags(file, size), size
    while end > start and (length := _trailing_tag(file, start, end)):
        end -= length
    return start, end


def _skip_leading_tags(file: BinaryIO, size: int) -> int:
    at = 0
    for _ in range(_MOST_CHUNKS):
        head = _read(file, at, 32)
        length = _id3v2_length(head) if head[:3] == b"ID3" else _ape_length(head) if head[:8] == b"APETAGEX" else 0
        if not length or at + length >= size:
            break  # no tag, or one whose length is a lie
        at += length
    return at


def _trailing_tag(file: BinaryIO, start: int, end: int) -> int:
    """Length of the tag that ends at ``end``; 0 where there is none."""
    room = end - start
    tail = _read(file, max(start, end - 128 - 227), min(room, 128 + 227))
    length = 0
    if tail[-128:-125] == b"TAG":
        length = 128 + (227 if tail[:4] == b"TAG+" else 0)
    elif tail[-32:-24] == b"APETAGEX":
        length = _ape_length(tail[-32:])
    elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        length = int(tail[-15:-9]) + 15
        if _read(file, end - length, 11) != b"LYRICSBEGIN":
            length = 0
    elif tail[-9:] == b"LYRICSEND":
        reach = min(room, _LYRICS3_1)
        at = _read(file, end - reach, reach).rfind(b"LYRICSBEGIN")
        length = reach - at if at >= 0 else 0
    elif tail[-10:-7] == b"3DI":
        length = _id3v2_length(tail[-10:])
    return length if length <= room else 0


def _id3v2_length(head: bytes) -> int:
    """Of the whole tag, from its header or footer; 0 where that is not one."""
    if len(head) < 10 or head[3] == 0xFF or any(byte & 0x80 for byte in head[6:10]):
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)


def _ape_length(head: bytes) -> int:
    """Of the whole tag, from its header or footer."""
    if len(head) < 32:
        return 0
    size, _, flags = struct.unpack("<III", head[12:24])
    return int(size) + (32 if flags & 0x80000000 else 0)


# --- containers ------------------------------------------------------------------------------------------


def _flac(file: BinaryIO, start: int, end: int) -> list[Range] | None:
    """STREAMINFO and the frames."""
    at, parts = start + 4, []
    for _ in range(_MOST_CHUNKS):
        if at + 4 > end:
            break
        head = _read(file, at, 4)
        following = at + 4 + int.from_bytes(head[1:4], "big")
        if head[0] & 0x7F == 0:
            parts.append((at + 4, min(following, end)))
        at = following
        if head[0] & 0x80:
            return [*parts, (at, end)] if at < end else None
    return None


def _chunks(file: BinaryIO, start: int, order: str, wanted: tuple[bytes, bytes]) -> list[Range] | None:
    """The two chunks of a RIFF or AIFF file that hold its format and its samples."""
    end = file.seek(0, 2)
    found: dict[bytes, Range] = {}
    at, long_size = start + 12, 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:  # also where a size of 64 bits leads further than a file can be
            break
        head = _read(file, at, 8)
        name, size = head[:4], struct.unpack(order + "I", head[4:])[0]
        if name == b"ds64":
            long_size = int.from_bytes(_read(file, at + 16, 8), "little")
        if name == b"data" and size == 0xFFFFFFFF:
            size = long_size or end
        if name in wanted:
            found.setdefault(name, (at + 8, min(end, at + 8 + size)))
        at += 8 + size + size % 2
    first, samples = found.get(wanted[0]), found.get(wanted[1])
    return [first, samples] if first and samples and samples[1] > samples[0] else None


def _ogg_hash(file: BinaryIO, start: int, end: int) -> str:
    """All packets but the second of each stream, which holds the comments, and where each stream ends.

    Pages are only how the packets are packed: a longer comment renumbers all of them.
    """
    from mutagen.ogg import OggPage, error

    digest = hashlib.sha256()
    packets: dict[int, int] = {}  # of each stream, how many have begun
    ends: dict[int, int] = {}
    file.seek(start)
    while (at := file.tell()) < end:
        try:
            page = OggPage(file)
        except (error, EOFError, ValueError, struct.error):
            for block in _blocks(file, at, end):  # damaged from here on: as it is
                digest.update(block)
            break
        count = 0 if page.first else packets.get(page.serial, 0)
        for number, packet in enumerate(page.packets):
            if number or not page.continued:
                count += 1
                digest.update(struct.pack("<qI", page.serial, count) if count != 2 else b"")
            if count != 2:
                digest.update(packet)
        packets[page.serial] = count
        if page.position != -1:
            ends[page.serial] = page.position
        if page.last:
            digest.update(struct.pack("<qq", page.serial, ends.get(page.serial, -1)))
    return digest.hexdigest()
