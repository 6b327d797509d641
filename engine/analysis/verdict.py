"""What is worth doing for a song: restore it, and with what, or leave it alone.

A restorer can only guess, and what it adds to a good file is a risk without a gain. So a song is left alone where what
is missing is next to nothing that anybody hears: where it was encoded once, with bits enough, and ends at 18 kHz or
above (hearing thresholds above 16 kHz: Ashihara 2007, "Hearing thresholds for pure tones above 16 kHz", JASA 122; few
adults hear 18 kHz at any level of music), where it ends below what its encoder kept, with bits enough for so narrow a
band, or where it never was an MP3 and its end is no filter's.

What nobody can tell from an MP3 is whether there was anything above the cutoff of its encoder: a song whose recording
itself ends at 18 kHz looks, cut off at 17 by 128 kbit/s, like any other.

Where the listener made a self-test, that decides between restoring and leaving alone what was damaged by its encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.analysis.findings import generation, is_lossless
from engine.analysis.generations import Generation, kept_by
from engine.analysis.song import SongAnalysis
from engine.analysis.tried import Experience, SelfTest

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
    with the models that this machine has), and why, in one sentence, and another where a self-test tells something.

    ``is_of_bits``: whether it is left because it had bits enough, which experience may refute.
    """

    leave: bool
    recipe: str
    reason: str
    is_of_bits: bool = False

    @property
    def advice(self) -> str:
        """What to do, in a few words."""
        return "leave it alone" if self.leave else f"restore it (--recipe {self.recipe})"


def verdict_of(analysis: SongAnalysis, tried: SelfTest | None = None) -> Verdict:
    """What is worth doing for a song; ``tried`` is what the listener's own self-test found, where there is one."""
    verdict = _by_figures(analysis)
    found = tried.like(analysis) if tried is not None else None
    return _in_the_light_of(found, verdict) if found is not None and found.sentence else verdict


def _in_the_light_of(found: Experience, verdict: Verdict) -> Verdict:
    """What helped nothing and harmed is not worth it; what helped is, also where bits seemed enough."""
    if verdict.leave and found.helped and verdict.is_of_bits:
        return Verdict(False, "auto", found.sentence)
    if not verdict.leave and not found.helped:
        return Verdict(True, "", found.sentence)
    return verdict if verdict.leave else replace(verdict, reason=f"{verdict.reason} {found.sentence}")


def _by_figures(analysis: SongAnalysis) -> Verdict:
    if not analysis.frames or analysis.loudness < _SILENCE:
        is_short = analysis.frames and analysis.peak > _SILENCE
        return Verdict(True, "", f"{'It is too short to judge' if is_short else 'There is no sound in it to restore'}.")
    was, ends = generation(analysis), analysis.cutoff.hz
    if analysis.mpeg is None and was.kind != "was mp3" and is_lossless(analysis) and not analysis.figures.earlier:
        return _of_recording(analysis, "No trace of lossy coding was found: there is nothing to bring back.")
    if was.kind == "again":
        return Verdict(False, _recipe(ends), "It was made from another MP3, and has the damage of that one.")
    bits = _bits(analysis)
    if ends is not None and analysis.ends_by_itself:
        return _of_narrow(analysis, bits, ends)
    if _kept_more(analysis, was):
        return _of_recording(analysis, "Its encoder kept more than there was: it is good as it is.")
    if bits is not None and bits < _GOOD:
        where = f", and nothing is left above {_khz(ends)}" if ends is not None else ""
        return Verdict(False, _recipe(ends), f"{bits / 1000:.0f} kbit/s were too few for all that is heard{where}.")
    if ends is not None and ends < _HEARD:
        return Verdict(False, _recipe(ends), f"Nothing is left above {_khz(ends)}.")
    if analysis.figures.grid.first.depth > _TOO_COARSE:
        return Verdict(False, "offline", "Most of its quiet detail was set to zero, though its top is there.")
    why = f"hardly anybody hears what is missing above {_khz(ends)}" if ends is not None else "nothing was cut off"
    return Verdict(True, "", f"It is good as it is: bits enough, and {why}.", is_of_bits=analysis.mpeg is not None)


def _kept_more(analysis: SongAnalysis, was: Generation) -> bool:
    """Whether what is missing was missing before this song was encoded, once and well."""
    mpeg, ends = analysis.mpeg, analysis.cutoff
    kept = kept_by(mpeg) if mpeg is not None else None
    if kept is None or was.kind != "once" or ends.source == "lame tag" or analysis.figures.grid.first.depth > _FINE:
        return False
    return kept >= _HEARD and ends.hz is not None and ends.hz < kept


def _of_narrow(analysis: SongAnalysis, bits: int | None, ends: float) -> Verdict:
    """Of a song that ends, at ``ends`` Hz, below what its encoder kept: there is no top to bring back, and so narrow a
    band takes fewer bits."""
    where = f"It ends at {_khz(ends)}, below what its encoder kept"
    if bits is not None and bits < _GOOD * min(1.0, ends / _HEARD):
        return Verdict(False, "offline", f"{where}, but {bits / 1000:.0f} kbit/s were too few for what there is.")
    if analysis.figures.grid.first.depth > _TOO_COARSE:
        return Verdict(False, "offline", f"{where}, but most of its quiet detail was set to zero.")
    return Verdict(True, "", f"{where}: nothing was cut off that could be brought back.")


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
