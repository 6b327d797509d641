"""Candidates on the transport: their tracks, their stems, and what they measure together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.audio.readers import Audio
from engine.dsp.mix import Strip, channel_gains, in_the_mix
from engine.player.levels import LevelMeter, Levels
from engine.player.tracks import Candidate, Track

_SUM_BLOCK = 1 << 16
_MOST_PLACES = 4000  # of 10 ms that are looked at for the highest peak


@dataclass
class Stem:
    """How a stem of a candidate is to be heard: as ``strip`` says, and as it was made or, ``enhanced``, as treated."""

    name: str
    strip: Strip = field(default_factory=Strip)
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

    def track_of(self, place: int) -> Track:
        """The track that the stem at ``place`` is heard by."""
        enhanced = self.enhanced[place]
        wanted = self.stems[place].enhanced and enhanced is not None and enhanced.complete
        return enhanced if wanted and enhanced is not None else self.plain[place]

    def heard(self) -> list[tuple[Track, tuple[float, float]]]:
        """The tracks that are heard, each with its factors for left and right as its stem is set."""
        if len(self.plain) == 1:
            return [(self.plain[0], (1.0, 1.0))]
        mix = {stem.name: stem.strip for stem in self.stems}
        found = []
        for place, stem in enumerate(self.stems):
            if in_the_mix(mix, stem.name):
                track = self.track_of(place)
                found.append((track, channel_gains(stem.strip.db, 0.0 if track.mono else stem.strip.pan)))
        return found

    def peak(self, limit: float) -> float:
        """The largest sample of all that is heard together, 1.0 being full scale; ``limit`` where it is not above it.

        Only the places are looked at where the tracks' own peaks, added, are above it: those are few.
        """
        heard = [(track, np.array(gains, np.float32)) for track, gains in self.heard() if not track.error]
        levels = [(track.levels, gains) for track, gains in heard if track.levels is not None]
        if len(levels) < len(heard) or not heard:
            return limit
        bound = np.zeros(max(len(level.peak) for level, _ in levels))
        for level, gains in levels:
            bound[: len(level.peak)] += level.peak * gains.max()
        loud = np.flatnonzero(bound > limit)
        loud = loud[np.argsort(-bound[loud])]
        hop, highest = levels[0][0].hop, limit
        samples = [(track.samples(), gains) for track, gains in heard]
        for count, place in enumerate(loud):
            if bound[place] <= highest or count == _MOST_PLACES:
                return max(highest, float(bound[place]) if count == _MOST_PLACES else 0.0)
            here = slice(place * hop, (place + 1) * hop)
            highest = max(highest, float(np.abs(_sum([part[here] * gains for part, gains in samples])).max()))
        return highest

    def samples(self, start: int, stop: int) -> Audio:
        """Frames without any gain, float32 ``(frames, 2)``; stems are summed."""
        return _sum([t.samples()[start:stop] for t in self.plain])

    def measure_sum(self, rate: int) -> None:
        """Measure all parts together, once they are complete; one that cannot be read is left out."""
        settled = all(t.complete or t.error for t in self.plain)
        if len(self.plain) == 1 or self.sum_levels is not None or not settled or not any(t.ready for t in self.plain):
            return
        meter = LevelMeter(rate)
        parts = [t.samples() for t in self.plain]
        for start in range(0, max(map(len, parts)), _SUM_BLOCK):
            meter.process(_sum([p[start : start + _SUM_BLOCK] for p in parts]))
        self.sum_levels = meter.result()


def _sum(pieces: list[Audio]) -> Audio:
    out = np.zeros((max((len(p) for p in pieces), default=0), 2), np.float32)
    for piece in pieces:
        out[: len(piece)] += piece
    return out
