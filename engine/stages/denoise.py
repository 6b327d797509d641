"""Denoise: DeepFilterNet3 or, lighter, RNNoise. Both learnt from speech: at home on a vocal, not on a full mix."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.audio.resample import fit, resample
from engine.dsp.spectrum import HOP, bin_of, istft, power, stft
from engine.models import deepfilternet, rnnoise
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, one_of, parameter

ENGINES = {"deepfilternet": "DeepFilterNet3", "rnnoise": "RNNoise"}

# In seconds, so that chunks begin on whole samples at 44.1 and 48 kHz alike.
_SIZE, _OVERLAP, _PRE_ROLL = 20, 1, 3
_MASK_SMOOTH = 1e-9
_TOP_BINS = 64  # 1.5 kHz
_RNNOISE_COST = 0.1


@dataclass(frozen=True)
class DenoiseParams(Params):
    attenuation_limit_db: float = parameter(
        12.0,
        "the most that anything is turned down; higher removes more, music too",
        unit="dB",
        low=1.0,
        high=100.0,
    )
    engine: str = parameter(
        "deepfilternet", "'deepfilternet', or 'rnnoise': lighter, and coarser in frequency", later=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("engine", self.engine, ENGINES)


class Denoise(ChunkedStage):
    """A fresh state of the model and a fixed pre-roll for every chunk, the same gains for all channels."""

    name = "denoise"
    title = "DeepFilterNet denoiser"
    cost = 0.22
    Parameters = DenoiseParams

    def title_of(self, params: DenoiseParams) -> str:
        return f"{ENGINES[params.engine].removesuffix('3')} denoiser"

    def unavailable_reason(self, params: DenoiseParams) -> str:
        return _module(params).unavailable_reason()

    def fingerprint(self, params: DenoiseParams) -> dict[str, str]:
        return {"model": _module(params).fingerprint()}

    def cost_of(self, params: DenoiseParams, device: str) -> float:
        return _RNNOISE_COST if params.engine == "rnnoise" else self.cost

    def note(self, context: Context, params: DenoiseParams) -> str:
        # It cannot know whether a voice or a full mix comes in, so it says what is true of both.
        name, limit = ENGINES[params.engine], params.attenuation_limit_db
        return f"denoised by {name}, which learnt from speech and can take what is no voice, by {limit:g} dB at most"

    def geometry(self, signal: Signal) -> ChunkGeometry:
        rate = signal.rate
        return ChunkGeometry(_SIZE * rate, _OVERLAP * rate, _PRE_ROLL * rate)

    def prepare(self, context: Context, params: DenoiseParams) -> Processor:
        rate = context.input.rate

        def process(window: Audio, start: int) -> Audio:
            at_model_rate = resample(window, rate, deepfilternet.RATE)
            clean = denoised(at_model_rate, params)
            back = resample(clean, deepfilternet.RATE, rate)
            context_frames = _PRE_ROLL * rate
            return fit(back, len(window))[context_frames : len(window) - context_frames]

        return process


def _module(params: DenoiseParams) -> ModuleType:
    return rnnoise if params.engine == "rnnoise" else deepfilternet


def denoised(audio: Audio, params: DenoiseParams) -> Audio:
    """``(frames, channels)`` at 48 kHz, all channels with one decision: that of the model for their mid.

    The models' masks of two channels differ, which makes the image wander. So the model hears the mid alone,
    and what it did to it, as gains per time and frequency, is done to every channel.
    """
    mid = np.ascontiguousarray(audio.mean(axis=1))
    limit = params.attenuation_limit_db
    lowest = 10 ** (-limit / 20)
    if params.engine == "rnnoise":  # it knows no limit: that is in the gains
        return _apply_gains(audio, mid, rnnoise.denoise(mid), lowest, rnnoise.TOP)
    with deepfilternet.DeepFilterNet(limit) as model:
        clean = model.process(mid)
    if audio.shape[1] == 1:
        return clean[:, None]
    return _apply_gains(audio, mid, clean, lowest)


def _apply_gains(audio: Audio, mid: Audio, clean: Audio, lowest: float, top: float | None = None) -> Audio:
    """What turned ``mid`` into ``clean``, done to all of ``audio``; above ``top`` Hz, what is done just below it."""
    frames = len(audio)
    pad = -frames % HOP
    before = stft(np.pad(mid, (0, pad))[:, None])
    after = stft(np.pad(clean, (0, pad))[:, None])
    gains = np.sqrt((power(after) + _MASK_SMOOTH) / (power(before) + _MASK_SMOOTH))
    gains = np.clip(gains, lowest, 1.0)
    if top is not None:
        last = bin_of(top, deepfilternet.RATE)
        gains[:, :, last:] = gains[:, :, last - _TOP_BINS : last].mean(axis=2, keepdims=True)
    return istft(stft(np.pad(audio, ((0, pad), (0, 0)))) * gains, frames + pad)[:frames]
