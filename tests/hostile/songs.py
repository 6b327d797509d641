"""Songs: MP3 frames and headers, tags, FLAC and other containers, and small files that unpack to large ones."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from engine.analysis.findings import findings
from engine.analysis.song import analyze
from engine.analysis.verdict import verdict_of
from engine.audio import decode
from engine.audio.player_tags import write_player_tags
from engine.audio.tags import Tags, write_tags
from engine.errors import SongError
from engine.library.records import SongRecord, record_from_json, record_to_json
from tests.conftest import write_mp3
from tests.hostile.kinds import home, kind, shown
from tests.hostile.mutations import ape, damaged, flac_blocks, id3v1, id3v2, lyrics3, syncsafe
from tests.hostile.texts import unsafe

# --- good files that are made worse --------------------------------------------------------------------------


@cache
def _sound() -> Any:
    """A second and a half of music."""
    from engine.commands.demo import compose

    return compose(1.5)


@cache
def good(suffix: str) -> bytes:
    path = home() / f"good{suffix}"
    match suffix:
        case ".mp3":
            write_mp3(path, _sound())
        case ".vbr.mp3":
            write_mp3(path, _sound(), mode="VARIABLE")
        case ".ogg":
            soundfile.write(path, _sound()[:20000], 44100, format="OGG", subtype="VORBIS")
        case ".opus":
            soundfile.write(path, _sound()[:20000], 48000, format="OGG", subtype="OPUS")
        case ".rf64":
            soundfile.write(path, _sound()[:9000], 44100, format="RF64", subtype="PCM_24")
        case _:
            soundfile.write(path, _sound()[:9000], 44100)
    return path.read_bytes()


# --- songs -----------------------------------------------------------------------------------------------------


def _as_a_song(draw: Random, path: Path) -> str:
    """All that the program does with a song before it works on it, and what it says of it."""
    (facts,) = decode.read_headers([path])
    said = [facts.problem, facts.encoder, facts.kind]
    decode.sound_hash(path)
    tags, problem = decode.read_tags(path)
    said.append(problem)
    try:
        found = analyze(path)
    except SongError as error:
        said.append(str(error))
    else:
        said += [*found.warnings, verdict_of(found).reason, *(f.sentence + f.figure for f in findings(found))]
        record = SongRecord("x", 1, 1, "0" * 64, "", "", found)
        if record_from_json(json.loads(json.dumps(record_to_json(record), allow_nan=False))) is None:
            return "what was found is not believed when it is read back"
    if any("(code 1)" in one for one in said):
        return "the reader failed with an exception of Python's"
    if unsafe(facts.encoder):  # shown by those who make it printable
        said.remove(facts.encoder)
    return shown(*said) or _tags_written(draw, path.parent, tags)


def _tags_written(draw: Random, folder: Path, tags: Tags) -> str:
    """Whatever was read can be written, into all that is written."""
    for ending in (".flac", draw.choice((".mp3", ".opus"))):
        path = folder / f"written{ending}"
        path.write_bytes(good(ending))
        if ending == ".flac" and draw.random() < 0.5:
            write_tags(path, tags, {"MP3RESTORE_VERSION": "0"}, keep_replaygain=True)
        else:
            write_player_tags(path, ending, tags)
        again, problem = decode.read_tags(path)
        if problem or (set(again.comments) - {"MP3RESTORE_VERSION"} != set(tags.comments) and ending == ".flac"):
            return f"tags came back otherwise from {ending}: {problem}"
    return ""


SONGS: dict[str, Callable[[Random, Path], Path]] = {}  # what makes a hostile song, by the kind


def _song(count: int) -> Callable[[Callable[[Random, Path], Path]], Callable[[Random, Path], Path]]:
    """Of which the campaign has ``count`` cases; the program is made to read each, and to write its tags."""

    def kept(make: Callable[[Random, Path], Path]) -> Callable[[Random, Path], Path]:
        def tried(draw: Random, folder: Path) -> str:
            return _as_a_song(draw, make(draw, folder))

        tried.__name__, tried.__doc__ = make.__name__, make.__doc__
        SONGS[make.__name__] = make
        kind(count)(tried)
        return make

    return kept


@_song(1200)
def mp3_bytes(draw: Random, folder: Path) -> Path:
    """Bytes of an MP3 changed, cut, doubled, put to extremes."""
    path = folder / "x.mp3"
    path.write_bytes(damaged(draw, good(draw.choice((".mp3", ".vbr.mp3"))), 600))
    return path


@_song(700)
def mp3_frames(draw: Random, folder: Path) -> Path:
    """Frame headers of other versions, layers, rates, modes and bitrates in the middle; frames in any order."""
    data = bytearray(frame_bytes_of(good(".mp3")))
    places = [at for at in range(0, len(data) - 4) if data[at] == 0xFF and data[at + 1] & 0xE0 == 0xE0]
    for _ in range(draw.choice((1, 3, 30))):
        at = draw.choice(places)
        place, mask = draw.choice(
            ((1, 0x18), (1, 0x06), (1, 1), (2, 0xF0), (2, 0x0C), (2, 2), (3, 0xC0), (3, 0x30), (3, 3))
        )
        data[at + place] ^= draw.randrange(256) & mask
    if draw.random() < 0.3:
        frames = [bytes(data[a:b]) for a, b in itertools.pairwise(places)]
        draw.shuffle(frames)
        data = bytearray(b"".join(frames))
    path = folder / "x.mp3"
    path.write_bytes(draw.choice((b"", b"\xff\xfb" * 500, bytes(3000), b"RIFF\xff\xff\xff\xffWAVE")) + data)
    return path


def frame_bytes_of(data: bytes) -> bytes:
    """An MP3 from its first frame on."""
    return data[data.index(b"\xff\xfb") :]


@_song(700)
def mp3_info(draw: Random, folder: Path) -> Path:
    """Xing, Info, LAME and VBRI headers that say anything."""
    data = bytearray(frame_bytes_of(good(draw.choice((".mp3", ".vbr.mp3")))))
    at = max(data.find(b"Info"), data.find(b"Xing"))
    extremes = (0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 26, (1 << 26) + 1, 1 << 20)
    if draw.random() < 0.2:
        data[36:62] = (
            b"VBRI"
            + bytes(6)
            + b"".join(struct.pack(">I", draw.choice(extremes)) for _ in range(2))
            + draw.randbytes(8)
        )
    else:
        struct.pack_into(
            ">III", data, at + 4, draw.choice((15, 1, 3, 0xFFFFFFFF, 0)), draw.choice(extremes), draw.choice(extremes)
        )
        lame = at + 120
        if draw.random() < 0.7:
            data[lame : lame + 9] = draw.choice(
                (b"LAME3.100", b"\x1b[31mLAME", b"[/][red]xx", b"\xff" * 9, bytes(9), b"\xe2\x80\xae     x")
            ).ljust(9)[:9]
            data[lame + 9 : lame + 36] = draw.choice((b"\xff" * 27, bytes(27), draw.randbytes(27)))
    path = folder / "x.mp3"
    path.write_bytes(data)
    return path


@_song(1500)
def tags_of_mp3(draw: Random, folder: Path) -> Path:
    """ID3v1, ID3v2, APE and Lyrics3 tags: sizes, encodings, pictures, chapters in circles, compressed frames."""
    before = b"".join(id3v2(draw) for _ in range(draw.choice((1, 1, 1, 2, 0))))
    after = b"".join(draw.choice((ape, ape, id3v1, lyrics3, id3v2))(draw) for _ in range(draw.choice((0, 1, 2))))
    if draw.random() < 0.1:
        before = ape(draw) + before
    path = folder / "x.mp3"
    path.write_bytes(before + frame_bytes_of(good(".mp3"))[:6000] + after)
    return path


@_song(900)
def flac(draw: Random, folder: Path) -> Path:
    """FLAC: blocks of any kind and size, a STREAMINFO that lies, damaged frames."""
    path = folder / draw.choice(("x.flac", "x.flac", "x.mp3"))
    data = flac_blocks(draw, good(".flac"))
    path.write_bytes(damaged(draw, data, 100) if draw.random() < 0.4 else data)
    return path


@_song(900)
def other_containers(draw: Random, folder: Path) -> Path:
    """WAV, RF64, AIFF, Ogg Vorbis, Opus, CAF, AU and W64, under their own names and others'."""
    suffix = draw.choice((".wav", ".rf64", ".aiff", ".ogg", ".opus", ".caf", ".au", ".w64"))
    path = folder / f"x{draw.choice((suffix, suffix, suffix, '.mp3'))}"
    path.write_bytes(damaged(draw, good(suffix), 120))
    return path


