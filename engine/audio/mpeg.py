"""The frames of an MP3 file, read without decoding: headers, the Xing/Info/LAME tag, damage.

Sources: ISO/IEC 11172-3 2.4.1.3 and 13818-3 (frame header); the "MP3 Info Tag rev 1" text of the LAME
project (Xing/Info/LAME tag). The walk touches four bytes a frame, so that hours take about a second; it is
what decoding is checked against, because decoders stop early without a word on damaged files.
"""

from __future__ import annotations

import dataclasses
import mmap
import re
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

_BITRATES = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_VERSION_NAMES = {3: "MPEG-1", 2: "MPEG-2", 0: "MPEG-2.5"}
_MODES = ("stereo", "joint stereo", "dual channel", "mono")
DECODER_DELAY = 529  # samples every MP3 decoder adds at the start (528 of the hybrid filter bank, and one)
LEAST_LOWPASS = 2000  # Hz
TAIL = 160  # bytes that hold an ID3v1 tag and the footer of an APEv2 tag
_MOST_FRAMES = 1 << 26  # of a song that lasts weeks: more is not true
_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")  # what every frame of Layer III begins with
_WINDOW = 1 << 24  # bytes of a mapped file after which what was looked at is let go of
_CONFIRM = 4  # frames in a row that must agree before a sync word is believed


@dataclass(frozen=True)
class Frame:
    """One frame header. ``size`` in bytes (0: free format), ``samples`` per channel."""

    version: int
    rate: int
    bitrate: int
    mode: int
    mode_extension: int
    size: int
    samples: int
    has_crc: bool

    @property
    def channels(self) -> int:
        return 1 if self.mode == 3 else 2


@dataclass(frozen=True)
class LameTag:
    """The encoder's own words. ``lowpass`` in Hz (0: not said), ``delay``/``padding`` in samples."""

    encoder: str
    method: str
    lowpass: int
    delay: int
    padding: int


@dataclass(frozen=True)
class MpegFacts:
    """What the headers of an MP3 file say.

    ``frames`` is the number of audio samples per channel that the file holds after trimming, or None where
    that cannot be known (free format). ``start`` is the byte offset of the first frame, ``junk_before`` the
    bytes of garbage in front of it (tags not counted), ``junk_inside`` those between frames, ``declared`` the
    number of samples that the Xing/Info tag promises. ``intensity_share`` is the share of frames in intensity stereo,
    ``switched_share`` that of frames that changed between left/right and mid/side.
    """

    version: str
    rate: int
    channels: int
    mode: str
    bitrate: int
    bitrate_mode: str
    joint_share: float
    mid_side_share: float
    frames: int | None
    start: int
    junk_before: int
    junk_inside: int
    has_info: bool
    declared: int | None
    lame: LameTag | None
    intensity_share: float = 0.0
    switched_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain types only; :func:`facts_from_json` reads it back."""
        return dataclasses.asdict(self)


def facts_from_json(data: dict[str, Any]) -> MpegFacts:
    """The inverse of :meth:`MpegFacts.to_json`. Raises KeyError or TypeError on other data."""
    return MpegFacts(**{**data, "lame": LameTag(**data["lame"]) if data["lame"] else None})


def believable_lowpass(said: int, rate: int) -> int:
    """The low-pass (Hz) that a LAME tag tells, 0 where it cannot be true of a song of ``rate`` Hz.

    No preset of LAME goes below 2 kHz; what is at the Nyquist frequency or above was no low-pass.
    """
    return said if LEAST_LOWPASS <= said < rate / 2 else 0


def parse_header(data: bytes | mmap.mmap, at: int) -> Frame | None:
    """The Layer III frame header at byte ``at``, or None where there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or (data[at + 1] & 0xE6) != 0xE2:
        return None
    b1, b2, b3 = data[at + 1], data[at + 2], data[at + 3]
    version, bitrate_index, rate_index = b1 >> 3 & 3, b2 >> 4, b2 >> 2 & 3
    if version == 1 or bitrate_index == 15 or rate_index == 3 or (b3 & 3) == 2:
        return None
    rate = _RATES[version][rate_index]
    bitrate = _BITRATES[1 if version == 3 else 2][bitrate_index] * 1000
    samples = 1152 if version == 3 else 576
    size = samples // 8 * bitrate // rate + (b2 >> 1 & 1) if bitrate else 0
    return Frame(version, rate, bitrate, b3 >> 6, b3 >> 4 & 3, size, samples, not b1 & 1)


