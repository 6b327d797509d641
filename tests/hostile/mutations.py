"""Mutations of bytes and of plain data, and hostile files put together piece by piece."""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import Any

from tests.hostile.texts import text

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)


def damaged(draw: Random, data: bytes, head: int = 0) -> bytes:
    """A copy with some bytes changed, cut out, doubled, moved or put to extremes; mostly in the first ``head`` bytes."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8, 40))):
        if not found:
            break
        reach = min(head, len(found)) if head and draw.random() < 0.7 else len(found)
        at, length = draw.randrange(reach), draw.choice((1, 2, 4, 8, 60, 700))
        match draw.randrange(7):
            case 0:
                found[at] = draw.randrange(256)
            case 1:
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                size, order = draw.choice((2, 4, 8)), draw.choice(("big", "little"))
                found[at : at + size] = (draw.choice(_EXTREMES) & ((1 << 8 * size) - 1)).to_bytes(size, order)
            case 3:
                del found[at : at + length]
            case 4:
                found[at:at] = found[at : at + length] * draw.choice((1, 1, 50))
            case 5:
                other = draw.randrange(len(found))
                found[at : at + length] = found[other : other + length]
            case _:
                if draw.random() < 0.2:
                    del found[at:]
    return bytes(found)


def value(draw: Random, depth: int = 0) -> Any:
    """Anything that JSON can hold."""
    if depth < 3 and draw.random() < 0.25:
        count = draw.choice((0, 1, 2, 5))
        if draw.random() < 0.5:
            return [value(draw, depth + 1) for _ in range(count)]
        return {text(draw, 2): value(draw, depth + 1) for _ in range(count)}
    extremes = (
        0,
        -1,
        1,
        2**31,
        2**53,
        2**63,
        2**64,
        -(2**63),
        10**30,
        0.0,
        -0.0,
        1e-320,
        1e308,
        -1e308,
        0.1,
        True,
        False,
        None,
        "",
    )
    return draw.choice((*extremes, text(draw), text(draw, 1)))


def altered(draw: Random, data: Any) -> Any:
    """A copy of plain data with some of it replaced, left out, doubled or added."""
    if draw.random() < 0.02:
        return value(draw)
    if isinstance(data, dict) and data:
        found = dict(data)
        for _ in range(draw.choice((1, 1, 2))):
            key = draw.choice(list(data))
            match draw.randrange(6):
                case 0:
                    found.pop(key, None)
                case 1:
                    found[key] = value(draw)
                case 2:
                    found[text(draw, 2)] = found.get(key)
                case _:
                    found[key] = altered(draw, data[key])
        return found
    if isinstance(data, list) and data:
        items = list(data)
        at = draw.randrange(len(items))
        match draw.randrange(4):
            case 0:
                del items[at]
            case 1:
                items += items * draw.choice((1, 1, 100))
            case _:
                items[at] = altered(draw, items[at])
        return items
    return value(draw)


# --- tags ------------------------------------------------------------------------------------------------------


def syncsafe(number: int) -> bytes:
    """28 bits in four bytes, as ID3v2.4 has its sizes."""
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


_TEXT_FRAMES = (
    b"TIT2",
    b"TPE1",
    b"TALB",
    b"TRCK",
    b"TPOS",
    b"TCON",
    b"TDRC",
    b"TYER",
    b"TSRC",
    b"TCMP",
    b"TIPL",
    b"TMCL",
    b"MVIN",
)
_FRAMES = (*_TEXT_FRAMES, b"TXXX", b"COMM", b"USLT", b"APIC", b"WOAR", b"WXXX", b"UFID", b"PRIV", b"CHAP", b"CTOC", b"GEOB", b"RVA2", b"SYLT",
           b"PCNT", b"POPM", b"LINK", b"ETCO", b"MCDI", b"RVAD", b"EQU2", b"RBUF", b"AENC", b"ENCR", b"GRID", b"OWNE", b"COMR", b"XXXX",
           b"tit2", b"\0\0\0\0")  # fmt: skip
_CODECS = ((0, "latin-1"), (1, "utf-16"), (2, "utf-16-be"), (3, "utf-8"), (4, "utf-8"), (255, "latin-1"))


def id3v2(draw: Random) -> bytes:
    """A tag of any version, whose sizes, flags, encodings and nesting may be lies."""
    version = draw.choice((2, 3, 4, 4, 4, 3, 1, 5, 255))
    body = b"".join(_id3_frame(draw, version) for _ in range(draw.choice((1, 2, 5, 12))))
    if draw.random() < 0.2:
        body = damaged(draw, body)
    flags = draw.choice((0, 0, 0, 0x80, 0x40, 0x20, 0x10, 0xFF))
    if flags & 0x40:
        body = struct.pack(">I", draw.choice((6, 0, 10, len(body), 0x7FFFFFFF, 0xFFFFFFFF))) + bytes(6) + body
    size = draw.choice((len(body),) * 6 + (0, len(body) // 2, len(body) + 100, (1 << 28) - 1))
    return b"ID3" + bytes([version, draw.choice((0, 0, 255)), flags]) + syncsafe(size) + body


def _id3_frame(draw: Random, version: int, depth: int = 0) -> bytes:
    name = draw.choice(_FRAMES)
    body = _id3_body(draw, name, version, depth)
    flags = draw.choice((0, 0, 0, 0, 1 << draw.randrange(16), draw.randrange(1 << 16)))
    if flags & 0x0008 and draw.random() < 0.7:  # compressed
        times = draw.choice((1, 1, 1, min(20_000, 1 + (20 << 20) // (len(body) + 1))))
        body = syncsafe(draw.choice((len(body) * times, (1 << 28) - 1))) + zlib.compress(body * times)
    size = draw.choice((len(body),) * 8 + (0, 1, len(body) + 1, 0x7FFFFFFF, 0xFFFFFFFF, len(body) * 2))
    if version == 2:
        return name[:3] + (size & 0xFFFFFF).to_bytes(3, "big") + body
    packed = syncsafe(size) if version == 4 and draw.random() < 0.8 else struct.pack(">I", size)
    return name + packed + struct.pack(">H", flags) + body


def _encoded(draw: Random, some: str) -> tuple[int, bytes]:
    number, codec = draw.choice(_CODECS)
    data = some.encode(codec, "replace")
    return number, damaged(draw, data) if draw.random() < 0.2 else data


def _id3_body(draw: Random, name: bytes, version: int, depth: int) -> bytes:
    number, data = _encoded(
        draw, draw.choice(("\0", "", "/")).join(text(draw) for _ in range(draw.choice((1, 1, 2, 40))))
    )
    end = b"\0\0" if number in (1, 2) else b"\0"
    start = bytes([number])
    if name == b"TCON" and draw.random() < 0.5:
        return start + b"(" * draw.choice((1, 40, 4000)) + b"17)(RX" + data
    if name == b"TRCK" and draw.random() < 0.5:
        return start + draw.choice((b"9" * 400, b"1/" * 200, b"-1/0", b"\xd9\xa3/\xd9\xa4"))
    if name in (b"TXXX", b"WXXX"):
        _, other = _encoded(draw, text(draw, 2))
        return start + other + end + data
    if name in (b"COMM", b"USLT"):
        return start + draw.choice((b"eng", b"\0\0\0", b"\xff\x1b[")) + data[:20] + end + data
    if name == b"APIC":
        mime = draw.choice((b"image/png", b"-->", b"[red]\x1b[31m", b"", b"image/" + b"x" * 70_000))
        return start + mime + b"\0" + bytes([draw.randrange(256)]) + data[:30] + end + picture(draw)
    if name in (b"CHAP", b"CTOC") and depth < draw.choice(
        (2, 2, 60)
    ):  # chapters in chapters, tables that hold themselves
        head = b"x\0" + (bytes([3, draw.choice((1, 255))]) + b"x\0" if name == b"CTOC" else bytes(16))
        return head + b"".join(_id3_frame(draw, version, depth + 1) for _ in range(draw.choice((1, 2))))
    return data if draw.random() < 0.3 else start + data


def picture(draw: Random) -> bytes:
    """A PNG or JPEG that says it is enormous, or nothing of the kind."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", draw.choice((1, 1 << 31, 65535)), 65535, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    packed = zlib.compress(bytes(draw.choice((10, 3 << 20))))
    png += struct.pack(">I", len(packed)) + b"IDAT" + packed + bytes(4)
    return draw.choice(
        (png, b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + bytes(20), b"", b"<svg onload='x'/>", b"x" * 100_000)
    )


