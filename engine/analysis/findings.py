"""What the figures of a song mean, in words: one finding for each kind of damage, from fine to heavy.

Severities are limits on figures whose sources stand in the modules that measure them. Where a song never was an MP3,
as far as can be seen, gaps and swells in it are its own, and are told as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from engine.analysis import holes, stereo
from engine.analysis.generations import Generation, generation_of
from engine.analysis.song import SongAnalysis, lost_above

Severity = Literal["fine", "slight", "clear", "heavy"]
_LEVELS: tuple[Severity, ...] = ("fine", "slight", "clear", "heavy")

_SHELF = (6.0, 12.0, 20.0)  # dB
_HOLES = (0.03, 0.08, 0.15)  # share of the cells
_COARSE = (2.0, 6.0, 14.0)  # dB: about 256, 192 and 128 kbit/s of LAME
_PRE_ECHO = (6.0, 9.0, 13.0)  # dB
_FLICKER = (0.07, 0.12, 0.25)  # share of the moments
_MERGED = (0.25, 0.5, 0.8)  # share of the sound above 10 kHz
_PLR = 8.0  # LU, below which there is little left of the peaks
#: dB that Vorbis or AAC left from which on it was coarse: of Vorbis about quality 4 (128 kbit/s) and less.
COARSE_EARLIER = 0.3
_LOSSLESS = ("FLAC", "WAV", "WAVEX", "AIFF", "W64", "RF64", "CAF", "AU", "ALAC")
_GOOD, _FAIR, _POOR = 184_000, 144_000, 96_000  # bit/s
_NOT_TOLD = -100.0  # dB, LUFS: silence


@dataclass(frozen=True)
class Finding:
    """``topic`` in a word or two, the ``figure`` as text, how bad it is, and one plain ``sentence``."""

    topic: str
    figure: str
    severity: Severity
    sentence: str


def generation(analysis: SongAnalysis) -> Generation:
    """What a song was before, as far as its figures tell."""
    mpeg, found = analysis.mpeg, analysis.figures
    is_whole = (
        mpeg is None
        or (
            mpeg.frames is not None and not mpeg.junk_before and not mpeg.junk_inside
            and (mpeg.declared is None or mpeg.declared == mpeg.frames)
        )
    )  # fmt: skip
    return generation_of(mpeg, found.shape, found.grid, is_whole=is_whole)


def findings(analysis: SongAnalysis) -> list[Finding]:
    """All findings of a song, in the order in which they are shown; none for topics that do not apply to it."""
    was = generation(analysis)
    is_lossy = was.kind in ("once", "again", "was mp3") or analysis.mpeg is not None
    found = [look(analysis, was) for look in (_encoded, _history, _cutoff)]
    if analysis.loudness > _NOT_TOLD:
        found += [look(analysis, is_lossy) for look in (_holes, _coarseness, _pre_echo, _tails, _stereo)]
    found.append(_dynamics(analysis))
    return [one for one in found if one is not None]


def _level(figure: float, limits: Sequence[float]) -> Severity:
    return _LEVELS[sum(figure >= limit for limit in limits)]


def _khz(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz"


def _encoded(analysis: SongAnalysis, was: Generation) -> Finding | None:
    mpeg = analysis.mpeg
    if mpeg is None:
        return None
    encoder = mpeg.lame.encoder if mpeg.lame is not None else "unknown encoder"
    mode = mpeg.mode
    if mpeg.mode == "joint stereo" or mpeg.joint_share:
        mode += f" ({mpeg.mid_side_share:.0%} of frames mid/side)"
    figure = f"{encoder}, {mpeg.bitrate / 1000:.0f} kbit/s {mpeg.bitrate_mode}, {mode}"
    per_stereo = mpeg.bitrate * (2 if mpeg.channels == 1 else 1)
    severity = _LEVELS[sum(per_stereo < limit for limit in (_GOOD, _FAIR, _POOR))]
    sentence = {
        "fine": "Bits enough for nearly everything that is heard.",
        "slight": "Bits enough for most music.",
        "clear": "Too few bits for dense music: quiet detail was given up.",
        "heavy": "Far too few bits: much was given up.",
    }[severity]
    return Finding("encoded", figure, severity, sentence)


def _history(analysis: SongAnalysis, was: Generation) -> Finding | None:
    like = f"about {was.before} kbit/s" if was.before else "unknown bitrate"
    if was.kind == "again":
        return Finding(
            "history", f"encoded twice; before: {like}", "heavy",
            "It was made from another MP3: its bitrate promises more than there is.",
        )  # fmt: skip
    if was.kind == "was mp3":
        severity: Severity = "slight" if was.before >= 192 else "heavy"
        return Finding(
            "history", f"was an MP3 of {like}", severity,
            f"The file is {analysis.container.split()[0]}, but its sound was an MP3 before.",
        )  # fmt: skip
    earlier = analysis.figures.earlier
    if earlier and (analysis.mpeg is not None or is_lossless(analysis)):
        return Finding(
            "history", "was a Vorbis or AAC file", "heavy" if earlier >= COARSE_EARLIER else "clear",
            f"The file is {analysis.container.split()[0]}, but its sound was Vorbis or AAC before.",
        )  # fmt: skip
    if was.kind == "no mp3" and is_lossless(analysis):
        return Finding(
            "history", "no trace of MP3, Vorbis or AAC", "fine",
            "At this sample rate it was never an MP3, nor, as far as can be seen, Vorbis or AAC.",
        )  # fmt: skip
    return None


def is_lossless(analysis: SongAnalysis) -> bool:
    """Whether the file is of a kind that keeps every sample."""
    return analysis.container.partition(" ")[0].upper() in _LOSSLESS


def _cutoff(analysis: SongAnalysis, was: Generation) -> Finding:
    cutoff, shape = analysis.cutoff, analysis.figures.shape
    if cutoff.hz is None:
        return Finding("cutoff", "none", "fine", "The music goes up as far as the file can hold.")
    severity = _LEVELS[min(3, lost_above(cutoff.hz))]
    figure = f"{_khz(cutoff.hz)}, {cutoff.source}, sure to {cutoff.confidence:.0%}, falls {shape.drop:.0f} dB"
    if analysis.ends_by_itself or (was.kind == "no mp3" and cutoff.source == "measured"):
        steep = "abruptly, as lossy coding or a filter does it" if shape.drop >= 24 else "gently, as recordings do"
        return Finding("cutoff", figure, "slight" if severity != "fine" else "fine", f"The sound ends {steep}.")
    if shape.shelf >= _SHELF[0]:
        worse = max(severity, _level(shape.shelf, _SHELF), key=_LEVELS.index)
        return Finding(
            "cutoff", f"{figure}; a step of {shape.shelf:.0f} dB at 16 kHz", worse,
            "Above 16 kHz it is coarser than below (the encoder's last band), and it ends at the cutoff.",
        )  # fmt: skip
    sentence = {
        "fine": "Nobody hears what is missing above it.",
        "slight": "Few people hear what is missing above it.",
        "clear": "The air at the very top is missing.",
        "heavy": "The top is missing: it sounds dull.",
    }[severity]
    return Finding("cutoff", figure, severity, sentence)


def _holes(analysis: SongAnalysis, is_lossy: bool) -> Finding:
    found = analysis.figures.holes
    bands = zip(pairwise(holes.EDGES), found.by_band, strict=True)
    told = ", ".join(
        f"{low / 1000:.0f}-{high / 1000:.0f} kHz {share:.0%}" for (low, high), share in bands if share is not None
    )
    figure = f"{found.share:.1%}" + (f" ({told})" if told else "")
    if not is_lossy:
        return Finding("holes", figure, "fine", "Gaps in the spectrum, the music's own.")
    severity = _level(found.share, _HOLES)
    sentence = {
        "fine": "Next to no gaps in the spectrum below the cutoff.",
        "slight": "Some gaps in the spectrum below the cutoff.",
        "clear": "Gaps in the spectrum below the cutoff: it may sound watery.",
        "heavy": "The spectrum below the cutoff is full of gaps: it sounds watery.",
    }[severity]
    return Finding("holes", figure, severity, sentence)


def _coarseness(analysis: SongAnalysis, is_lossy: bool) -> Finding | None:
    depth = max(0.0, analysis.figures.grid.first.depth)
    if not is_lossy or not analysis.figures.grid.pieces:
        return None
    severity = _level(depth, _COARSE)
    sentence = {
        "fine": "Its lines were rounded finely: next to nothing of them was set to zero.",
        "slight": "The weakest lines were set to zero.",
        "clear": "Much of the quiet detail was set to zero.",
        "heavy": "Most of the quiet detail was set to zero.",
    }[severity]
    return Finding("rounding", f"lines lie {depth:.1f} dB lower in the encoder's own blocks", severity, sentence)


def _pre_echo(analysis: SongAnalysis, is_lossy: bool) -> Finding:
    found = analysis.figures.pre_echo
    if not found.rise and not found.share:
        return Finding("pre-echo", f"{found.attacks} attacks", "fine", "Too few sharp attacks to tell.")
    severity = _level(found.rise, _PRE_ECHO) if is_lossy else "fine"
    figure = f"rises by {found.rise:.1f} dB before {found.attacks} attacks"
    if severity == "fine":
        return Finding("pre-echo", figure, severity, "Right before attacks it is as quiet as the moment before.")
    return Finding("pre-echo", figure, severity, "Before attacks it hisses up: smeared by the encoder, or played so.")


def _tails(analysis: SongAnalysis, is_lossy: bool) -> Finding:
    found = analysis.figures
    figure = f"quietest moments {found.noise_floor:.0f} dBFS, {found.holes.in_tails:.1%} gaps in quiet moments"
    severity = _level(found.holes.in_tails, _HOLES) if is_lossy else "fine"
    if severity == "fine":
        return Finding("tails", figure, severity, "Quiet moments and tails are smooth.")
    return Finding("tails", figure, severity, "Quiet moments and tails are grainy: parts of them come and go.")


def _stereo(analysis: SongAnalysis, is_lossy: bool) -> Finding | None:
    found, mpeg = analysis.figures.stereo, analysis.mpeg
    if found is None:
        return None
    if analysis.exact_mono:
        return Finding("stereo", "both channels the same", "fine", "It is mono in two channels.")
    if found.width < stereo.NEAR_MONO:
        return Finding("stereo", f"sides {found.width:.0f} dB", "fine", "It is mono but for next to nothing.")
    widths = zip(pairwise(stereo.EDGES), found.by_band, strict=True)
    told = ", ".join(f"{low / 1000:g}-{high / 1000:g} kHz {width:.0f}" for (low, high), width in widths)
    figure = f"sides {found.width:.0f} dB ({told}), flicker {found.flicker:.1%}"
    if mpeg is not None and mpeg.switched_share:
        figure += f", joint stereo switched in {mpeg.switched_share:.0%} of the frames"
    if mpeg is not None and mpeg.intensity_share > 0.01:
        return Finding(
            "stereo", f"{figure}, intensity stereo in {mpeg.intensity_share:.0%} of the frames", "heavy",
            "The treble is one signal, panned: the room in it is gone.",
        )  # fmt: skip
    if not is_lossy:
        return Finding("stereo", figure, "fine", "The image is the recording's own.")
    severity = max(_level(found.flicker, _FLICKER), _level(found.merged, _MERGED), key=_LEVELS.index)
    sentence = {
        "fine": "The image is steady.",
        "slight": "The sides of the treble are missing now and then.",
        "clear": "The sides of the treble come and go: the image flickers.",
        "heavy": "Little is left of the sides of the treble: the image narrows and flickers.",
    }[severity]
    return Finding("stereo", figure, severity, sentence)


def _dynamics(analysis: SongAnalysis) -> Finding:
    if analysis.loudness <= _NOT_TOLD:
        return Finding("dynamics", f"peak {analysis.peak:.1f} dBFS", "fine", "There is no loudness to tell of.")
    plr = analysis.true_peak - analysis.loudness
    crest = analysis.peak - analysis.figures.rms
    parts = [
        f"loudness {analysis.loudness:.1f} LUFS", f"range {analysis.figures.loudness_range:.1f} LU",
        f"peak to loudness {plr:.1f} LU", f"crest {crest:.1f} dB", f"true peak {analysis.true_peak:+.1f} dBTP",
    ]  # fmt: skip
    if analysis.clipped_runs or analysis.overs:
        parts.append(f"{analysis.clipped_runs} flat tops, {analysis.overs} samples beyond full scale")
    severity, sentence = _clipping(analysis, plr)
    return Finding("dynamics", ", ".join(parts), severity, sentence)


def _clipping(analysis: SongAnalysis, plr: float) -> tuple[Severity, str]:
    if analysis.clipped_runs > analysis.duration:
        return "heavy", "It is clipped: peaks were cut flat all along."
    if analysis.clipped_runs:
        return "clear", "Some peaks were cut flat."
    if analysis.true_peak > 0:
        return "slight", "Peaks between the samples go beyond full scale: players may clip them."
    if plr < _PLR:
        return "slight", "It was mastered loud: little is left of its peaks, and no recipe brings them back."
    return "fine", "Nothing is clipped."