def same_stream(a: Frame, b: Frame | None) -> bool:
    return b is not None and a.version == b.version and a.rate == b.rate and (a.mode == 3) == (b.mode == 3)


def _confirmed(data: bytes | mmap.mmap, at: int, frame: Frame, end: int, count: int = _CONFIRM) -> bool:
    """Whether ``count`` agreeing frames in a row start at ``at`` (or fewer, that end with the file)."""
    if not frame.size:  # free format: the next header must lie within the largest possible frame
        step = data.find(data[at : at + 2], at + 24, min(end, at + 4096))
        return step > 0 and same_stream(frame, parse_header(data, step))
    for seen in range(1, count):
        at += frame.size
        if at >= end - 3:
            return seen >= 2
        following = parse_header(data, at)
        if following is None or not same_stream(frame, following) or not following.size:
            return False
        frame = following
    return True


def find_frame(data: bytes | mmap.mmap, at: int, end: int) -> int:
    """Offset of the first believable frame at or after ``at``; -1 where there is none."""
    for first in range(at, end, _WINDOW):
        for match in _SYNC.finditer(data, first, min(end, first + _WINDOW + 1)):  # one may lie across the border
            frame = parse_header(data, match.start())
            if frame is not None and _confirmed(data, match.start(), frame, end):
                return match.start()
        _let_go(data, first)
    return -1


def _let_go(data: bytes | mmap.mmap, end: int) -> None:
    """Keep nothing before ``end`` of a mapped file in memory: else hours of sound take as much as the file has."""
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and end >= mmap.PAGESIZE:
        data.madvise(mmap.MADV_DONTNEED, 0, end - end % mmap.PAGESIZE)


def id3v2_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that begins with the ten bytes ``head``; 0 where there is none."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    a, b, c, d = head[6:10]
    return 10 + ((a & 127) << 21 | (b & 127) << 14 | (c & 127) << 7 | (d & 127)) + (10 if head[5] & 0x10 else 0)


def _skip_id3v2(data: bytes | mmap.mmap) -> int:
    """End of the ID3v2 tag(s) at the start; 0 where there is none or its size is a lie."""
    at = 0
    while (size := id3v2_size(data[at : at + 10])) and at + size < len(data):
        at += size
    return at


def audio_end(tail: bytes, size: int) -> int:
    """Offset at which the tags at the end (ID3v1, APEv2, in that order from the back) of ``size`` bytes begin.

    ``tail`` are the last :data:`TAIL` of them.
    """
    end = len(tail)
    if tail[max(0, end - 128) : max(0, end - 125)] == b"TAG":
        end -= 128
    cut = len(tail) - end
    if end >= 32 and tail[end - 32 : end - 24] == b"APETAGEX":
        length, _, flags = struct.unpack("<III", tail[end - 20 : end - 8])
        length += 32 if flags & 0x80000000 else 0
        if length <= size - cut:
            cut += length
    return size - cut


_METHODS = {1: "CBR", 2: "ABR", 3: "VBR", 4: "VBR", 5: "VBR", 6: "VBR", 8: "CBR", 9: "ABR"}


@dataclass(frozen=True)
class Info:
    """What the first frame says of the whole file, where it is one that does (a Xing, Info or VBRI header).

    ``frames`` and ``size`` (bytes) are those of the file as it was encoded, None where that is not said.
    """

    is_there: bool = False
    is_vbr: bool = False
    is_fraunhofer: bool = False
    frames: int | None = None
    size: int | None = None
    lame: LameTag | None = None


def read_info(data: bytes | mmap.mmap, at: int, frame: Frame) -> Info:
    """What the frame at byte ``at``, the first of a file, says of the whole file."""
    side = {(3, 2): 32, (3, 1): 17, (2, 2): 17, (2, 1): 9, (0, 2): 17, (0, 1): 9}
    head = bytes(data[at : at + (frame.size or 1024)])
    if head[36:40] == b"VBRI":
        size, frames = struct.unpack(">II", head[46:54]) if len(head) >= 54 else (None, None)
        return Info(True, True, True, frames, size)
    p = 4 + side[frame.version, frame.channels]
    name = head[p : p + 4]
    if name not in (b"Xing", b"Info"):
        return Info()
    flags = struct.unpack(">I", head[p + 4 : p + 8].ljust(4, b"\0"))[0]
    p += 8
    numbers: list[int | None] = [None, None]  # frames and bytes
    for place in range(2):
        if flags >> place & 1:
            numbers[place] = struct.unpack(">I", head[p : p + 4])[0] if len(head) >= p + 4 else None
            p += 4
    p += 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    lame = _read_lame(head[p : p + 36])
    return Info(True, name == b"Xing", False, numbers[0], numbers[1], lame)