@_song(60)
def bombs(draw: Random, folder: Path) -> Path:
    """Small files that unpack to hours of sound or gigabytes, or say that they do."""
    which = draw.randrange(6)
    path = folder / "x.flac"
    if which == 0:  # hours of silence in a few hundred kilobytes: looked at and hashed, but decoded only so far
        with soundfile.SoundFile(path, "w", 655350, 8, "PCM_16", format="FLAC") as file:
            for _ in range(draw.choice((5, 20))):
                file.write(np.zeros((65536, 8), np.int16))
        return path
    if which == 1:
        path = path.with_suffix(".wav")
        path.write_bytes(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0" + struct.pack("<HIIHH", draw.choice((2, 65535)), 44100, 176400, 4, 16)
                         + b"data\xff\xff\xff\xff" + bytes(4000))  # fmt: skip
    elif which == 2:
        path.write_bytes(flac_blocks(draw, good(".flac")))
        with path.open("r+b") as file:
            file.truncate(1 << 30)
    elif which == 3:
        path = path.with_suffix(".mp3")
        path.write_bytes(good(".mp3"))
        with path.open("r+b") as file:  # a hole, in which nothing is found
            file.truncate(draw.choice((64 << 20, 300 << 20)))
    elif which == 4:
        packed = zlib.compressobj(9)
        body = b"".join(packed.compress(bytes(1 << 24)) for _ in range(20)) + packed.flush()
        frame = b"APIC" + syncsafe(len(body) + 4) + b"\0\x09" + syncsafe((1 << 28) - 1) + body
        path = path.with_suffix(".mp3")
        path.write_bytes(b"ID3\4\0\0" + syncsafe(len(frame)) + frame + frame_bytes_of(good(".mp3")))
    else:
        path = path.with_suffix(".mp3")
        tag = b"ID3\4\0\0\0\0\0\0"
        path.write_bytes(tag * 100_000 + frame_bytes_of(good(".mp3")) + (ape(draw) + id3v1(draw)) * 300)
    return path
