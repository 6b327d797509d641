"""Reading songs in a process of its own: a crash, a hang or a shrinking file costs one song."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.headers import HeaderFacts
from engine.audio.mpeg import MpegFacts, facts_from_json
from engine.audio.readers import Audio, Decoder, StreamInfo
from engine.audio.tags import Picture, Tags
from engine.errors import DecodeError, UnreadableError
from engine.machine.frames import PIECE, Frame
from engine.machine.warm_child import ChildGone, Pool, WarmChild

_PATIENCE = 60.0  # seconds without a sign of life after which a song is given up …
_HEADER_PATIENCE = 10.0
_TAGS_PATIENCE = 20.0  # they never take a second, but for those that are made to
_SLOWEST = 2e6  # … and one more for so many bytes: some things are only known at the end of a file
_ENDED = () if sys.platform == "win32" else (-signal.SIGKILL, -signal.SIGTERM)
_PAGE_ERRORS = (0xC0000006,) if sys.platform == "win32" else (-signal.SIGBUS,)

_children = Pool("engine.audio.decode_process")


@dataclass
class DecodedStream:
    """A song being decoded. ``error`` is complete once ``blocks`` has run out, ``messages`` (what the decoder
    printed) once the context is left."""

    info: StreamInfo
    blocks: Iterator[Audio]
    error: str = ""
    messages: list[str] = field(default_factory=list)


@contextmanager
def open_decoder(path: Path, decoder: Decoder = "libsndfile", start: int = 0) -> Iterator[DecodedStream]:
    """Decode ``path`` in a child process; blocks are float32 ``(frames, channels)`` at the file's own rate.

    What the decoder could not decode after the first block does not raise but is told in ``error``: the caller
    decides what a partial result is worth.

    Raises:
        DecodeError: not even the first block can be decoded, or the decoder crashed on it.
        UnreadableError: the file hung, or shrank; the blocks may raise this, too.
    """
    request = {"do": "decode", "path": os.path.abspath(path), "decoder": decoder, "start": start}
    with _asked(request, _patience(path)) as (first, rest, child):
        if first.kind != PIECE:
            raise DecodeError(_error(first))
        decoded = DecodedStream(StreamInfo(**json.loads(first.payload)), iter(()))
        decoded.blocks = _blocks(rest, decoded)
        try:
            yield decoded
        finally:
            decoded.messages.extend(child.said)


def _blocks(frames: Iterator[Frame], decoded: DecodedStream) -> Iterator[Audio]:
    try:
        for frame in frames:
            if frame.kind == PIECE:
                yield np.frombuffer(frame.payload, np.float32).reshape(-1, decoded.info.channels)
            else:
                decoded.error = _error(frame)
    except ChildGone as gone:
        problem = _problem(gone)
        if isinstance(problem, UnreadableError):
            raise problem from gone
        decoded.error = str(problem)


def read_facts(path: Path) -> MpegFacts | None:
    """The header facts of a song, read to its end; None where it is no MP3.

    Raises:
        DecodeError: it cannot be read; one sentence for the user.
    """
    request = {"do": "facts", "path": os.path.abspath(path)}
    with _asked(request, _patience(path)) as (first, _, _):
        if first.kind != PIECE:
            raise DecodeError(_error(first))
        facts = json.loads(first.payload)
        return None if facts is None else facts_from_json(facts)


def read_headers(paths: Sequence[Path]) -> Iterator[HeaderFacts]:
    """What the headers of each of ``paths`` say, in their order.

    One that crashes the child or holds it up costs that one: it has only a ``problem``.
    """
    waiting = [os.path.abspath(path) for path in paths]
    while waiting:
        request = {"do": "look", "paths": waiting, "ahead": len(waiting) + 1}
        done = 0
        try:
            with _asked(request, _HEADER_PATIENCE) as (first, rest, _):
                frame = first
                while frame.kind == PIECE:
                    yield HeaderFacts(**json.loads(frame.payload))
                    done += 1
                    frame = next(rest)
                problem = _error(frame)
        except ChildGone as gone:
            problem = str(_problem(gone))
        except DecodeError as error:
            problem = str(error)
        if done < len(waiting):
            yield HeaderFacts(problem=problem[:1].upper() + problem[1:])
            done += 1
        waiting = waiting[done:]


def sound_hash(path: Path) -> str:
    """:func:`engine.audio.sound_hash.sound_hash` of a song. Raises DecodeError: it cannot be read."""
    return _answer("sound", path)


def file_hash(path: Path) -> str:
    """SHA-256 of all bytes of a song, as hex. Raises DecodeError: it cannot be read."""
    return _answer("bytes", path)


def _answer(what: str, path: Path) -> str:
    """The answer that is one piece of text. Raises DecodeError."""
    with _asked({"do": what, "path": os.path.abspath(path)}, _patience(path)) as (first, _, _):
        if first.kind != PIECE:
            raise DecodeError(_error(first))
        return first.payload.decode()


def read_tags(path: Path) -> tuple[Tags, str]:
    """The tags of a song and a warning (empty where all went well). Never raises, whatever the file does."""
    request = {"do": "tags", "path": os.path.abspath(path)}
    try:
        with _asked(request, _patience(path, _TAGS_PATIENCE)) as (first, rest, _):
            if first.kind != PIECE:
                raise DecodeError(_error(first))
            told = json.loads(first.payload)
            pictures = [Picture(data=next(rest).payload, **fields) for fields in told["pictures"]]
            return Tags(told["comments"], pictures), told["problem"]
    except (DecodeError, ChildGone) as error:
        slow = isinstance(error, UnreadableError) or (isinstance(error, ChildGone) and error.code is None)
        why = "it took too long" if slow else "reading them failed"
        return Tags(), f"The song's tags could not be read ({why}). The audio is not affected."


@contextmanager
def _asked(request: dict[str, Any], patience: float) -> Iterator[tuple[Frame, Iterator[Frame], WarmChild]]:
    """The first frame of the answer, the others, and the child that answers.

    A child that dies at once may have been harmed by an earlier song: then a fresh one is asked.

    Raises:
        DecodeError: the child died or hung before its first frame.
    """
    for fresh in (False, True):
        with _children.borrow(fresh=fresh) as child:
            is_last = child.requests == 0
            with closing(child.ask(request, patience)) as answer:
                try:
                    first = next(answer)
                except ChildGone as gone:
                    if is_last or gone.code is None:
                        raise _problem(gone) from gone
                    continue
                yield first, answer, child
                return


def _patience(path: Path, least: float | None = None) -> float:
    least = _PATIENCE if least is None else least
    try:
        return least + path.stat().st_size / _SLOWEST
    except (OSError, ValueError):
        return least


def _error(frame: Frame) -> str:
    return str(json.loads(frame.payload)["error"])


def _problem(gone: ChildGone) -> DecodeError:
    if gone.code is None:
        return UnreadableError("Reading it came to a standstill, so it was given up: check the file and its drive.")
    if gone.code in _PAGE_ERRORS:
        return UnreadableError(
            "The file became shorter or its drive failed while it was read: check the drive and run again."
        )
    if gone.code in _ENDED:
        return UnreadableError(
            "The process that reads songs was ended from outside, or as memory ran out: close other programs, and run "
            "again."
        )
    return DecodeError(f"the decoder crashed on it (code {gone.code}).")
