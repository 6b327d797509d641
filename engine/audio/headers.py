"""What a song's headers say at a glance: read in a millisecond, without decoding, from a few places of the file.

It runs where files nobody trusts are read (:func:`engine.audio.decode.read_headers`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.audio.mpeg import (
    TAIL,
    Frame,
    Info,
    audio_end,
    believable_lowpass,
    find_frame,
    id3v2_size,
    parse_header,
    read_info,
    same_stream,
)
from engine.audio.readers import OTHER_KINDS
from engine.audio.soundfiles import open_sound
from engine.errors import DecodeError, explain_os_error
from engine.files import open_regular

_WINDOW = 1 << 14  # bytes in which the first frame is looked for …
_WIDE = 4 << 20  # … and in which it is where garbage lies before it
_SAMPLES = 5  # places at which a song without a header of its own is looked at


@dataclass(frozen=True)
class HeaderFacts:
    """``duration`` in seconds, ``bitrate`` in bit/s (the mean), ``lowpass`` in Hz as the encoder's own tag tells it,
    ``rate`` in Hz; None where the headers do not say. ``encoder`` in its own words (empty: unknown), ``kind`` such
    as ``MP3``. ``problem`` is one sentence where the file cannot be read, and then nothing else is known.
    """

    duration: float | None = None
    bitrate: int | None = None
    vbr: bool = False
    encoder: str = ""
    lowpass: int | None = None
    rate: int | None = None
    channels: int | None = None
    kind: str = ""
    problem: str = ""


def read_headers(path: Path) -> HeaderFacts:
    """The header facts of one file. Raises nothing: what is wrong with it is told in ``problem``."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(10)
            if not head:
                return HeaderFacts(problem="The file is empty (0 bytes): get a new copy of it.")
            if head[:4] not in OTHER_KINDS:
                found = _mp3(file, head, size)
                if found is not None:
                    return found
            file.seek(0)
            return _other(path, file, size)
    except DecodeError as error:
        return HeaderFacts(problem=str(error))
    except OSError as error:
        return HeaderFacts(problem=explain_os_error(error, "the song"))


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _mp3(file: BinaryIO, head: bytes, size: int) -> HeaderFacts | None:
    """None where no MPEG frame is found."""
    start = 0
    while (tag := id3v2_size(head)) and start + tag < size:
        start += tag
        head = _read(file, start, 10)
    end = audio_end(_read(file, max(0, size - TAIL), TAIL), size)
    for begin, count in ((start, _WINDOW), (start, _WIDE), (0, _WIDE)):
        window = _read(file, begin, min(count, end - begin))
        at = find_frame(window, 0, len(window))
        if at >= 0:
            first = parse_header(window, at)
            assert first is not None
            return _of_frames(file, first, read_info(window, at, first), begin + at, end)
    return None


def _of_frames(file: BinaryIO, first: Frame, info: Info, start: int, end: int) -> HeaderFacts:
    """The facts of an MP3 whose first frame stands at ``start``."""
    length = end - start
    lame = info.lame
    vbr = info.is_vbr
    if info.frames:
        samples = info.frames * first.samples
        if lame is not None:
            samples = max(0, samples - lame.delay - lame.padding)
        duration = samples / first.rate
        if info.size and length < info.size:  # cut off: what is there lasts as much shorter
            duration *= length / info.size
        bitrate = round(min(length, info.size or length) * 8 / duration) if duration else first.bitrate
        if not vbr:  # the first frame itself may be a larger one, so that the header fits
            second = parse_header(_read(file, start + first.size, 4), 0)
            bitrate = second.bitrate if second is not None and second.bitrate else bitrate
    else:
        bitrates = [first.bitrate, *_bitrates(file, first, start, end)]
        vbr = len(set(bitrates)) > 1
        bitrate = round(sum(bitrates) / len(bitrates))
        duration = length * 8 / bitrate if bitrate else 0.0
    lowpass = believable_lowpass(lame.lowpass, first.rate) if lame is not None else 0
    return HeaderFacts(
        duration=round(duration, 3) if duration else None,
        bitrate=bitrate or None,
        vbr=vbr,
        encoder=lame.encoder if lame is not None else "Fraunhofer" if info.is_fraunhofer else "",
        lowpass=lowpass or None,
        rate=first.rate,
        channels=first.channels,
        kind="MP3",
    )


def _bitrates(file: BinaryIO, first: Frame, start: int, end: int) -> list[int]:
    """Bitrates of some frames along a file that does not say how long it is."""
    found = []
    for place in range(1, _SAMPLES + 1):
        window = _read(file, start + (end - start) * place // (_SAMPLES + 1), _WINDOW)
        at = find_frame(window, 0, len(window))
        frame = parse_header(window, at) if at >= 0 else None
        while frame is not None and same_stream(first, frame) and frame.size:
            found.append(frame.bitrate)
            at += frame.size
            frame = parse_header(window, at)
    return found


def _other(path: Path, file: BinaryIO, size: int) -> HeaderFacts:
    """Whatever mutagen or libsndfile know."""
    return _by_mutagen(file) or _by_libsndfile(path, size)


def _by_mutagen(file: BinaryIO) -> HeaderFacts | None:
    import mutagen

    try:
        found = mutagen.File(file)
    except Exception:  # a broken file may raise anything there
        return None
    info: Any = getattr(found, "info", None)
    if not getattr(info, "length", 0) or not getattr(info, "sample_rate", 0):
        return None
    return HeaderFacts(
        duration=round(float(info.length), 3),
        bitrate=int(getattr(info, "bitrate", 0)) or None,
        vbr=type(found).__name__ in ("FLAC", "OggVorbis", "OggOpus", "OggFLAC", "WavPack"),
        encoder=str(getattr(found.tags, "vendor", "") or ""),
        rate=int(info.sample_rate),
        channels=int(getattr(info, "channels", 0)) or None,
        kind=_KINDS.get(type(found).__name__, type(found).__name__),
    )


_KINDS = {"WAVE": "WAV", "OggVorbis": "Ogg Vorbis", "OggOpus": "Opus", "OggFLAC": "FLAC"}


def _by_libsndfile(path: Path, size: int) -> HeaderFacts:
    try:
        with open_sound(path) as sound:
            rate, channels, frames, kind = sound.samplerate, sound.channels, sound.frames, sound.format
    except (OSError, RuntimeError):
        return HeaderFacts(problem=_no_audio(path))
    duration = frames / rate if 0 < frames < 1 << 48 else None
    return HeaderFacts(
        duration=None if duration is None else round(duration, 3),
        bitrate=round(size * 8 / duration) if duration else None,
        rate=rate,
        channels=channels,
        kind=kind,
    )


def _no_audio(path: Path) -> str:
    if path.suffix.lower() in (".mp3", ".mp2", ".mpga"):
        return "There is no MP3 audio in this file: it only has the name of one; remove it or get a new copy."
    return "No audio is found in this file: get a new copy of it."
