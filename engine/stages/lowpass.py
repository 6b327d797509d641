"""Low-pass: cuts a song below its damaged band, so that a super-resolver has clean material to start from."""

from __future__ import annotations

from dataclasses import dataclass

from engine.dsp.filters import apply_fir, lowpass
from engine.stages.base import Context, Params, Rendered, Stage, parameter, passed, watched_blocks

_FALLBACK = 16000.0


@dataclass(frozen=True)
class LowpassParams(Params):
    cutoff_hz: float = parameter(
        0.0, "where the filter ends; 0 puts it below the song's own cutoff (16 kHz where that is unknown)",
        unit="Hz", low=0.0, high=96000.0,
    )  # fmt: skip
    margin_hz: float = parameter(
        1000.0, "how far below the song's cutoff the filter ends, when it is set by the song",
        unit="Hz", low=0.0, high=8000.0,
    )  # fmt: skip
    transition_hz: float = parameter(500.0, "width of the filter's slope", unit="Hz", low=50.0, high=4000.0)


class Lowpass(Stage):
    """Linear-phase FIR (Kaiser window, 96 dB), delay taken out."""

    name = "lowpass"
    title = "Low-pass below the damaged band"
    cost = 0.01
    Parameters = LowpassParams

    def cutoff_after(self, before: float | None, params: LowpassParams) -> float:
        return _cutoff(before, params) - params.transition_hz

    def run(self, context: Context, params: LowpassParams) -> Rendered:
        signal = context.input
        cutoff = _cutoff(context.cutoff, params)
        if cutoff >= signal.rate / 2:
            context.warn(f"A low-pass at {cutoff / 1000:.1f} kHz lies beyond what the song can hold: nothing is cut.")
            return passed(signal, "nothing cut")
        taps = lowpass(cutoff, params.transition_hz, signal.rate)
        return Rendered(
            signal.rate,
            signal.channels,
            signal.frames,
            lambda: apply_fir(watched_blocks(context, signal), taps),
            note=f"low-passed at {cutoff / 1000:.1f} kHz",
        )


def _cutoff(before: float | None, params: LowpassParams) -> float:
    """Where the filter ends."""
    chosen = before - params.margin_hz if before is not None else _FALLBACK
    return max(params.cutoff_hz or chosen, 2 * params.transition_hz)
