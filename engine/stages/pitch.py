"""Pitch: brings the notes of a voice to where they belong, formants and vibrato kept. For one voice alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp import notes, pitch
from engine.dsp.psola import Bend, bent
from engine.stages.base import Context, Params, Rendered, Signal, Stage, parameter, read_at, read_blocks

_CHUNK = 6000  # values of the pitch: 30 s
_LONGEST = 4000  # values in one stretch: so much of the song is in memory at a time
_LISTENING = 0.4  # the share of the work that is finding the pitch

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PitchParams(Params):
    strength: float = parameter(0.8, "how far notes are brought to where they belong; 0 changes nothing", low=0.0, high=1.0)  # fmt: skip
    scale: str = parameter(
        notes.CHROMATIC, "the notes there are: 'chromatic', such as 'C major' or 'F# minor', or 'auto': found in the song"
    )  # fmt: skip
    most_cents: float = parameter(
        80.0, "notes farther than this from any of the scale are meant so and stay", unit="cents", low=5.0, high=200.0
    )
    tuning_hz: float = parameter(
        440.0, "the A that the song is tuned to; 0: where the voice is most of the time", unit="Hz", low=0.0, high=500.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale != notes.DETECTED:
            notes.scale_named(self.scale)


class Pitch(Stage):
    """Follows the pitch, chunk by chunk; tells the notes of the whole song; then streams the song, bent."""

    name = "pitch"
    title = "Pitch correction"
    cost = 0.1
    Parameters = PitchParams

    def run(self, context: Context, params: PitchParams) -> Rendered:
        signal = context.input

        def unchanged() -> Iterator[Audio]:
            return read_blocks(signal)

        if params.strength == 0:
            return Rendered(signal.rate, signal.channels, signal.frames, unchanged, note="pitch left as it is")
        bends, note = _plan(_tracked(context, signal), signal.rate, signal.frames, params)

        def watch(done: int) -> None:
            context.checkpoint()
            context.fraction(_LISTENING + (1 - _LISTENING) * done / signal.frames)

        def made() -> Iterator[Audio]:
            if not context.analysis.exact_mono:
                yield from bent(read_blocks(signal), bends, watch)
                return
            for block in bent((block[:, :1] for block in read_blocks(signal)), bends, watch):
                yield np.repeat(block, signal.channels, axis=1)

        return Rendered(signal.rate, signal.channels, signal.frames, made, note=note)


def _tracked(context: Context, signal: Signal) -> Audio:
    """The pitch in Hz at every 5 ms of the song (see :func:`engine.dsp.pitch.track`). What was found is kept."""
    count = -(-signal.frames * pitch.RATE // (signal.rate * pitch.HOP))
    found = []
    for index, first in enumerate(range(0, count, _CHUNK)):
        end = min(first + _CHUNK, count)
        part = context.load_chunk(index, (end - first, 1))
        if part is None:
            context.checkpoint()
            start = first - pitch.CONTEXT
            heard = read_at(signal, pitch.RATE, start * pitch.HOP, (end + pitch.CONTEXT) * pitch.HOP)
            part = pitch.track(heard.mean(axis=1))[first - start : end - start, None]
            context.save_chunk(index, np.ascontiguousarray(part))
        context.fraction(_LISTENING * end / count)
        found.append(part[:, 0])
    return np.concatenate(found)


def _plan(hz: Audio, rate: int, frames: int, params: PitchParams) -> tuple[list[Bend], str]:
    """What is to be done to the song, and what is to be told of it."""
    stretches = [cut for first, end in notes.runs(hz) for cut in _cut(hz, first, end)]
    cents = notes.cents_of(hz, params.tuning_hz or 440.0)
    sung = [notes.notes_of(cents[first:end]) for first, end in stretches]
    everything = [note for some in sung for note in some]
    offset = notes.tuning_offset(everything) if params.tuning_hz == 0 else 0.0
    if offset:
        cents = cents - offset
        sung = [notes.notes_of(cents[first:end]) for first, end in stretches]
        everything = [note for some in sung for note in some]
    name = notes.detected_scale(everything) if params.scale == notes.DETECTED else params.scale
    scale = notes.scale_named(name)
    bends, moved = [], []
    for (first, end), held in zip(stretches, sung, strict=True):
        change = notes.correction(cents[first:end], held, scale, params.strength, params.most_cents)
        if change.any():
            moved.append(np.abs(change).max())
            bends.append(_bend(hz[first:end].astype(np.float64), change, first, rate, frames))
    if not bends:
        return [], "no note was off pitch, so nothing was changed"
    return bends, f"pitch corrected toward {name} by up to {max(moved):.0f} cents, vibrato and formants kept"


def _cut(hz: Audio, first: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch in parts that are not too long for the memory."""
    while end - first > _LONGEST:
        yield first, first + _LONGEST
        first += _LONGEST
    yield first, end


def _bend(hz: Values, cents: Values, first: int, rate: int, frames: int) -> Bend:
    step = pitch.HOP * rate / pitch.RATE
    times = (first + np.arange(len(hz))) * step
    start, end = (round((place - 0.5) * step) for place in (first, first + len(hz)))
    return Bend(max(0, start), min(end, frames), times, rate / hz, cents)
