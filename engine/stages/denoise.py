"""Denoise: DeepFilterNet3 on the full mix. It was trained on speech and can take music for noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.audio.resample import fit, resample
from engine.models import deepfilternet
from engine.stages.base import ChunkedStage, Context, Params, Processor, Signal, parameter

# In seconds, so that chunks begin on whole samples at 44.1 and 48 kHz alike.
_SIZE, _OVERLAP, _PRE_ROLL = 20, 1, 3
_MASK_SMOOTH = 1e-9


@dataclass(frozen=True)
class DenoiseParams(Params):
    attenuation_limit_db: float = parameter(
        12.0,
        "the most that anything is turned down; higher removes more, music too",
        unit="dB",
        low=1.0,
        high=100.0,
    )


class Denoise(ChunkedStage):
    """DeepFilterNet3, a fresh state and a fixed pre-roll for every chunk, the same gains for all channels."""

    name = "denoise"
    title = "DeepFilterNet denoiser"
    cost = 0.22
    Parameters = DenoiseParams

    def unavailable_reason(self, params: DenoiseParams) -> str:
        return deepfilternet.unavailable_reason()

    def fingerprint(self, params: DenoiseParams) -> dict[str, str]:
        return {"model": deepfilternet.fingerprint()}

    def note(self, context: Context, params: DenoiseParams) -> str:
        return "denoised by a speech-trained model, risky on music"

    def geometry(self, signal: Signal) -> ChunkGeometry:
        rate = signal.rate
        return ChunkGeometry(_SIZE * rate, _OVERLAP * rate, _PRE_ROLL * rate)

    def prepare(self, context: Context, params: DenoiseParams) -> Processor:
        rate = context.input.rate

        def process(window: Audio, start: int) -> Audio:
            at_model_rate = resample(window, rate, deepfilternet.RATE)
            clean = _linked(at_model_rate, params.attenuation_limit_db)
            back = resample(clean, deepfilternet.RATE, rate)
            context_frames = _PRE_ROLL * rate
            return fit(back, len(window))[context_frames : len(window) - context_frames]

        return process


def _linked(audio: Audio, limit: float) -> Audio:
    """All channels through the model with one decision: that for their mid.

    The library's masks of two channels differ, which makes the image wander. So the model hears the mid alone,
    and what it did to it, as gains per time and frequency, is done to every channel.
    """
    mid = np.ascontiguousarray(audio.mean(axis=1))
    with deepfilternet.DeepFilterNet(limit) as model:
        clean = model.process(mid)
    if audio.shape[1] == 1:
        return clean[:, None]
    return _apply_gains(audio, mid, clean, 10 ** (-limit / 20))


def _apply_gains(audio: Audio, mid: Audio, clean: Audio, lowest: float) -> Audio:
    from engine.dsp.spectrum import HOP, istft, power, stft

    frames = len(audio)
    pad = -frames % HOP
    before = stft(np.pad(mid, (0, pad))[:, None])
    after = stft(np.pad(clean, (0, pad))[:, None])
    gains = np.sqrt((power(after) + _MASK_SMOOTH) / (power(before) + _MASK_SMOOTH))
    gains = np.clip(gains, lowest, 1.0)
    return istft(stft(np.pad(audio, ((0, pad), (0, 0)))) * gains, frames + pad)[:frames]
