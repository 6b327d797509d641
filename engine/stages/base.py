"""What a stage is, and what it gets to work with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from engine.analysis.song import SongAnalysis
from engine.audio.chunks import ChunkGeometry, FadeLaw, read_window, stitch
from engine.audio.readers import BLOCK, Audio
from engine.audio.resample import resample, resample_stream, resampled_length
from engine.audio.soundfiles import reading
from engine.audio.streams import in_step
from engine.dsp.gate import is_silent
from engine.dsp.level_fit import Fit
from engine.dsp.mix import Mix
from engine.errors import NotPossibleError, UsageError
from engine.signals import MIX

GPU_GAIN = 100.0  # a first guess of how much faster networks are on a GPU


def parameter(
    default: Any, help: str, *, unit: str = "", low: float | None = None, high: float | None = None, later: bool = False
) -> Any:
    """A field of a stage's parameters: its default, meaning, unit and range.

    ``later``: it was added to a stage that libraries were made with, and its default is what that did before.
    """
    told = {"help": help, "unit": unit, "low": low, "high": high, "later": later}
    return dataclasses.field(default=default, metadata=told)


@dataclass(frozen=True)
class Params:
    """Base of a stage's parameters; validated when made."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            self._check(item, getattr(self, item.name))

    def decisive(self) -> dict[str, Any]:
        """The parameters that go into fingerprints: without those added later, while they change nothing."""
        return {
            item.name: value
            for item in dataclasses.fields(self)
            if (value := getattr(self, item.name)) != item.default or not item.metadata["later"]
        }

    def _check(self, item: dataclasses.Field[Any], value: Any) -> None:
        kind = type(item.default)
        if kind is float and type(value) is int:
            object.__setattr__(self, item.name, float(value))
        elif type(value) is not kind:
            raise UsageError(f"{item.name} must be {_KINDS[kind]}, not {value!r}.")
        low, high, unit = item.metadata["low"], item.metadata["high"], item.metadata["unit"]
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise UsageError(f"{item.name} must be between {low} and {high}{' ' + unit if unit else ''}, not {value}.")


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raises UsageError where ``value`` of the parameter ``name`` is not allowed."""
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


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
    attenuated by, ``note`` one honest phrase for the listener. Where it is ``exact``, the samples are whole 24-bit
    numbers already and need no dither. ``fits`` are what its inputs were equalised by, by their names.
    """

    rate: int
    channels: int
    frames: int
    blocks: Callable[[], Iterable[Audio]]
    gain: float = 0.0
    note: str = ""
    exact: bool = False
    fits: dict[str, Fit] = dataclasses.field(default_factory=dict)


