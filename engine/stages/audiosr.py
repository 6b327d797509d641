"""AudioSR: a diffusion model rebuilds the band above the crossover; below it the song passes untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp.filters import filtered, lowpass
from engine.dsp.gate import activity
from engine.dsp.headroom import duck_addition
from engine.dsp.spectrum import matching_gain
from engine.models import audiosr
from engine.models.audiosr import LATENT, PIECE, RATE, Extender, NoiseField, Piece
from engine.stages.base import ChunkedStage, Context, Params, Signal, one_of, parameter, read_at

_CONTEXT = 5 * LATENT  # 0.4 s
_SIZE = PIECE - 2 * _CONTEXT
_OVERLAP = 12 * LATENT  # 0.96 s
_HIGHEST = 21000.0  # Hz; above, there is nothing to hear
_LOWEST = 2000.0
_PEAK = 0.5  # what the model's training material was brought to
_SILENT = 10 ** (-90 / 20)
_PROBES, _PROBE = 4, 2 * RATE  # places at which the vocoder's level is compared with the song's, and their length
_CHOICES = {
    "model": ("basic", "speech"),
    "sampler": ("ddim", "dpm++"),
    "stereo": ("linked", "mid-side"),
    "precision": ("auto", "fp32", "fp16", "bf16"),
}


@dataclass(frozen=True)
class AudioSrParams(Params):
    model: str = parameter("basic", "which weights: 'basic' (music and sounds) or 'speech'")
    steps: int = parameter(50, "steps of the sampler; fewer are faster and rougher", low=2, high=1000)
    sampler: str = parameter("ddim", "'ddim', or 'dpm++', which needs about half the steps")
    eta: float = parameter(
        1.0, "new noise in every step of ddim: 0 none, 1 as the model was trained", low=0.0, high=1.0
    )
    guidance: float = parameter(
        3.5, "classifier-free guidance scale: more follows the song more closely; 1 is none", low=1.0, high=10.0
    )
    stereo: str = parameter("linked", "'linked': left and right from the same noise; 'mid-side': middle and sides")
    precision: str = parameter("auto", "'auto', 'fp32', 'fp16' or 'bf16': the arithmetic of the networks")
    transition_hz: float = parameter(
        500.0, "width of the crossover below the song's cutoff; below it the song stays as it is",
        unit="Hz", low=100.0, high=2000.0,
    )  # fmt: skip
    level_db: float = parameter(
        0.0, "level of the new band against what the model makes of it", unit="dB", low=-24.0, high=12.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in _CHOICES.items():
            one_of(name, getattr(self, name), allowed)


class AudioSr(ChunkedStage):
    """Chunks of 10.24 s, of which 0.4 s on both sides are thrown away; the result is at 48 kHz.

    One cutoff and one level for the whole song, and noise that belongs to places in the song.
    """

    name = "audiosr"
    title = "AudioSR super-resolution"
    cost = 50.0  # for 50 steps
    neural = True
    fade = "matched"
    adds = True
    Parameters = AudioSrParams

    def unavailable_reason(self, params: AudioSrParams) -> str:
        return audiosr.unavailable_reason(params.model)

    def fingerprint(self, params: AudioSrParams) -> dict[str, str]:
        return {"model": audiosr.fingerprint(params.model)}

    def cost_of(self, params: AudioSrParams, device: str) -> float:
        # The sampler's steps are little more than half of the work: the vocoder alone costs as much as 19 of them.
        return super().cost_of(params, device) * (0.43 + 0.57 * params.steps / 50)

    def cutoff_after(self, before: float | None, params: AudioSrParams) -> None:
        return None

    def note(self, context: Context, params: AudioSrParams) -> str:
        top = _top(context)
        if top is None:
            return "nothing was cut off, so nothing was made"
        return f"generated above {top / 1000:.1f} kHz, a guess by a model that learnt from low-passed audio"

    def rate(self, signal: Signal) -> int:
        return RATE

    def geometry(self, signal: Signal) -> ChunkGeometry:
        return ChunkGeometry(_SIZE, _OVERLAP, _CONTEXT)

    def batch(self, context: Context, params: AudioSrParams) -> int:
        return audiosr.batch(context.device)

    def prepare(self, context: Context, params: AudioSrParams) -> _Processor | None:
        from engine.models.audiosr.network import Sampling

        top = _top(context)
        if top is None:
            context.warn("This song has no cutoff that could be found: AudioSR left it as it is.")
            return None
        method: Literal["ddim", "dpm++"] = "ddim" if params.sampler == "ddim" else "dpm++"
        sampling = Sampling(params.steps, method, params.eta, params.guidance)
        extender = Extender(
            params.model, context.device, top - params.transition_hz, NoiseField(context.seed), sampling,
            params.precision, context.warn,
        )  # fmt: skip
        below = lowpass(top, params.transition_hz, RATE)
        peak = 10 ** ((context.analysis.peak + context.input.gain) / 20)
        gain = _PEAK / max(peak, _SILENT)
        level = _matched_level(context, extender, below, gain, top - params.transition_hz)
        return _Processor(context, extender, below, gain, level * 10 ** (params.level_db / 20), params.stereo)


def _top(context: Context) -> float | None:
    """Hz at which the new band begins; None where nothing that can be heard is missing."""
    cutoff = context.cutoff
    return max(cutoff, _LOWEST) if cutoff is not None and cutoff < _HIGHEST else None


@dataclass(frozen=True)
class _Processor:
    """See :class:`engine.stages.base.BatchProcessor`. ``below`` is the FIR that the crossover is made with."""

    context: Context
    extender: Extender
    below: Audio
    gain: float
    level: float
    stereo: str

    def together(self, windows: list[Audio], starts: list[int]) -> list[Audio]:
        """What is to be added to the song, for each window."""
        loud = [n for n, window in enumerate(windows) if activity(window, RATE).any()]
        # The first window begins before the song: places are counted from there.
        pieces = [Piece(self._turned(self._heard(windows[n])), starts[n] // LATENT) for n in loud]
        made = self._extended(pieces, starts)
        added = [np.zeros((len(w) - 2 * _CONTEXT, w.shape[1]), np.float32) for w in windows]
        for n, audio in zip(loud, made, strict=True):
            added[n] = self._added(windows[n], self._turned(audio[: len(windows[n])]))
        return added

    def _heard(self, window: Audio) -> Audio:
        """What the model hears: the song below the crossover at the model's level, without its mean, a whole piece."""
        low = filtered(window, self.below)
        low -= low.mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.float32(self.gain) * np.pad(low, ((0, PIECE - len(low)), (0, 0)))

    def _turned(self, audio: Audio) -> Audio:
        """To mid and side, or back, where that is wanted."""
        if self.stereo != "mid-side" or audio.shape[1] != 2:
            return audio
        return np.stack([audio[:, 0] + audio[:, 1], audio[:, 0] - audio[:, 1]], axis=1) * np.float32(np.sqrt(0.5))

    def _extended(self, pieces: list[Piece], starts: list[int]) -> list[Audio]:
        signal = self.context.input
        frames, step = signal.frames * RATE / signal.rate, _SIZE - _OVERLAP

        def after_step(done: float) -> None:
            self.context.checkpoint()
            self.context.fraction(min(1.0, (starts[0] + done * step * len(starts)) / frames))

        return self.extender.extend(pieces, after_step) if pieces else []

    def _added(self, window: Audio, made: Audio) -> Audio:
        difference = made * np.float32(self.level / self.gain) - window
        own = slice(_CONTEXT, len(window) - _CONTEXT)
        added = ((difference - filtered(difference, self.below)) * activity(window, RATE))[own]
        return duck_addition(window[own], added)


def _matched_level(context: Context, extender: Extender, below: Audio, gain: float, top: float) -> float:
    """What makes the vocoder as loud as the song in the band below ``top`` Hz: one figure for the song."""
    signal = context.input
    seconds = max(0, signal.frames // signal.rate - _PROBE // RATE)
    starts = sorted(set(np.linspace(0, seconds, _PROBES).astype(int).tolist()))
    channels = 1 if context.analysis.exact_mono else signal.channels
    pieces = []
    for start in starts:
        context.checkpoint()
        piece = read_at(signal, RATE, start * RATE, start * RATE + _PROBE)[:, :channels]
        pieces.append(np.float32(gain) * filtered(piece, below))
    return matching_gain(pieces, extender.vocode(pieces), RATE, top)
