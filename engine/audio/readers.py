"""Decoders: libsndfile first, FFmpeg (through PyAV) where that fails. Both stream and never hold a song.

libsndfile (mpg123) is sample-exact on every file with an Info/LAME tag, but ends early, sometimes without a
word, on damaged ones; FFmpeg walks over damage. Which of them to trust is decided by the caller
(:mod:`engine.analysis.song`), from the number of frames that the headers promise.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from engine.audio.mpeg import DECODER_DELAY, MpegFacts, read_facts
from engine.audio.soundfiles import open_sound
from engine.errors import DecodeError, explain_os_error
from engine.files import open_regular

Audio = npt.NDArray[np.float32]
Decoder = Literal["libsndfile", "ffmpeg"]
BLOCK = 1 << 16
MAX_CHANNELS = 8
MAX_RATE = 655_350  # Hz, of a FLAC file
_LOUDEST = 1e10
#: First bytes of files that are no MP3, whatever their names say.
OTHER_KINDS = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"RF64", b"caff", b"riff", b".snd", b"wvpk")
#: What FFmpeg may take a song for: files that hold their sound themselves. Lists of other files are not among them.
_FORMATS = (
    "mp3", "aac", "ac3", "eac3", "aiff", "ape", "asf", "au", "caf", "flac", "matroska", "mov", "mpeg", "mpegts", "ogg",
    "tta", "w64", "wav", "wv",
)  # fmt: skip


@dataclass(frozen=True)
class StreamInfo:
    """Rate in Hz, channels, and the frames the container promises (-1 where it does not)."""

    rate: int
    channels: int
    frames: int
    kind: str


class _Tail(io.RawIOBase):
    """A file from byte ``start`` on, for decoders that give up on garbage before the first frame."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        file.seek(start)

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = self._start if whence == io.SEEK_SET else 0
        return max(0, self._file.seek(offset + origin, whence) - self._start)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def stream(path: Path, decoder: Decoder, start: int = 0) -> tuple[StreamInfo, Iterator[Audio]]:
    """Open ``path`` and give its format and its blocks, float32 ``(frames, channels)``.

    ``start`` is the byte offset of the first MP3 frame where garbage lies before it. Samples may exceed 1.0:
    MP3 decoders overshoot, and that is kept.

    Raises:
        DecodeError: nothing can be decoded. The blocks may raise it too, later on.
    """
    try:
        open_regular(path).close()
    except OSError as error:
        raise DecodeError(explain_os_error(error, "the song")) from error
    return _stream_libsndfile(path, start) if decoder == "libsndfile" else _stream_ffmpeg(path)


def mpeg_facts(path: Path) -> MpegFacts | None:
    """The header facts of a song; None where it is no MP3. Maps the file: see :func:`engine.audio.mpeg.read_facts`.

    Raises:
        DecodeError: it is empty, or no file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(4)
        if not head:
            raise DecodeError("The file is empty (0 bytes): get a new copy of it.")
        return None if head in OTHER_KINDS else read_facts(file)


def is_number(block: Audio) -> npt.NDArray[np.bool_]:
    """Which samples can be sound: finite, and not louder than whole numbers of 32 bits that are taken for floats."""
    return np.abs(block) <= _LOUDEST  # False for what is not a number


def with_numbers_only(block: Audio) -> Audio:
    """The block, in which what is not a number is silence, and what is too large for one full scale."""
    good = is_number(block)
    return block if good.all() else np.where(good, block, np.nan_to_num(np.sign(block))).astype(np.float32)


def in_blocks(pieces: Iterator[Audio]) -> Iterator[Audio]:
    """The same stream in pieces of about BLOCK frames."""
    held: list[Audio] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= BLOCK:
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held, count = [], 0
    if count:
        yield np.concatenate(held)


def _stream_libsndfile(path: Path, start: int) -> tuple[StreamInfo, Iterator[Audio]]:
    import soundfile

    raw: BinaryIO | None = None
    try:
        if start:
            raw = open_regular(path)
            file = soundfile.SoundFile(_Tail(raw, start))
        else:
            file = open_sound(path)
    except OSError as error:
        raise DecodeError(explain_os_error(error, "the song")) from error
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise DecodeError(f"libsndfile cannot open it: {_words(error)}") from error
    info = StreamInfo(file.samplerate, file.channels, file.frames, f"{file.format} {file.subtype}")

    def blocks() -> Iterator[Audio]:
        with file, raw if raw is not None else nullcontext():
            try:
                while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                    yield block
            except (soundfile.SoundFileError, RuntimeError) as error:
                raise DecodeError(f"libsndfile stopped: {error}") from error

    return info, blocks()


def _stream_ffmpeg(path: Path) -> tuple[StreamInfo, Iterator[Audio]]:
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        container = av.open(
            str(path), mode="r", metadata_errors="replace", options={"format_whitelist": ",".join(_FORMATS)}
        )
        streams = (s for s in container.streams if s.type == "audio" and s.codec_context is not None)  # it knows how to
        source: Any = next(streams, None)
        if source is None:
            container.close()
            raise DecodeError("it holds no audio stream.")
        rate = int(source.codec_context.sample_rate)
        channels = int(source.codec_context.channels)
    except (OSError, av.FFmpegError, ValueError) as error:
        raise DecodeError(f"FFmpeg cannot open it: {_words(error)}") from error

    return StreamInfo(rate, channels, -1, f"{container.format.name}"), _ffmpeg_blocks(
        container, source, rate, channels, _missing_trim(path)
    )


def _words(error: Exception) -> str:
    """What a library says is wrong, without names of files and numbers."""
    return str(getattr(error, "error_string", None) or getattr(error, "strerror", None) or error)


def _missing_trim(path: Path) -> tuple[int, int | None]:
    """(samples to drop at the start, samples to keep) where FFmpeg does not see the LAME tag.

    It reads the tag only where the first frame follows the tags directly; behind garbage it decodes the
    tag's own frame as one of silence, and trims nothing.
    """
    with suppress(OSError):
        facts = mpeg_facts(path)
        if facts is not None and facts.junk_before and facts.lame is not None and facts.frames is not None:
            own_frame = 1152 if facts.version == "MPEG-1" else 576
            return own_frame + facts.lame.delay + DECODER_DELAY, facts.frames
    return 0, None


def _ffmpeg_blocks(
    container: Any, source: Any, rate: int, channels: int, trim: tuple[int, int | None]
) -> Iterator[Audio]:
    import av

    resampler = av.AudioResampler(format="flt", layout=source.codec_context.layout, rate=rate)
    drop, keep = trim
    with container:
        for packet in container.demux(source):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue  # a damaged packet costs itself, no more
            for frame in decoded:
                if frame.sample_rate != rate or frame.layout.nb_channels != channels:
                    continue  # a foreign piece inside the file: its samples do not belong to this stream
                frame.pts = None
                for piece in resampler.resample(frame):
                    block = piece.to_ndarray().reshape(-1, channels).astype(np.float32, copy=False)
                    cut = min(drop, len(block))
                    drop -= cut
                    block = block[cut : None if keep is None else cut + keep]
                    if keep is not None:
                        keep -= len(block)
                    if len(block):
                        yield block