class Context(Protocol):
    """What a running task gives its stage."""

    source: Path
    analysis: SongAnalysis
    seed: int
    device: str
    cutoff: float | None  # Hz up to which the input is whole; None where nothing was cut off

    @property
    def input(self) -> Signal:
        """The signal to work on, of a stage that has one input."""
        ...

    @property
    def inputs(self) -> dict[str, Signal]:
        """All inputs by their names; those of the first stage are none."""
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

    def together(self, wanted: int) -> int:
        """How many chunks to work on at once: as many as when the task was begun, else ``wanted``."""
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
    implied: ClassVar[bool] = False  # put where it is needed, never named in a recipe
    neural: ClassVar[bool] = False  # works with PyTorch, on whatever device there is
    sets_loudness: ClassVar[bool] = False  # brings the song to another loudness on purpose
    takes_mix: ClassVar[bool] = False  # mixes stems, as the recipe says or, of some songs, the listener (:meth:`mixed`)
    Parameters: ClassVar[type[Params]] = Params

    def inputs(self, params: Any) -> tuple[str, ...] | None:
        """What the stage takes: one signal, none (it reads the source), or None: as many as come, and the mix."""
        return (MIX,)

    def outputs(self, params: Any, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The names of what it makes of inputs of these names."""
        return (MIX,)

    def unavailable_reason(self, params: Any) -> str:
        """Empty where the stage can run on this machine, else one sentence that says what to do."""
        try:
            self.fingerprint(params)
        except NotPossibleError as error:
            return str(error)
        return ""

    def title_of(self, params: Any) -> str:
        """The title, and what of the parameters a listener should know."""
        return self.title

    def settled(self, params: Any) -> Any:
        """The parameters with what is meant on this machine where they leave it open."""
        return params

    def fingerprint(self, params: Any) -> dict[str, Any]:
        """Whatever decides the result besides the input and the parameters (weights, say).

        Raises NotPossibleError where that is not here.
        """
        return {}

    def cost_of(self, params: Any, device: str) -> float:
        """A first guess of the seconds of work per second of stereo audio on ``device``."""
        return self.cost if device == "cpu" or not self.neural else self.cost / GPU_GAIN

    def cutoff_after(self, before: float | None, params: Any) -> float | None:
        """Hz up to which the result is whole, where its input is whole up to ``before``; None: nothing is missing."""
        return before

    def rate_after(self, before: int, params: Any) -> int:
        """The rate in Hz of the result, where its input (of the first stage: the song) has that rate ``before``."""
        return before

    def mix(self, params: Any) -> Mix:
        """How stems are mixed, by their names; of a stage that mixes none, nothing."""
        return {}

    def mixed(self, params: Any, mix: Mix) -> Any:
        """The parameters for a song of which the listener made a mix."""
        return params

    def wants_album(self, params: Any) -> bool:
        """Whether its work depends on the album that the song is of (:meth:`in_album`)."""
        return False

    def in_album(self, params: Any, loudness: float) -> Any:
        """The parameters for a song of an album that has so many LUFS as it came, all of its songs together."""
        return params

    def run(self, context: Context, params: Any) -> Rendered | dict[str, Rendered]:
        """Do the work, or set it up to be done while the result is read. Several outputs are given by their names."""
        raise NotImplementedError


class Processor(Protocol):
    """Turns the window of one chunk into its samples."""

    def __call__(self, window: Audio, start: int) -> Audio:
        """``window`` is ``(frames + 2 * context, channels)``, its first own frame is ``start`` in the song.

        Returns the own frames, ``(frames, channels)``.
        """
        ...


@runtime_checkable
class BatchProcessor(Protocol):
    """Turns the windows of several chunks into their samples at once; see :class:`Processor`."""

    def together(self, windows: list[Audio], starts: list[int]) -> list[Audio]:
        """As :class:`Processor`, for each of the windows."""
        ...


class ChunkedStage(Stage):
    """A stage that works chunk by chunk and never does a finished chunk again.

    Exactly-mono songs are processed as one channel. Where the stage ``adds``, its chunks hold only what is added to
    the song, and are crossfaded by themselves: the song passes untouched.
    """

    fade: ClassVar[FadeLaw] = "equal-gain"
    adds: ClassVar[bool] = False

    def rate(self, signal: Signal) -> int:
        """The rate in Hz that the stage works and gives its result at."""
        return signal.rate

    def rate_after(self, before: int, params: Any) -> int:
        return self.rate(Signal(Path(), before, 1, 0, 0.0))

    def rate_of(self, context: Context, params: Any) -> int:
        """:meth:`rate`, where the song or the parameters have a say in it."""
        return self.rate(context.input)

    def geometry(self, signal: Signal) -> ChunkGeometry:
        """Size, overlap and context of the chunks, in frames at :meth:`rate`."""
        raise NotImplementedError

    def prepare(self, context: Context, params: Any) -> Processor | BatchProcessor | None:
        """What the song as a whole decides. None where there is nothing to do: the input is passed on."""
        raise NotImplementedError

    def batch(self, context: Context, params: Any) -> int:
        """How many chunks to work on at once, where the processor can. Asked when a task is begun, not on resuming."""
        return 1

    def note(self, context: Context, params: Any) -> str:
        """The honest phrase for the listener."""
        return ""

    def run(self, context: Context, params: Any) -> Rendered:
        signal = context.input
        rate = self.rate_of(context, params)
        frames = resampled_length(signal.frames, signal.rate, rate)
        note = self.note(context, params)
        processor = self.prepare(context, params)

        def song() -> Iterator[Audio]:
            return resample_stream(read_blocks(signal), signal.rate, rate, frames)

        if processor is None:
            return Rendered(rate, signal.channels, frames, song, note=note, exact=rate == signal.rate)
        geometry = self.geometry(signal)
        channels = 1 if context.analysis.exact_mono else signal.channels
        work = Chunks(context, signal, geometry, rate, frames, channels, channels, passes_silence=not self.adds)
        work.make(processor, self.batch(context, params))

        def made() -> Iterator[Audio]:
            return work.joined(slice(0, channels), signal.channels, self.fade)

        return Rendered(rate, signal.channels, frames, lambda: _sum(song(), made()) if self.adds else made(), note=note)


@dataclass(frozen=True)
class Chunks:
    """The chunks of one task, ``channels`` wide: which there are, and how they come to be.

    A window in which nothing is heard (below -90 dBFS throughout) is not sent to the processor: its chunk is the song
    as it is where it ``passes_silence``, else nothing at all.
    """

    context: Context
    signal: Signal
    geometry: ChunkGeometry
    rate: int
    frames: int
    channels: int
    heard: int  # channels of the song that are read
    passes_silence: bool = False

    def load(self, index: int) -> Audio | None:
        """A chunk that is there."""
        start, end = self.geometry.span(index, self.frames)
        return self.context.load_chunk(index, (end - start, self.channels))

    def joined(self, part: slice, channels: int, fade: FadeLaw = "equal-gain") -> Iterator[Audio]:
        """Some channels of all chunks as one stream, ``channels`` wide: one that stands for equal ones is repeated.

        Raises:
            FileNotFoundError: while iterating; a chunk that was made is not there any more.
        """

        def load(index: int) -> Audio:
            chunk = self.load(index)
            if chunk is None:
                raise FileNotFoundError(f"chunk {index} has vanished")
            own = chunk[:, part]
            return np.repeat(own, channels, axis=1) if own.shape[1] < channels else own

        return stitch(load, self.geometry, self.frames, fade)

    def make(self, processor: Processor | BatchProcessor, wanted: int) -> None:
        """Make all that are not there. Groups are the same in every run, so that resuming changes nothing."""
        count = self.geometry.count(self.frames)
        together = self.context.together(wanted) if isinstance(processor, BatchProcessor) else 1
        for first in range(0, count, together):
            group = range(first, min(first + together, count))
            missing = [index for index in group if self.load(index) is None]
            if missing:
                self.context.checkpoint()
                for index, chunk in zip(group, self._process(processor, group), strict=True):
                    self.context.save_chunk(index, np.ascontiguousarray(chunk, np.float32))
            for index in group:
                self.context.progress(index + 1, count, reused=not missing)

    def _process(self, processor: Processor | BatchProcessor, group: range) -> list[Audio]:
        windows = {index: self._window(index) for index in group}
        loud = [index for index, window in windows.items() if not is_silent(window)]
        starts = [self.geometry.span(index, self.frames)[0] for index in loud]
        if isinstance(processor, BatchProcessor):
            made = processor.together([windows[index] for index in loud], starts) if loud else []
        else:
            made = [processor(windows[index], start) for index, start in zip(loud, starts, strict=True)]
        found = dict(zip(loud, made, strict=True))
        return [found[index] if index in found else self._silence(windows[index]) for index in group]

    def _silence(self, window: Audio) -> Audio:
        own = window[self.geometry.context : len(window) - self.geometry.context]
        return own if self.passes_silence else np.zeros((len(own), self.channels), np.float32)

    def _window(self, index: int) -> Audio:
        start, end = self.geometry.span(index, self.frames)
        first, last = start - self.geometry.context, end + self.geometry.context
        return read_at(self.signal, self.rate, first, last)[:, : self.heard]


def read_at(signal: Signal, rate: int, start: int, end: int) -> Audio:
    """Frames ``[start, end)`` at ``rate`` Hz of a signal of another rate, with silence where it has none."""
    if rate == signal.rate:
        return read_window(signal.path, start, end, signal.frames)
    # From a whole second on, so that both grids meet, and with more on both sides than the resampler looks at.
    first, last = start // rate - 1, -(-end // rate) + 1
    wide = read_window(signal.path, first * signal.rate, last * signal.rate, signal.frames)
    return resample(wide, signal.rate, rate)[start - first * rate : end - first * rate]


def _sum(first: Iterable[Audio], second: Iterable[Audio]) -> Iterator[Audio]:
    """Two streams of the same length, added."""
    for one, other in in_step(first, second):
        yield one + other


def read_blocks(signal: Signal, size: int = BLOCK) -> Iterator[Audio]:
    """The blocks of a signal, float32 ``(<= size, channels)``."""
    with reading(signal.path) as file:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            yield block


def watched_blocks(context: Context, signal: Signal, start: float = 0.0, end: float = 1.0) -> Iterator[Audio]:
    """The same, :func:`watched`."""
    return watched(context, read_blocks(signal), signal.frames, start, end)


def watched(
    context: Context, blocks: Iterable[Audio], frames: int, start: float = 0.0, end: float = 1.0
) -> Iterator[Audio]:
    """Blocks of ``frames`` in all, for a running task, which can be stopped between them; they are its progress from
    ``start`` to ``end``."""
    done = 0
    for block in blocks:
        context.checkpoint()
        yield block
        done += len(block)
        context.fraction(start + (end - start) * done / frames)


def passed(signal: Signal, note: str = "") -> Rendered:
    """The signal as it is, bit by bit."""
    return Rendered(signal.rate, signal.channels, signal.frames, lambda: read_blocks(signal), note=note, exact=True)


def blocks_at(signal: Signal, gain: float) -> Iterator[Audio]:
    """The blocks of a signal as if it were attenuated by ``gain`` dB since the source, and not by its own gain."""
    factor = np.float32(10 ** ((gain - signal.gain) / 20))
    for block in read_blocks(signal):
        yield block if factor == 1 else block * factor
