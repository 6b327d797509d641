"""Copies for players that do not take FLAC of 24 bits: FLAC of 16 bits, ALAC, Opus and MP3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.decode import open_decoder
from engine.audio.encode import ask_disk, quantise, write_flac
from engine.audio.readers import Audio, StreamInfo, with_numbers_only
from engine.audio.resample import resample_all
from engine.audio.soundfiles import in_words, open_sound
from engine.errors import DecodeError, OutputError, SongError

#: The ending of each format's files.
ENDINGS = {"flac16": ".flac", "alac": ".m4a", "opus": ".opus", "mp3": ".mp3"}
_OPUS_RATE, _OPUS_BITS = 48000, 160_000  # Hz; bit/s, at which nearly nobody hears Opus
_HIGHEST_OF_MP3 = 48000  # Hz
_BEST = 0.0  # of libsndfile's scale: LAME's V0
_SEED = 16  # of the dither
_MOST_CHANNELS = 2


@contextmanager
def reading(path: Path) -> Iterator[tuple[StreamInfo, Iterator[Audio]]]:
    """What a file is, and its blocks of ``(frames, channels)``, which raise SongError where it is broken.

    libsndfile decodes, FFmpeg what that does not know.
    """
    with ExitStack() as stack:
        try:
            decoded = stack.enter_context(open_decoder(path, "libsndfile"))
        except DecodeError:
            decoded = stack.enter_context(open_decoder(path, "ffmpeg"))

        def blocks() -> Iterator[Audio]:
            yield from map(with_numbers_only, decoded.blocks)
            if decoded.error:
                raise SongError(decoded.error)

        yield decoded.info, blocks()


def convert(source: Path, path: Path, kind: str, frames: Callable[[], int]) -> None:
    """Encode ``source`` as one of :data:`ENDINGS` into ``path``, without tags; ``frames`` tells how many it has.

    FLAC of 16 bits is dithered (TPDF), ALAC keeps 24 bits, Opus and MP3 lose something once more. Opus has 48 kHz, MP3
    at most.

    Raises:
        SongError: ``source`` cannot be decoded to its end, or the format cannot hold it.
        OutputError: it could not be written, or did not come back as it was written.
        OSError: the disk failed.
    """
    with reading(source) as (info, blocks):
        rate, channels = info.rate, info.channels
        if channels > _MOST_CHANNELS:
            raise SongError(f"it has {channels} channels, and only one or two can be exported as {kind}.")
        match kind:
            case "mp3":
                target = min(rate, _HIGHEST_OF_MP3)
                _write_mp3(path, resample_all(blocks, rate, target), target, channels)
            case "opus":
                resampled = resample_all(blocks, rate, _OPUS_RATE)
                _write_with_ffmpeg(path, "ogg", "libopus", resampled, _OPUS_RATE, channels)
            case "alac":
                _write_with_ffmpeg(path, "ipod", "alac", blocks, rate, channels)
    if kind == "flac16":

        def again() -> Iterator[Audio]:
            with reading(source) as (_, blocks):
                yield from blocks

        write_flac(path, again, rate=rate, channels=channels, frames=frames(), seed=_SEED, bits=16)


def _write_mp3(path: Path, blocks: Iterable[Audio], rate: int, channels: int) -> None:
    import soundfile

    try:
        with open_sound(
            path, "w", rate, channels, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=_BEST
        ) as file:
            for block in blocks:
                file.write(np.clip(block, -1, 1))
    except (soundfile.SoundFileError, AssertionError) as error:
        ask_disk(path)
        raise OutputError(f"it could not be encoded ({in_words(error)}): check the disk it is written to.") from error


def _write_with_ffmpeg(
    path: Path, container: str, codec: str, blocks: Iterable[Audio], rate: int, channels: int
) -> None:
    import av

    is_float = codec == "libopus"
    layout = "mono" if channels == 1 else "stereo"
    try:
        with av.open(str(path), "w", format=container) as output:
            stream: Any = output.add_stream(codec, rate=rate, layout=layout)
            stream.format = "flt" if is_float else "s32p"
            if is_float:
                stream.bit_rate = _OPUS_BITS
            at = 0
            for block in blocks:
                packed: Any = np.ascontiguousarray((block if is_float else quantise(block)).reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(packed, format="flt" if is_float else "s32", layout=layout)
                frame.sample_rate, frame.pts = rate, at
                at += len(block)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(f"it could not be encoded ({error}).") from error