def ape(draw: Random) -> bytes:
    """An APEv2 tag whose counts, sizes and names may be lies."""
    items = b""
    count = draw.choice((1, 3, 10))
    for _ in range(count):
        key = draw.choice(
            (
                b"Title",
                b"Track",
                b"Cover Art (Front)",
                b"[/]",
                b"OggS",
                b"\x1b[2J",
                b"K" * 300,
                b"a=b",
                text(draw, 1).encode("utf-8", "replace"),
            )
        )
        data = text(draw).encode("utf-8", "replace") if draw.random() < 0.7 else picture(draw)
        size = draw.choice((len(data),) * 5 + (0xFFFFFFFF, 0, len(data) + 9))
        items += struct.pack("<II", size, draw.choice((0, 0, 2, 4, 6, 0xFFFFFFFF))) + key + b"\0" + data
    size = draw.choice((len(items) + 32,) * 6 + (0, 31, 0xFFFFFFFF, 1 << 31))
    number = draw.choice((count,) * 5 + (0, 0xFFFFFFFF))

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", draw.choice((2000, 2000, 1000, 0)), size, number, flags) + bytes(8)

    return (end(0xA0000000) if draw.random() < 0.6 else b"") + items + end(draw.choice((0x80000000, 0)))


def id3v1(draw: Random) -> bytes:
    """128 bytes, of any content."""
    return (b"TAG" + text(draw, 9).encode("latin-1", "replace")).ljust(127, draw.choice((b"\0", b" ", b"\xff")))[
        :127
    ] + bytes([draw.randrange(256)])


