"""What a stage is, and what it gets to work with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from engine.analysis.song import SongAnalysis
from engine.audio.chunks import ChunkGeometry, FadeLaw, read_window, stitch
from engine.audio.readers import BLOCK, Audio
from engine.audio.soundfiles import open_sound
from engine.errors import UsageError


def parameter(default: Any, help: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Any:
    """A field of a stage's parameters: its default, meaning, unit and range."""
    return dataclasses.field(default=default, metadata={"help": help, "unit": unit, "low": low, "high": high})


@dataclass(frozen=True)
class Params:
    """Base of a stage's parameters; validated when made."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            self._check(item, getattr(self, item.name))

    def _check(self, item: dataclasses.Field[Any], value: Any) -> None:
        kind = type(item.default)
        if kind is float and type(value) is int:
            object.__setattr__(self, item.name, float(value))
        elif type(value) is not kind:
            raise UsageError(f"{item.name} must be {_KINDS[kind]}, not {value!r}.")
        low, high, unit = item.metadata["low"], item.metadata["high"], item.metadata["unit"]
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise UsageError(f"{item.name} must be between {low} and {high}{' ' + unit if unit else ''}, not {value}.")


_KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text in quotes"}


@dataclass(frozen=True)
class Signal:
    """A FLAC file that a stage reads. ``gain`` (dB) is what it was attenuated by on the way from the source."""

    path: Path
    rate: int
    channels: int
    frames: int
    gain: float


@dataclass(frozen=True)
class Rendered:
    """What a stage makes: a stream that can be read more than once, and what is to be said of it.

    ``blocks`` yields float32 ``(n, channels)``, ``frames`` in all. ``gain`` in dB is what the stage itself
    attenuated by, ``note`` one honest phrase for the listener.
    """

    rate: int
    channels: int
    frames: int
    blocks: Callable[[], Iterable[Audio]]
    gain: float = 0.0
    note: str = ""


class Context(Protocol):
    """What a running task gives its stage."""

    source: Path
    analysis: SongAnalysis
    seed: int
    device: str

    @property
    def input(self) -> Signal:
        """The signal to work on; every stage but the first has one."""
        ...

    def checkpoint(self) -> None:
        """Wait while paused; raise when the song, the variant or the run is to be left."""
        ...

    def progress(self, done: int, of: int, *, reused: bool = False) -> None:
        """Tell how many chunks are done."""
        ...

    def fraction(self, done: float) -> None:
        """Tell how much (0 to 1) is done where there are no chunks."""
        ...

    def warn(self, text: str) -> None:
        """Record one sentence for the user."""
        ...

    def load_chunk(self, index: int, shape: tuple[int, int]) -> Audio | None:
        """A chunk finished earlier, or None."""
        ...

    def save_chunk(self, index: int, chunk: Audio) -> None:
        """Keep a finished chunk, safely."""
        ...


class Stage:
    """One processing step. A subclass sets the class attributes and writes :meth:`run`.

    ``version`` goes up whenever the same input and parameters would give other samples. ``cost`` is a first
    guess of the seconds of work per second of stereo audio on one core; the run corrects it by what it sees.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.02
    Parameters: ClassVar[type[Params]] = Params

    def why_not_possible(self) -> str:
        """Empty where the stage can run on this machine, else one sentence that says what to do."""
        return ""

    def fingerprint(self) -> dict[str, Any]:
        """Whatever decides the result besides the input and the parameters (weights, say)."""
        return {}

    def run(self, context: Context, params: Any) -> Rendered:
        """Do the work, or set it up to be done while the result is read."""
        raise NotImplementedError


class Processor(Protocol):
    """Turns the window of one chunk into its samples."""

    def __call__(self, window: Audio, start: int) -> Audio:
        """``window`` is ``(frames + 2 * context, channels)``, its first own frame is ``start`` in the song.

        Returns the own frames, ``(frames, channels)``.
        """
        ...


class ChunkedStage(Stage):
    """A stage that works chunk by chunk and never does a finished chunk again.

    Exactly-mono songs are processed as one channel.
    """

    fade: ClassVar[FadeLaw] = "equal-gain"

    def geometry(self, signal: Signal) -> ChunkGeometry:
        """Size, overlap and context of the chunks, in frames of ``signal``."""
        raise NotImplementedError

    def prepare(self, context: Context, params: Any) -> Processor | None:
        """What the song as a whole decides. None where there is nothing to do: the input is passed on."""
        raise NotImplementedError

    def note(self, context: Context, params: Any) -> str:
        """The honest phrase for the listener."""
        return ""

    def run(self, context: Context, params: Any) -> Rendered:
        signal = context.input
        note = self.note(context, params)
        processor = self.prepare(context, params)
        if processor is None:
            return Rendered(signal.rate, signal.channels, signal.frames, lambda: read_blocks(signal), note=note)
        geometry = self.geometry(signal)
        channels = 1 if context.analysis.exact_mono else signal.channels
        count = geometry.count(signal.frames)
        for index in range(count):
            start, end = geometry.span(index, signal.frames)
            reused = context.load_chunk(index, (end - start, channels)) is not None
            if not reused:
                context.checkpoint()
                window = read_window(signal.path, start - geometry.context, end + geometry.context, signal.frames)[
                    :, :channels
                ]
                context.save_chunk(index, np.ascontiguousarray(processor(window, start), np.float32))
            context.progress(index + 1, count, reused=reused)

        def load(index: int) -> Audio:
            start, end = geometry.span(index, signal.frames)
            chunk = context.load_chunk(index, (end - start, channels))
            if chunk is None:
                raise FileNotFoundError(f"chunk {index} has vanished")
            return chunk if channels == signal.channels else np.repeat(chunk, signal.channels, axis=1)

        return Rendered(
            signal.rate,
            signal.channels,
            signal.frames,
            lambda: stitch(load, geometry, signal.frames, self.fade),
            note=note,
        )


def read_blocks(signal: Signal, size: int = BLOCK) -> Iterator[Audio]:
    """The blocks of a signal, float32 ``(<= size, channels)``."""
    with open_sound(signal.path) as file:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            yield block
