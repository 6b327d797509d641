"""Decode: the source as it is, at the song's working rate. Everything else starts here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.analysis.song import DECISIVE_VERSION
from engine.audio.decode import open_decoder
from engine.audio.readers import Audio, with_numbers_only
from engine.audio.resample import output_rate, resample_stream, resampled_length
from engine.errors import DecodeError
from engine.stages.base import Context, Params, Rendered, Stage, parameter

_HEADROOM = -0.5  # dBFS that a song whose peaks clip is brought down to, so that later stages have room too


@dataclass(frozen=True)
class DecodeParams(Params):
    rate: int = parameter(
        0, "sample rate of all variants; 0 keeps the song's own, and lifts those under 44.1 kHz",
        unit="Hz", low=0, high=192000,
    )  # fmt: skip


class Decode(Stage):
    """Decodes the source. A song whose peaks exceed full scale is attenuated as a whole, and the gain kept."""

    name = "decode"
    title = "Plain decode"
    version = 1
    cost = 0.02
    Parameters = DecodeParams

    def inputs(self, params: DecodeParams) -> tuple[str, ...]:
        return ()

    def fingerprint(self, params: DecodeParams) -> dict[str, int]:
        return {"analysis": DECISIVE_VERSION}

    def rate_after(self, before: int, params: DecodeParams) -> int:
        return params.rate or output_rate(before)

    def run(self, context: Context, params: DecodeParams) -> Rendered:
        analysis = context.analysis
        rate = self.rate_after(analysis.rate, params)
        frames = resampled_length(analysis.frames, analysis.rate, rate)
        if not frames:
            raise DecodeError("The song holds no audio (0 seconds).")
        peak = analysis.peak if rate == analysis.rate else analysis.true_peak
        gain = _HEADROOM - peak if peak >= 0.0 else 0.0
        factor = np.float32(10 ** (gain / 20))

        def source() -> Iterator[Audio]:
            done = 0
            with open_decoder(context.source, analysis.decoder, analysis.start) as decoded:
                for block in decoded.blocks:
                    context.checkpoint()
                    yield with_numbers_only(block) * factor
                    done += len(block)
                    context.fraction(done / max(1, analysis.frames))
            if done != analysis.frames:
                raise DecodeError("The song changed while it was being read: run again.")

        return Rendered(
            rate,
            analysis.channels,
            frames,
            lambda: resample_stream(source(), analysis.rate, rate, frames),
            gain=gain,
            note=_note(analysis.rate, rate),
        )


def _note(source: int, rate: int) -> str:
    return "as decoded" if source == rate else f"as decoded, resampled from {source / 1000:g} kHz"