def _read_lame(tag: bytes) -> LameTag | None:
    if len(tag) < 24 or not tag[:4].strip(b"\0 "):
        return None
    encoder = tag[:9].decode("latin-1").split("\0")[0].strip()
    if not encoder.isprintable():
        return None
    delay, padding = tag[21] << 4 | tag[22] >> 4, (tag[22] & 15) << 8 | tag[23]
    return LameTag(encoder, _METHODS.get(tag[9] & 15, ""), tag[10] * 100, delay, padding)


def read_facts(file: BinaryIO) -> MpegFacts | None:
    """The header facts of an MP3 file; None where it holds no Layer III frames.

    The file is mapped: should it shrink meanwhile, the system ends this process. Files nobody trusts are read in
    the process for that (:func:`engine.audio.decode.read_facts`).

    Raises:
        OSError: the file cannot be read.
    """
    if file.seek(0, 2) < 8:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walk(data)


def _walk(data: mmap.mmap) -> MpegFacts | None:
    tag_end, end = _skip_id3v2(data), audio_end(data[-TAIL:], len(data))
    start = find_frame(data, tag_end, end)
    if start < 0:
        return None
    first = parse_header(data, start)
    assert first is not None
    info = read_info(data, start, first)
    bitrates: Counter[int] = Counter()
    joint = mid_side = intensity = switched = count = junk = 0
    before = first.mode_extension & 2
    at = start + (first.size if info.is_there else 0)
    kept = at
    while at < end - 3:
        if at - kept > _WINDOW:
            _let_go(data, at)
            kept = at
        frame = parse_header(data, at)
        if frame is None or not same_stream(first, frame) or (first.size and not frame.size):
            found = find_frame(data, at + 1, end)
            if found < 0:
                break
            junk += found - at
            at = found
            continue
        if not frame.size:
            return _facts(first, Counter([0]), (0, 0, 0, 0), None, start, start - tag_end, 0, info)
        if at + frame.size > len(data):
            break  # cut off in the middle of a frame: no decoder gives samples for it
        count += 1
        bitrates[frame.bitrate] += 1
        joint += frame.mode == 1 and frame.mode_extension > 0
        mid_side += frame.mode == 1 and frame.mode_extension > 1
        intensity += frame.mode == 1 and frame.mode_extension & 1
        switched += frame.mode_extension & 2 != before
        before = frame.mode_extension & 2
        at += frame.size
    samples = count * first.samples
    if info.lame is not None:
        samples = max(0, samples - info.lame.delay - info.lame.padding)
    stereo = joint, mid_side, intensity, switched
    return _facts(first, bitrates, stereo, samples, start, start - tag_end, junk, info)


def _facts(
    first: Frame,
    bitrates: Counter[int],
    stereo: tuple[int, int, int, int],
    samples: int | None,
    start: int,
    junk_before: int,
    junk_inside: int,
    info: Info,
) -> MpegFacts:
    lame = info.lame
    count = max(1, bitrates.total())
    joint, mid_side, intensity, switched = stereo
    mode = "free" if samples is None else "CBR" if len(bitrates) <= 1 else "VBR"
    if mode == "VBR" and lame is not None and lame.method == "ABR":
        mode = "ABR"
    promised = None if info.frames is None or info.frames > _MOST_FRAMES else info.frames * first.samples
    if promised is not None and lame is not None:
        promised = max(0, promised - lame.delay - lame.padding)
    return MpegFacts(
        version=_VERSION_NAMES[first.version],
        rate=first.rate,
        channels=first.channels,
        mode=_MODES[first.mode],
        bitrate=round(sum(b * n for b, n in bitrates.items()) / count),
        bitrate_mode=mode,
        joint_share=joint / count,
        mid_side_share=mid_side / count,
        frames=samples,
        start=start,
        junk_before=junk_before,
        junk_inside=junk_inside,
        has_info=info.is_there,
        declared=promised,
        lame=lame,
        intensity_share=intensity / count,
        switched_share=switched / count if first.mode == 1 else 0.0,
    )
