"""Levels of a track over time, measured once while it is loaded: for matching, meters and the waveform.

Everything that is shown or matched later is a sum over hops of 10 ms, so that the loudness of any looped region
is known at once and the meters cost nothing while music plays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.audio.loudness import SILENCE_DB, KWeighting, decibels, gated_loudness
from engine.audio.readers import Audio
from engine.dsp.channels import loudest, summed

HOPS_PER_SECOND = 100
_BLOCK = 40  # hops in a 400 ms block of BS.1770
_STEP = 10  # hops between blocks
_SHORT_TERM = 300
_SILENT = -70.0  # LUFS: the absolute gate
_FALL = 30  # hops that a peak stays on the meter

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Per hop of ``hop`` frames: ``power`` (K-weighted mean square, channels summed), ``peak`` (largest
    absolute sample), and the mean products ``ll``, ``rr``, ``lr`` of left and right."""

    hop: int
    frames: int
    power: Series
    peak: Series
    ll: Series
    rr: Series
    lr: Series

    def _hops(self, start: int, stop: int) -> slice:
        return slice(max(0, round(start / self.hop)), max(0, round(stop / self.hop)))

    def loudness(self, start: int = 0, stop: int | None = None) -> float:
        """Integrated loudness of a region in LUFS, gated by BS.1770-4; shorter ones than 400 ms are widened."""
        region = self._hops(start, self.frames if stop is None else stop)
        if region.stop - region.start < _BLOCK:
            middle = (region.start + region.stop) // 2
            region = slice(max(0, middle - _BLOCK // 2), max(0, middle - _BLOCK // 2) + _BLOCK)
        power = self.power[region]
        steps = len(power) // _STEP
        return gated_loudness(power[: steps * _STEP].reshape(steps, _STEP).mean(axis=1))

    def peak_of(self, start: int = 0, stop: int | None = None) -> float:
        """Largest absolute sample of a region (1.0 is full scale)."""
        region = self.peak[self._hops(start, self.frames if stop is None else stop)]
        return float(region.max()) if len(region) else 0.0

    def momentary(self, frame: int) -> float:
        """LUFS over the 400 ms before ``frame`` (EBU Tech 3341)."""
        return self._ungated(frame, _BLOCK)

    def short_term(self, frame: int) -> float:
        """LUFS over the 3 s before ``frame`` (EBU Tech 3341)."""
        return self._ungated(frame, _SHORT_TERM)

    def _ungated(self, frame: int, hops: int) -> float:
        end = self._hops(0, frame).stop
        power = float(self.power[max(0, end - hops) : end].sum()) / hops
        return -0.691 + 10 * float(np.log10(power)) if power > 1e-10 else SILENCE_DB

    def recent_peak(self, frame: int) -> float:
        """The peak of the last 300 ms in dBFS."""
        end = self._hops(0, frame).stop
        region = self.peak[max(0, end - _FALL) : end]
        return decibels(float(region.max())) if len(region) else SILENCE_DB

    def stereo(self, frame: int) -> tuple[float, float]:
        """(correlation of left and right, -1 to 1; width: side over mid and side in power, 0 to 1) of 400 ms."""
        end = self._hops(0, frame).stop
        region = slice(max(0, end - _BLOCK), end)
        ll, rr, lr = (float(v[region].sum()) for v in (self.ll, self.rr, self.lr))
        if ll + rr <= 1e-9:
            return 1.0, 0.0
        correlation = lr / max(1e-12, float(np.sqrt(ll * rr))) if ll > 0 and rr > 0 else 0.0
        mid, side = (ll + rr + 2 * lr) / 2, (ll + rr - 2 * lr) / 2
        return max(-1.0, min(1.0, correlation)), max(0.0, min(1.0, side / (mid + side)))

    def overview(self, start: int, stop: int, columns: int) -> tuple[Series, Series]:
        """(peak, RMS) of ``columns`` equal parts of a region, for a waveform; 1.0 is full scale."""
        edges = np.linspace(start / self.hop, stop / self.hop, columns + 1)
        first = np.clip(np.floor(edges[:-1]).astype(int), 0, max(0, len(self.peak) - 1))
        if not len(self.peak):
            return np.zeros(columns), np.zeros(columns)
        mean = (self.ll + self.rr) / 2
        total = np.concatenate([[0.0], np.cumsum(mean)])
        last = np.clip(np.maximum(np.ceil(edges[1:]).astype(int), first + 1), 0, len(mean))
        rms = np.sqrt(np.maximum(0.0, (total[last] - total[first]) / np.maximum(1, last - first)))
        peak = np.maximum.reduceat(self.peak, first)
        beyond = edges[:-1] >= len(self.peak)
        return np.where(beyond, 0.0, peak), np.where(beyond, 0.0, rms)


class LevelMeter:
    """Measures :class:`Levels` from a stream of blocks, float32 ``(frames, 2)``."""

    def __init__(self, rate: int) -> None:
        self._weighting = KWeighting(rate, 2)
        self._hop = round(rate / HOPS_PER_SECOND)
        self._rest = np.zeros((0, 2), np.float32)
        self._frames = 0
        self._rows: list[npt.NDArray[np.float64]] = []

    def process(self, block: Audio) -> None:
        """Take the next block."""
        self._frames += len(block)
        block = np.concatenate([self._rest, block])
        whole = len(block) // self._hop * self._hop
        self._rest = block[whole:]
        if whole:
            self._measure(block[:whole])

    def _measure(self, block: Audio) -> None:
        weighted = self._weighting.process(block)
        shape = (-1, self._hop)
        left, right = block[:, 0].astype(np.float64), block[:, 1].astype(np.float64)
        self._rows.append(
            np.stack(
                [
                    summed(weighted * weighted).reshape(shape).mean(axis=1),
                    loudest(block).reshape(shape).max(axis=1),
                    (left * left).reshape(shape).mean(axis=1),
                    (right * right).reshape(shape).mean(axis=1),
                    (left * right).reshape(shape).mean(axis=1),
                ]
            )
        )

    def result(self) -> Levels:
        """What was measured; the last part of a hop counts as one filled up with silence. Ends the measurement."""
        if len(self._rest):
            self._measure(np.concatenate([self._rest, np.zeros((self._hop - len(self._rest), 2), np.float32)]))
        table = np.concatenate(self._rows, axis=1) if self._rows else np.zeros((5, 0))
        return Levels(self._hop, self._frames, *table)


def matched_gains(
    levels: dict[str, Levels], region: tuple[int, int] | None = None, *, match: bool = True
) -> dict[str, float]:
    """Gains in dB that make all tracks equally loud in ``region`` (None: the whole), never above full scale.

    They meet at the median of their loudness, or below it: so far down that no peak of any of them clips. One
    track is never turned down alone. A silent track is left as it is. Without ``match`` only the attenuation is
    given that all need alike (decoders overshoot full scale).
    """
    if not levels:
        return {}
    start, stop = region if region is not None else (0, None)
    loudness = {key: value.loudness(start, stop) for key, value in levels.items()}
    audible = [value for value in loudness.values() if value > _SILENT]
    target = float(np.median(audible)) if audible and match else None
    gains = {key: target - value if target is not None and value > _SILENT else 0.0 for key, value in loudness.items()}
    highest = max(decibels(levels[key].peak_of()) + gain for key, gain in gains.items())
    return {key: gain - max(0.0, highest) for key, gain in gains.items()}
