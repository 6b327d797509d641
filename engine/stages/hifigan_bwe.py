"""Bandwidth extension by HiFi-GAN BWE: a band above the song's cutoff, from a model that was trained on speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.audio.chunks import ChunkGeometry, read_window
from engine.audio.readers import Audio
from engine.audio.resample import fit, resample
from engine.dsp.filters import filtered, lowpass
from engine.dsp.gate import activity
from engine.dsp.headroom import duck_addition
from engine.dsp.spectrum import matching_gain
from engine.models import hifigan_bwe
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter

# In units of a tenth of a second, so that chunks begin on whole samples at 44.1 and 48 kHz alike.
_SIZE, _OVERLAP, _CONTEXT = 60, 1, 3
_PROBES, _PROBE = 6, 30  # places at which the model's level is compared with the song's, and their length
_HIGHEST_CUTOFF = 19500.0  # Hz; above, there is nothing to hear


@dataclass(frozen=True)
class BweParams(Params):
    transition_hz: float = parameter(
        500.0, "width of the crossover below the song's cutoff; below it the song stays as it is",
        unit="Hz", low=100.0, high=2000.0,
    )  # fmt: skip
    level_db: float = parameter(
        0.0, "level of the new band against what the model makes of it", unit="dB", low=-24.0, high=12.0
    )


class HifiganBwe(ChunkedStage):
    """What the model makes above the crossover is added; below, the song passes untouched.

    The model hears 48 kHz, each channel by itself (equal channels stay equal). Its level is matched to the
    song's just below the crossover, once for the whole song.
    """

    name = "hifigan-bwe"
    title = "HiFi-GAN BWE"
    cost = 4.6
    neural = True
    Parameters = BweParams

    def unavailable_reason(self, params: BweParams) -> str:
        return hifigan_bwe.unavailable_reason()

    def fingerprint(self, params: BweParams) -> dict[str, str]:
        return {"model": hifigan_bwe.fingerprint()}

    def cutoff_after(self, before: float | None, params: BweParams) -> None:
        return None

    def note(self, context: Context, params: BweParams) -> str:
        cutoff = _cutoff(context)
        if cutoff is None:
            return "nothing was cut off, so nothing was made"
        return f"generated above {cutoff / 1000:.1f} kHz by a speech-trained model"

    def geometry(self, signal: Signal) -> ChunkGeometry:
        return ChunkGeometry(*(_frames(tenths, signal.rate) for tenths in (_SIZE, _OVERLAP, _CONTEXT)))

    def prepare(self, context: Context, params: BweParams) -> Processor | None:
        cutoff = _cutoff(context)
        if cutoff is None:
            context.warn("This song has no cutoff that could be found: HiFi-GAN BWE left it as it is.")
            return None
        rate, device = context.input.rate, context.device
        below = lowpass(cutoff, params.transition_hz, rate)

        def model(audio: Audio) -> Audio:
            """At the song's rate, same length."""
            made = hifigan_bwe.extend(resample(audio, rate, hifigan_bwe.RATE), device, context.warn)
            return fit(resample(made, hifigan_bwe.RATE, rate), len(audio))

        gain = np.float32(_matched_gain(context, model, cutoff - params.transition_hz) * 10 ** (params.level_db / 20))
        edge = _frames(_CONTEXT, rate)

        def process(window: Audio, start: int) -> Audio:
            own = slice(edge, len(window) - edge)
            heard = activity(window, rate)
            if not heard.any():
                return window[own]
            difference = model(window) * gain - window
            added = ((difference - filtered(difference, below)) * heard)[own]
            return window[own] + duck_addition(window[own], added)

        return process


def _cutoff(context: Context) -> float | None:
    cutoff = context.cutoff
    return cutoff if cutoff is not None and cutoff < min(_HIGHEST_CUTOFF, 0.48 * context.input.rate) else None


def _frames(tenths: int, rate: int) -> int:
    return tenths * rate // 10


def _matched_gain(context: Context, model: Callable[[Audio], Audio], top: float) -> float:
    """What makes the model as loud as the song in the band below ``top`` Hz: one figure for the song."""
    signal = context.input
    length = min(_frames(_PROBE, signal.rate), signal.frames)
    starts = np.linspace(0, signal.frames - length, _PROBES).astype(int)
    pieces = []
    channels = 1 if context.analysis.exact_mono else signal.channels
    for start in sorted(set(starts.tolist())):
        context.checkpoint()
        piece = read_window(signal.path, start, start + length, signal.frames)[:, :channels]
        if piece.any():
            pieces.append((piece, model(piece)))
    return matching_gain([song for song, _ in pieces], [made for _, made in pieces], signal.rate, top)
