"""EQ: tilt, low shelf and presence, and the long-term spectrum of a reference track, in one linear-phase filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.analysis.cutoff import LongTermSpectrum, find_cutoff
from engine.audio.decode import file_hash, open_decoder
from engine.audio.readers import Audio, with_numbers_only
from engine.dsp import equaliser
from engine.dsp.equaliser import Curve
from engine.dsp.filters import apply_fir
from engine.errors import DecodeError, NotPossibleError
from engine.files import absolute
from engine.stages.base import Context, Params, Rendered, Signal, Stage, parameter, passed, watched_blocks
from engine.stages.named_files import content_of
from engine.text import printable

_HELD = 0.94  # of a cutoff: below it a spectrum can be compared


@dataclass(frozen=True)
class EqParams(Params):
    tilt_db: float = parameter(
        0.0, "tilt of the spectrum around 1 kHz; positive is brighter", unit="dB per octave", low=-1.0, high=1.0
    )
    low_shelf_db: float = parameter(0.0, "level of the bass", unit="dB", low=-6.0, high=6.0)
    low_shelf_hz: float = parameter(100.0, "where half of it is reached", unit="Hz", low=30.0, high=500.0)
    presence_db: float = parameter(
        0.0, "level of the band that brings voices and attacks forward", unit="dB", low=-6.0, high=6.0
    )
    presence_hz: float = parameter(4000.0, "the middle of that band", unit="Hz", low=1500.0, high=8000.0)
    reference: str = parameter("", "path of a track whose balance is taken over, as lossless as can be; empty: none")
    match: float = parameter(1.0, "how much of the difference to the reference is made up for", low=0.0, high=1.0)
    match_limit_db: float = parameter(6.0, "most that a band is changed for it", unit="dB", low=0.5, high=6.0)

    @property
    def is_flat(self) -> bool:
        """Whether nothing is to be changed."""
        return not (self.tilt_db or self.low_shelf_db or self.presence_db or self.matches)

    @property
    def matches(self) -> bool:
        """Whether the song's spectrum is brought to another one's."""
        return bool(self.reference and self.match)


class Eq(Stage):
    """All in one filter of some 0.4 s, its delay taken out; what is flat passes bit by bit."""

    name = "eq"
    title = "EQ"
    cost = 0.01
    Parameters = EqParams

    def fingerprint(self, params: EqParams) -> dict[str, str]:
        """The reference by its bytes. Raises NotPossibleError where it cannot be read."""
        return {"reference": _hash_of(params.reference)} if params.matches else {}

    def cost_of(self, params: EqParams, device: str) -> float:
        return super().cost_of(params, device) * (1.4 if params.matches else 1)

    def run(self, context: Context, params: EqParams) -> Rendered:
        signal = context.input
        if params.is_flat:
            return passed(signal, "spectrum left as it is")
        frequencies = equaliser.grid(signal.rate)
        curve = (
            equaliser.tilted(frequencies, params.tilt_db)
            + equaliser.low_shelf(frequencies, params.low_shelf_db, params.low_shelf_hz)
            + equaliser.bell(frequencies, params.presence_db, params.presence_hz)
        )
        if params.matches:
            curve = curve + equaliser.between(frequencies, _difference(context, signal, params))
        taps = equaliser.fir(equaliser.amplitude(curve))
        start = 0.5 if params.matches else 0.0

        def blocks() -> Iterator[Audio]:
            return apply_fir(watched_blocks(context, signal, start, 1.0), taps)

        return Rendered(signal.rate, signal.channels, signal.frames, blocks, note=_note(params))


def _note(params: EqParams) -> str:
    parts = [
        f"{what} {value:+g} {unit}"
        for what, value, unit in (
            ("tilt", params.tilt_db, "dB per octave"), ("bass", params.low_shelf_db, "dB"),
            ("presence", params.presence_db, "dB"),
        )
        if value
    ]  # fmt: skip
    matched = ["balance of another track"] if params.matches else []
    return f"equalised: {', '.join([*parts, *matched])}"


def _difference(context: Context, signal: Signal, params: EqParams) -> tuple[Curve, Curve]:
    """(Hz, dB) from the song to its reference, as much of it as is wanted."""
    path = absolute(params.reference)
    try:
        reference, top = _spectrum_of(path, _hash_of(params.reference))
    except DecodeError as error:
        raise NotPossibleError(_unreadable(path, error)) from error
    own = LongTermSpectrum(signal.rate)
    for block in watched_blocks(context, signal, 0.0, 0.5):
        own.process(block)
    tops = [top, signal.rate / 2, *([context.cutoff] if context.cutoff is not None else [])]
    at, decibels = equaliser.matching(own.decibels(), reference, _HELD * min(tops), params.match_limit_db)
    return at, params.match * decibels


# --- the reference ----------------------------------------------------------------------------------------


def _hash_of(reference: str) -> str:
    """SHA-256 of the reference's bytes. Raises NotPossibleError."""
    missing = f"The reference track {printable(reference)} is not there: give another one (reference), or none."
    try:
        return content_of(reference, file_hash, missing)
    except DecodeError as error:
        raise NotPossibleError(_unreadable(absolute(reference), error)) from error


def _unreadable(path: Path, error: DecodeError) -> str:
    reason = str(error).rstrip(".")
    return f"The reference track {printable(str(path))} cannot be read ({reason}): give another one (reference)."


@lru_cache(8)
def _spectrum_of(path: Path, digest: str) -> tuple[tuple[Curve, Curve], float]:
    """The long-term spectrum of the track with that hash, and Hz up to which it is whole.

    Read in the process that reads songs: what crashes there costs the song that asked. Raises DecodeError.
    """
    with open_decoder(path) as decoded:
        spectrum = LongTermSpectrum(decoded.info.rate)
        count = 0
        for block in decoded.blocks:
            spectrum.process(with_numbers_only(block))
            count += len(block)
    if decoded.error or not count:
        raise DecodeError(decoded.error or "no audio came out of it")
    frequencies, level = spectrum.decibels()
    if not np.isfinite(level).all() or level.max() <= level.min():
        raise DecodeError("it is silent, or too short")
    cutoff = find_cutoff(spectrum, 0)[0].hz
    return (frequencies, level), cutoff or decoded.info.rate / 2
