"""Collect: the end of a variant that is several signals, each of which went its own way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from engine.audio.readers import Audio
from engine.stages.base import Context, Params, Rendered, Signal, Stage, blocks_at


class Collect(Stage):
    """Passes its inputs on, all of them at one gain. It is put at the end of a variant where that is needed."""

    name = "collect"
    title = "Stems"
    cost = 0.01
    implied = True

    def inputs(self, params: Params) -> None:
        return None

    def outputs(self, params: Params, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return inputs

    def run(self, context: Context, params: Params) -> dict[str, Rendered]:
        lowest = min(signal.gain for signal in context.inputs.values())
        return {
            name: Rendered(
                signal.rate, signal.channels, signal.frames, partial(_blocks, context, signal, lowest),
                note=f"{name}, after what its own chain did", exact=signal.gain == lowest,
            )
            for name, signal in context.inputs.items()
        }  # fmt: skip


def _blocks(context: Context, signal: Signal, gain: float) -> Iterator[Audio]:
    for block in blocks_at(signal, gain):
        context.checkpoint()
        yield block
