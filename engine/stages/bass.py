"""Bass: harmonics for what small speakers cannot give, and a low end without sides. Made for a bass stem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10

from engine.audio.readers import Audio
from engine.audio.streams import in_step
from engine.dsp.bass import Harmonics, mono_below
from engine.stages.base import Context, Params, Rendered, Stage, parameter, read_blocks, watched


@dataclass(frozen=True)
class BassParams(Params):
    harmonics: float = parameter(
        0.0, "amplitude of harmonics (60 to 600 Hz) against what lies below 200 Hz; 0 is none", low=0.0, high=1.0
    )
    mono_below_hz: float = parameter(
        0.0, "below this there are no sides; 0 leaves the image as it is", unit="Hz", low=0.0, high=300.0
    )


class Bass(Stage):
    """The harmonics are made of the middle, and added to both channels alike. Phase is kept."""

    name = "bass"
    title = "Bass"
    cost = 0.03
    Parameters = BassParams

    def run(self, context: Context, params: BassParams) -> Rendered:
        signal = context.input
        rate = signal.rate
        centred = params.mono_below_hz > 0 and signal.channels == 2
        harmonics = Harmonics(params.harmonics, rate) if params.harmonics else None

        def low() -> Iterator[Audio]:
            if not centred:
                return read_blocks(signal)
            return mono_below(lambda: read_blocks(signal), params.mono_below_hz, rate)

        def middle() -> Iterator[Audio]:
            for block in low():
                yield block.mean(axis=1, keepdims=True)

        def whole() -> Iterator[Audio]:
            for blocks in in_step(low(), *([harmonics.added(middle)] if harmonics else [])):
                yield sum(blocks[1:], start=blocks[0])

        note = _note(centred, params)
        return Rendered(
            rate, signal.channels, signal.frames, lambda: watched(context, whole(), signal.frames), note=note,
            exact=not (centred or harmonics),
        )  # fmt: skip


def _note(centred: bool, params: BassParams) -> str:
    made = [f"mono below {params.mono_below_hz:g} Hz"] if centred else []
    if params.harmonics:
        below = round(-20 * log10(params.harmonics))
        how = f"{below} dB below" if below else "as loud as"
        made.append(f"harmonics added, {how} what lies below 200 Hz")
    return ", ".join(made) or "the low end left as it is"
