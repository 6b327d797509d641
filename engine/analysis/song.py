"""The damage report of one song: decoded once from end to end, in constant memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.analysis.cutoff import Cutoff, LongTermSpectrum, find_cutoff
from engine.analysis.damage import Damage, DamageMeter
from engine.audio.decode import open_decoder, read_facts
from engine.audio.loudness import SILENCE_DB, LoudnessMeter, TruePeakMeter, decibels
from engine.audio.mpeg import MpegFacts, believable_lowpass
from engine.audio.readers import Audio, Decoder, StreamInfo, is_number, with_numbers_only
from engine.errors import DecodeError, UnreadableError
from engine.text import duration

ANALYSIS_VERSION = 3  # goes up with every figure that is added or measured otherwise: songs are looked at again
#: Goes up when what stages go by (decoder, start, cutoff, levels) comes out otherwise: all results are made again.
DECISIVE_VERSION = 1
_TOLERANCE = 2400  # frames that a decoder may give more or fewer without being distrusted (two MP3 frames)
_CLIP_LEVEL = 0.985
_CLIP_RUN = 3
_LAST_BAND = (15800.0, 16600.0)  # Hz; around where it begins


@dataclass(frozen=True)
class SongAnalysis:
    """What was found. Levels in dBFS, dBTP and LUFS; ``frames`` at ``rate``, after trimming.

    ``decoder`` and ``start`` say how the song must be decoded again to get the same samples; ``clipped_runs``
    counts flat tops of three samples and more, ``overs`` samples beyond full scale.
    """

    container: str
    decoder: Decoder
    start: int
    rate: int
    channels: int
    frames: int
    exact_mono: bool
    cutoff: Cutoff
    peak: float
    true_peak: float
    loudness: float
    overs: int
    clipped_runs: int
    mpeg: MpegFacts | None
    warnings: tuple[str, ...]
    figures: Damage

    @property
    def duration(self) -> float:
        return self.frames / self.rate

    @property
    def damage(self) -> int:
        """How much was lost at a glance: 0 (next to nothing) to 4 (nearly all of the top, or a broken file)."""
        return min(4, lost_above(self.cutoff.hz or 22050.0) + (1 if self.clipped_runs > self.duration else 0))

    @property
    def ends_by_itself(self) -> bool:
        """Whether its encoder, by its own word, kept more than there was: of such songs 93 in 100 had nothing above in
        the original.

        Not told by an end near 16 kHz: there the last band of Layer III begins, which encoders often spare.
        """
        lame, hz, (low, high) = self.mpeg.lame if self.mpeg is not None else None, self.cutoff.hz or 0.0, _LAST_BAND
        if lame is None or self.cutoff.source != "measured" or low < hz < high:
            return False
        return 0 < hz < believable_lowpass(lame.lowpass, self.rate)

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return dataclasses.asdict(self)


def lost_above(cutoff: float) -> int:
    """How much a cutoff in Hz took away, 0 (next to nothing) to 4 (nearly all of the top)."""
    return sum(cutoff < limit for limit in (19500, 17200, 15500, 12000))


class _Measurement:
    """All meters over one stream of blocks."""

    def __init__(self, info: StreamInfo) -> None:
        self.frames = 0
        self.loudness = LoudnessMeter(info.rate, info.channels)
        self.true_peak = TruePeakMeter(info.rate, info.channels)
        self.spectrum = LongTermSpectrum(info.rate)
        self.damage = DamageMeter(info.rate, info.channels, info.frames)
        self.peak = 0.0
        self.mono = True
        self.overs = 0
        self.clipped_runs = 0
        self.broken = 0

    def process(self, block: Audio) -> None:
        self.broken += int((~is_number(block)).sum())
        block = with_numbers_only(block)
        self.frames += len(block)
        magnitude = np.abs(block)
        self.peak = max(self.peak, float(magnitude.max()))
        self.overs += int((magnitude > 1.0).sum())
        self.clipped_runs += _flat_tops(block, magnitude)
        self.mono = self.mono and bool((block == block[:, :1]).all())
        self.loudness.process(block)
        self.true_peak.process(block)
        self.spectrum.process(block)
        self.damage.process(block)


def _flat_tops(block: Audio, magnitude: Audio) -> int:
    """Runs of :data:`_CLIP_RUN` and more equal samples near full scale."""
    high = magnitude >= _CLIP_LEVEL
    if not high.any():
        return 0
    same = (block[1:] == block[:-1]) & high[1:]
    run = same[1:] & same[:-1]
    starts = run & ~np.concatenate([np.zeros((1, run.shape[1]), bool), run[:-1]])
    return int(starts.sum())


@dataclass
class _Attempt:
    info: StreamInfo
    measured: _Measurement
    error: str


def _attempt(path: Path, decoder: Decoder, start: int, checkpoint: Callable[[], None]) -> _Attempt:
    with open_decoder(path, decoder, start) as decoded:
        measured = _Measurement(decoded.info)
        for block in decoded.blocks:
            checkpoint()
            measured.process(block)
    return _Attempt(decoded.info, measured, decoded.error)


def analyze(path: Path, checkpoint: Callable[[], None] = lambda: None) -> SongAnalysis:
    """Decode and measure the song at ``path``; ``checkpoint`` is called with every block, and may raise.

    libsndfile decodes; where it fails or gives another number of frames than the file's own headers hold,
    FFmpeg is tried too, and what comes closer is taken, with a warning.

    Raises:
        DecodeError: there is no decodable audio in it; the message is one sentence for the user.
    """
    facts = read_facts(path)
    start = facts.start if facts is not None and facts.junk_before else 0
    expected = facts.frames if facts is not None else None
    attempts: dict[Decoder, _Attempt] = {}
    reasons: list[str] = []
    decoders: tuple[Decoder, ...] = ("libsndfile", "ffmpeg")
    for decoder in decoders:
        try:
            attempts[decoder] = _attempt(path, decoder, start, checkpoint)
        except UnreadableError:
            raise
        except DecodeError as error:
            reasons.append(str(error))
            continue
        if _is_whole(attempts[decoder], expected):
            break
    usable = {d: a for d, a in attempts.items() if a.measured.frames}
    if not usable:
        raise DecodeError(_explain_failure(path, facts, reasons))
    chosen = min(usable, key=lambda d: _shortfall(usable[d], expected))
    return _result(facts, chosen, start if chosen == "libsndfile" else 0, usable[chosen], expected)


def _is_whole(attempt: _Attempt, expected: int | None) -> bool:
    return not attempt.error and _shortfall(attempt, expected) <= (0 if expected is None else _TOLERANCE)


def _shortfall(attempt: _Attempt, expected: int | None) -> int:
    """How far the number of decoded frames is from what the headers (or else the decoder) promise."""
    if expected is None:
        promised = attempt.info.frames
        return abs(promised - attempt.measured.frames) if promised > 0 else 0
    return abs(expected - attempt.measured.frames)


def _explain_failure(path: Path, facts: MpegFacts | None, reasons: list[str]) -> str:
    if facts is None and path.suffix.lower() in (".mp3", ".mp2", ".mpga"):
        return "There is no MP3 audio in this file: it only has the name of one; remove it or get a new copy."
    detail = reasons[-1].rstrip(".") if reasons else "no audio came out of it"
    return f"No decoder can read this file ({detail}): get a new copy of it."


def _result(
    facts: MpegFacts | None, decoder: Decoder, start: int, attempt: _Attempt, expected: int | None
) -> SongAnalysis:
    measured, info = attempt.measured, attempt.info
    tag_lowpass = facts.lame.lowpass if facts is not None and facts.lame is not None else 0
    cutoff, doubt = find_cutoff(measured.spectrum, tag_lowpass)
    warnings = [*_damage(facts, decoder, attempt, expected), *([doubt] if doubt else [])]
    peak, true_peak = decibels(measured.peak), decibels(measured.true_peak.true_peak())
    if measured.peak == 0.0:
        warnings.append("The song is silent from end to end.")
    return SongAnalysis(
        container=info.kind,
        decoder=decoder,
        start=start,
        rate=info.rate,
        channels=info.channels,
        frames=measured.frames,
        exact_mono=measured.mono,
        cutoff=cutoff,
        peak=round(peak, 3),
        true_peak=round(max(peak, true_peak), 3),
        loudness=round(max(SILENCE_DB, measured.loudness.integrated()), 2),
        overs=measured.overs,
        clipped_runs=measured.clipped_runs,
        mpeg=facts,
        warnings=tuple(warnings),
        figures=measured.damage.result(cutoff.hz, measured.spectrum, measured.loudness),
    )


def _damage(facts: MpegFacts | None, decoder: Decoder, attempt: _Attempt, expected: int | None) -> list[str]:
    """One sentence for everything that is wrong with the file."""
    rate, got = attempt.info.rate, attempt.measured.frames
    found: list[str] = []
    if facts is not None:
        if facts.junk_before:
            found.append(f"{facts.junk_before} bytes of garbage stand before the first MP3 frame; they were skipped.")
        if facts.junk_inside:
            found.append(
                f"{facts.junk_inside} bytes of garbage lie between the MP3 frames; expect gaps or clicks there."
            )
        if facts.declared is not None and expected is not None and facts.declared > expected + _TOLERANCE:
            found.append(
                f"The file is cut off: it should be {duration(facts.declared / rate)} long, "
                f"{duration(expected / rate)} of it are there."
            )
        if facts.declared is not None and expected is not None and expected > facts.declared + _TOLERANCE:
            found.append(
                f"The file holds more ({duration(expected / rate)}) than its header says "
                f"({duration(facts.declared / rate)}): it was probably joined from several; all of it is used."
            )
    if decoder == "ffmpeg":
        found.append("libsndfile could not decode all of it, so FFmpeg did; the start may be a few milliseconds off.")
    if attempt.error or _shortfall(attempt, expected) > _TOLERANCE:
        missing = f" of {duration(expected / rate)}" if expected else ""
        found.append(f"The file is damaged: only {duration(got / rate)}{missing} could be decoded.")
    if attempt.measured.broken:
        found.append(f"{attempt.measured.broken} samples were not numbers; they were replaced.")
    return found
