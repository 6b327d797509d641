"""What is worth doing for a song: restore it, and with what, or leave it alone.

A restorer can only guess, and what it adds to a good file is a risk without a gain. So a song is left alone where what
is missing is next to nothing that anybody hears: where it was encoded once, with bits enough, and ends at 18 kHz or
above (hearing thresholds above 16 kHz: Ashihara 2007, "Hearing thresholds for pure tones above 16 kHz", JASA 122; few
adults hear 18 kHz at any level of music), or where it never was an MP3 and its end is no filter's.

What nobody can tell from an MP3 is whether there was anything above its cutoff: a song whose recording itself ends at
16 kHz looks, at 128 kbit/s, like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.analysis.findings import generation, is_lossless
from engine.analysis.generations import Generation, kept_by
from engine.analysis.song import SongAnalysis

_HEARD = 18000.0  # Hz up to which somebody hears that it is missing
_ENDS_EARLY = 15500.0  # Hz below which everybody hears that it is missing, and rules alone do little
_ABRUPTLY = 30.0  # dB by which a recording does not fall by itself there
_GOOD = 144_000  # bit/s of two channels below which rounding is heard, wherever it ends
_TOO_COARSE = 20.0  # dB of rounding depth
_FINE = 10.0  # dB of rounding depth of the best qualities
_SILENCE = -100.0  # LUFS


@dataclass(frozen=True)
class Verdict:
    """Whether to ``leave`` a song alone, the ``recipe`` that is worth it otherwise (``offline``, or ``auto``: the one
    with the models that this machine has), and why, in one sentence."""

    leave: bool
    recipe: str
    reason: str

    @property
    def advice(self) -> str:
        """What to do, in a few words."""
        return "leave it alone" if self.leave else f"restore it (--recipe {self.recipe})"


def verdict_of(analysis: SongAnalysis) -> Verdict:
    """What is worth doing for a song."""
    if not analysis.frames or analysis.loudness < _SILENCE:
        return Verdict(True, "", "There is no sound in it to restore.")
    was, ends = generation(analysis), analysis.cutoff.hz
    if analysis.mpeg is None and was.kind != "was mp3" and is_lossless(analysis) and not analysis.figures.earlier:
        return _of_recording(analysis, "No trace of lossy coding was found: there is nothing to bring back.")
    if was.kind == "again":
        return Verdict(False, _recipe(ends), "It was made from another MP3, and has the damage of that one.")
    if _kept_more(analysis, was):
        return _of_recording(analysis, "Its encoder kept more than there was: it is good as it is.")
    bits = _bits(analysis)
    if bits is not None and bits < _GOOD:
        where = f", and nothing is left above {_khz(ends)}" if ends is not None else ""
        return Verdict(False, _recipe(ends), f"{bits / 1000:.0f} kbit/s were too few for all that is heard{where}.")
    if ends is not None and ends < _HEARD:
        return Verdict(False, _recipe(ends), f"Nothing is left above {_khz(ends)}.")
    if analysis.figures.grid.first.depth > _TOO_COARSE:
        return Verdict(False, "offline", "Most of its quiet detail was set to zero, though its top is there.")
    why = f"hardly anybody hears what is missing above {_khz(ends)}" if ends is not None else "nothing was cut off"
    return Verdict(True, "", f"It is good as it is: bits enough, and {why}.")


def _kept_more(analysis: SongAnalysis, was: Generation) -> bool:
    """Whether what is missing was missing before this song was encoded, once and well."""
    mpeg, ends = analysis.mpeg, analysis.cutoff
    kept = kept_by(mpeg) if mpeg is not None else None
    if kept is None or was.kind != "once" or ends.source == "lame tag" or analysis.figures.grid.first.depth > _FINE:
        return False
    return kept >= _HEARD


def _of_recording(analysis: SongAnalysis, good: str) -> Verdict:
    """Of a song that no encoder that is known of cut off."""
    ends = analysis.cutoff.hz
    if ends is not None and ends < _ENDS_EARLY and analysis.figures.shape.drop >= _ABRUPTLY:
        return Verdict(False, _recipe(ends), f"It ends abruptly at {_khz(ends)}, as if it had been coded or filtered.")
    return Verdict(True, "", good)


def _bits(analysis: SongAnalysis) -> int | None:
    """Bit/s, of a mono song twice what it has; None where they tell nothing: VBR takes as many as it needs."""
    mpeg = analysis.mpeg
    if mpeg is None or not mpeg.bitrate or mpeg.bitrate_mode == "VBR":
        return None
    return mpeg.bitrate * (2 if mpeg.channels == 1 else 1)


def _recipe(ends: float | None) -> str:
    return "auto" if ends is not None and ends < _ENDS_EARLY else "offline"


def _khz(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz"
