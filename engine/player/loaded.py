"""Candidates on the transport: their tracks, their stems, and what they measure together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.audio.readers import Audio
from engine.player.levels import LevelMeter, Levels
from engine.player.tracks import Candidate, Track

_SUM_BLOCK = 1 << 16


@dataclass
class Stem:
    """How a stem of the candidate in play is to be heard."""

    name: str
    muted: bool = False
    solo: bool = False
    enhanced: bool = False
    can_be_enhanced: bool = False


@dataclass
class Loaded:
    """A candidate on the transport: a track per part, and one per enhanced part."""

    candidate: Candidate
    plain: list[Track] = field(default_factory=list)
    enhanced: list[Track | None] = field(default_factory=list)
    stems: list[Stem] = field(default_factory=list)
    sum_levels: Levels | None = None

    @property
    def levels(self) -> Levels | None:
        """What was measured of all that is heard; None while it loads."""
        return self.plain[0].levels if len(self.plain) == 1 else self.sum_levels

    @property
    def error(self) -> str:
        """Why it cannot be heard; empty where it can."""
        return next((t.error for t in self.plain if t.error), "")

    @property
    def progress(self) -> float:
        """How much is loaded, 0 to 1."""
        tracks = self.tracks()
        return sum(t.complete or bool(t.error) for t in tracks) / len(tracks) if tracks else 0.0

    def tracks(self) -> list[Track]:
        """All tracks, plain and enhanced."""
        return [*self.plain, *(t for t in self.enhanced if t is not None)]

    def heard(self) -> list[Track]:
        """The tracks that its stems are set to, where it has any."""
        if len(self.plain) == 1:
            return self.plain
        any_solo = any(s.solo for s in self.stems)
        return [
            enhanced if stem.enhanced and enhanced is not None and enhanced.complete else plain
            for stem, plain, enhanced in zip(self.stems, self.plain, self.enhanced, strict=True)
            if (stem.solo or not any_solo) and not stem.muted
        ]

    def samples(self, start: int, stop: int) -> Audio:
        """Frames without any gain, float32 ``(frames, 2)``; stems are summed."""
        return _sum([t.samples()[start:stop] for t in self.plain])

    def measure_sum(self, rate: int) -> None:
        """Measure all parts together, once they are complete."""
        if len(self.plain) == 1 or self.sum_levels is not None or not all(t.complete for t in self.plain):
            return
        meter = LevelMeter(rate)
        parts = [t.samples() for t in self.plain]
        for start in range(0, max(len(p) for p in parts), _SUM_BLOCK):
            meter.process(_sum([p[start : start + _SUM_BLOCK] for p in parts]))
        self.sum_levels = meter.result()


def _sum(pieces: list[Audio]) -> Audio:
    out = np.zeros((max((len(p) for p in pieces), default=0), 2), np.float32)
    for piece in pieces:
        out[: len(piece)] += piece
    return out
