"""Pitch: brings the notes of a voice to where they belong, formants and vibrato kept. For one voice alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.readers import Audio
from engine.dsp import notes, pitch
from engine.dsp.psola import Bend, bent
from engine.errors import UsageError
from engine.stages.base import Context, Params, Rendered, Signal, Stage, parameter, read_at, read_blocks

_CHUNK = 6000  # values of the pitch that are found at a time: 30 s
_LONGEST = 4000  # values in one stretch (20 s): so much of the song is in memory at a time
_TUNINGS = (400.0, 480.0)  # Hz
_LISTENING = 0.25  # the share of the work that is finding the pitch

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PitchParams(Params):
    strength: float = parameter(
        0.8, "how far notes are brought to where they belong; 0 changes nothing", low=0.0, high=1.0
    )
    scale: str = parameter(
        notes.CHROMATIC, "the notes there are: 'chromatic', 'C major', 'F# minor' …, or 'auto': found in the song"
    )
    most_cents: float = parameter(
        80.0, "notes farther than this from any of the scale are meant so and stay", unit="cents", low=5.0, high=200.0
    )
    tuning_hz: float = parameter(
        440.0, "the A that the song is tuned to (400 to 480); 0: as the voice is on the whole",
        unit="Hz", low=0.0, high=_TUNINGS[1],
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.tuning_hz < _TUNINGS[0]:
            raise UsageError(f"tuning_hz must be 0 or between 400 and 480 Hz, not {self.tuning_hz:g}.")
        if self.scale != notes.DETECTED:
            notes.scale_named(self.scale)


class Pitch(Stage):
    """Follows the pitch of the whole song, tells its notes, then streams the song with these bent."""

    name = "pitch"
    title = "Pitch correction"
    cost = 0.04
    Parameters = PitchParams

    def run(self, context: Context, params: PitchParams) -> Rendered:
        signal = context.input

        bends: list[Bend] = []
        note = "pitch left as it is"
        if params.strength:
            bends, note = plan(_tracked(context, signal), signal.rate, signal.frames, params)

        def watch(done: int) -> None:
            context.checkpoint()
            context.fraction(_LISTENING + (1 - _LISTENING) * done / signal.frames)

        def made() -> Iterator[Audio]:
            if not context.analysis.exact_mono:
                yield from bent(read_blocks(signal), bends, watch)
                return
            for block in bent((block[:, :1] for block in read_blocks(signal)), bends, watch):
                yield np.repeat(block, signal.channels, axis=1)

        return Rendered(signal.rate, signal.channels, signal.frames, made, note=note, exact=not bends)


def _tracked(context: Context, signal: Signal) -> Audio:
    """The pitch of the song and its clarity, ``(values, 2)`` (see :func:`engine.dsp.pitch.track`)."""
    count = -(-signal.frames * pitch.RATE // (signal.rate * pitch.HOP))
    found = []
    for first in range(0, count, _CHUNK):
        context.checkpoint()
        start, end = first - pitch.CONTEXT, min(first + _CHUNK, count)
        heard = read_at(signal, pitch.RATE, start * pitch.HOP, (end + pitch.CONTEXT) * pitch.HOP)
        found.append(pitch.track(heard.mean(axis=1))[first - start : end - start])
        context.fraction(_LISTENING * end / count)
    return np.concatenate(found)


def plan(track: Audio, rate: int, frames: int, params: PitchParams) -> tuple[list[Bend], str]:
    """What is to be done to the song, and what is to be told of it."""
    hz: Values = track[:, 0].astype(np.float64)
    clarity: Values = track[:, 1].astype(np.float64)
    stretches = [cut for first, end in notes.runs(hz) for cut in _cut(first, end)]
    cents = notes.cents_of(hz, params.tuning_hz or 440.0)
    sung = [notes.notes_of(cents[first:end], clarity[first:end]) for first, end in stretches]
    everything = [note for some in sung for note in some]
    offset = 0.0 if params.tuning_hz else notes.tuning_offset(everything)
    name = notes.detected_scale(everything, offset) if params.scale == notes.DETECTED else params.scale
    scale = notes.scale_named(name)
    bends: list[Bend] = []
    moved: list[float] = []
    for (first, end), held in zip(stretches, sung, strict=True):
        change = notes.correction(end - first, held, scale, offset, params.strength, params.most_cents)
        if change.any():
            moved.append(float(np.abs(change).max()))
            lead = int(np.flatnonzero(change)[0])  # what is right up to there passes to the sample
            bends.append(_bend(hz[first + lead : end], change[lead:], first + lead, rate, frames))
    if not bends:
        return [], "no note of a single voice was off pitch, so nothing was changed"
    return bends, f"pitch corrected toward {name} by up to {max(moved):.0f} cents, vibrato and formants kept"


def _cut(first: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch in parts that are not too long for the memory."""
    while end - first > _LONGEST:
        yield first, first + _LONGEST
        first += _LONGEST
    yield first, end


def _bend(hz: Values, cents: Values, first: int, rate: int, frames: int) -> Bend:
    step = pitch.HOP * rate / pitch.RATE
    times = np.arange(first, first + len(hz), dtype=np.float64) * step
    start, end = (round((place - 0.5) * step) for place in (first, first + len(hz)))
    return Bend(max(0, start), min(end, frames), times, rate / hz, cents)
