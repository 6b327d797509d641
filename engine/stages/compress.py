"""Compress: loud moments of a band are turned down a little, so that a song is more even. In no recipe by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.audio.chunks import read_window
from engine.audio.readers import Audio
from engine.dsp.dynamics import Compression, MultiBand
from engine.stages.base import Context, Params, Rendered, Stage, parameter, passed


@dataclass(frozen=True)
class CompressParams(Params):
    ratio: float = parameter(1.5, "dB in for one dB out above the threshold; 1 changes nothing", low=1.0, high=4.0)
    threshold_db: float = parameter(
        0.0, "from how far above a band's own mean level on", unit="dB", low=-12.0, high=20.0
    )
    low_hz: float = parameter(150.0, "where the bass ends", unit="Hz", low=60.0, high=500.0)
    high_hz: float = parameter(3000.0, "where the treble begins", unit="Hz", low=1000.0, high=10000.0)
    attack_ms: float = parameter(20.0, "how fast a band is turned down", unit="ms", low=5.0, high=100.0)
    release_ms: float = parameter(150.0, "how fast it comes back", unit="ms", low=30.0, high=1000.0)


class Compress(Stage):
    """Three bands; thresholds go by the song itself, so that a quiet song is treated as a loud one is."""

    name = "compress"
    title = "Gentle compression"
    cost = 0.025
    Parameters = CompressParams

    def run(self, context: Context, params: CompressParams) -> Rendered:
        signal = context.input
        if params.ratio == 1:
            return passed(signal, "dynamics left as they are")

        def read(start: int, end: int) -> Audio:
            return read_window(signal.path, start, end, signal.frames)

        def watch(first: float, share: float) -> None:
            context.checkpoint()
            context.fraction(first + share / 2)

        how = Compression(
            params.ratio, params.threshold_db, params.attack_ms / 1000, params.release_ms / 1000,
            (params.low_hz, params.high_hz),
        )  # fmt: skip
        compressor = MultiBand(how, read, signal.frames, signal.rate)
        mean = compressor.mean_levels(lambda done: watch(0.0, done))

        def blocks() -> Iterator[Audio]:
            return compressor.blocks(mean, lambda done: watch(0.5, done))

        note = f"compressed in three bands, {params.ratio:g} to 1"
        return Rendered(signal.rate, signal.channels, signal.frames, blocks, note=note)