def lyrics3(draw: Random) -> bytes:
    """Both versions, whose lengths may be lies."""
    body = b"LYRICSBEGIN" + text(draw).encode("latin-1", "replace")
    if draw.random() < 0.5:
        return body + b"LYRICSEND"
    return body + draw.choice((f"{len(body):06d}".encode(), b"999999", b"000000")) + b"LYRICS200"


# --- FLAC ------------------------------------------------------------------------------------------------------


def flac_blocks(draw: Random, whole: bytes) -> bytes:
    """A FLAC file with other blocks before its frames; ``whole`` is a good one."""
    info = bytearray(whole[8:42])
    if draw.random() < 0.6:
        match draw.randrange(5):
            case 0:  # 36 bits of samples
                info[13:18] = bytes([info[13] & 0xF0 | draw.choice((0, 15))]) + draw.choice((bytes(4), b"\xff" * 4))
            case 1:
                info[10:14] = draw.choice((bytes(4), b"\xff" * 4, b"\x0a\xc4\x42\xf0", b"\0\0\x12\xf0"))
            case 2:
                info[0:4] = draw.choice((bytes(4), b"\xff" * 4, b"\0\x01\0\x01"))
            case 3:
                info[18:34] = draw.choice((bytes(16), b"\xff" * 16))
            case _:
                info = bytearray(damaged(draw, bytes(info)))
    blocks = [(0, bytes(info))] * draw.choice((1, 1, 1, 1, 0, 2))
    blocks += [_flac_block(draw) for _ in range(draw.choice((1, 2, 6)))]
    if draw.random() < 0.1:
        draw.shuffle(blocks)
    made = b"fLaC"
    for number, (kind, data) in enumerate(blocks):
        last = 0x80 * (number == len(blocks) - 1 or draw.random() < 0.05)
        size = draw.choice((len(data),) * 9 + (0, 0xFFFFFF))
        made += bytes([last | kind]) + (size & 0xFFFFFF).to_bytes(3, "big") + data
    return made + _flac_frames(whole)


def _flac_frames(whole: bytes) -> bytes:
    at = 4
    while not whole[at] & 0x80:
        at += 4 + int.from_bytes(whole[at + 1 : at + 4], "big")
    return whole[at + 4 + int.from_bytes(whole[at + 1 : at + 4], "big") :]


def _flac_block(draw: Random) -> tuple[int, bytes]:
    kind = draw.choice((1, 2, 3, 4, 4, 4, 5, 6, 6, 7, 126, 127))
    if kind == 4:
        comments = [text(draw, 2).encode("utf-8", "replace") + draw.choice((b"=", b"", b"==")) + text(draw).encode("utf-8", "replace")
                    for _ in range(draw.choice((1, 3, 300)))]  # fmt: skip
        count = draw.choice((len(comments),) * 6 + (0xFFFFFFFF, 0))
        data = struct.pack("<I", 3) + b"\x1b[m" + struct.pack("<I", count)
        for one in comments:
            data += struct.pack("<I", draw.choice((len(one),) * 30 + (0xFFFFFFFF,))) + one
        return 4, data
    if kind == 6:
        mime, image = draw.choice((b"image/png", b"-->", b"[/]\x1b[2J")), picture(draw)
        size = draw.choice((len(image),) * 4 + (0xFFFFFFFF, 0))
        return 6, struct.pack(">II", draw.choice((3, 0, 1 << 31)), len(mime)) + mime + struct.pack(
            ">IIIIII", 0, 1 << 31, 1 << 31, 24, 0, size
        ) + image
    return kind, draw.randbytes(draw.choice((0, 4, 18, 36, 400)))
