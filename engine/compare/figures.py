"""The figures by which a variant is compared with its song, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass, fields

OCTAVES = (63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz in the middle of each; the last ends at 22.6 kHz


@dataclass(frozen=True)
class Reference:
    """How far a variant is from the lossless original.

    Attributes:
        lsd: log-spectral distance in bels over the whole band (:func:`engine.compare.metrics.log_spectral_distance`;
            two noises of the same spectrum differ by 0.79); ``lsd_below`` and ``lsd_above`` the song's cutoff (None:
            nothing was cut off).
        si_sdr: scale-invariant signal-to-distortion ratio in dB (Le Roux et al., ICASSP 2019).
        octaves: level in each of :data:`OCTAVES` against the original's, dB, as if both were equally loud;
            None where both are silent.
        visqol: MOS-LQO from 1 to 5 of ten seconds in the middle (ViSQOL v3, Chinen et al., QoMEX 2020), where the
            package visqol-python is installed.
    """

    lsd: float | None
    lsd_below: float | None
    lsd_above: float | None
    si_sdr: float | None
    octaves: tuple[float | None, ...]
    visqol: float | None = None


@dataclass(frozen=True)
class Figures:
    """One variant (or the plain decode itself) against the plain decode; None where a figure does not apply.

    Attributes:
        loudness: integrated, LUFS (ITU-R BS.1770-4).
        true_peak: dBTP (BS.1770-4, Annex 2).
        plr: peak to loudness ratio, LU (AES TD1004.1.15-10).
        lra: loudness range, LU (EBU Tech 3342).
        width: power of side against mid, dB; None but for two channels.
        gain: dB by which it is louder than the plain decode as a whole, told where both hold the same music (below the
            cutoff; :func:`engine.compare.metrics.common_gain`); None: they share nothing.
        octaves: level in each of :data:`OCTAVES` against the plain decode's, dB, without that gain; None where both
            are silent.
        residual: what is left below the cutoff (less 1 kHz for the crossover) when the plain decode, with that gain,
            is taken away; dB against what is there. A null test: a stage that only adds stays below -60 dB.
        above: power above the cutoff against the whole, dB.
        generated: share (0 to 1) of the power above the cutoff that does not come from the plain decode.
        attacks: attacks of the plain decode, in excerpts, before which pre-echo was looked for.
        pre_echo: dB (median) by which the last 15 ms before them stand above the time before (:mod:`.pre_echo` of
            :mod:`engine.analysis`); None for fewer than eight attacks.
        holes: share (0 to 1) of the time-frequency cells from 1 kHz to the cutoff that are holes in the plain decode.
        holes_filled: share (0 to 1) of those that are none in the variant; None where there are next to none.
        clicks: isolated jumps per minute that the plain decode does not have: what a bad seam sounds like.
        level_steps: sudden, lasting steps per minute of the band above the cutoff against the band below it. Music has
            such steps too: a hint that is worth listening to, no proof.
    """

    loudness: float | None
    true_peak: float | None
    plr: float | None
    lra: float
    width: float | None
    gain: float | None
    octaves: tuple[float | None, ...]
    residual: float | None
    above: float | None
    generated: float | None
    attacks: int
    pre_echo: float | None
    holes: float | None
    holes_filled: float | None
    clicks: float
    level_steps: float | None
    reference: Reference | None = None


@dataclass(frozen=True)
class Column:
    """A figure as it is shown: its ``name`` in :class:`Figures` (``reference.…`` in :class:`Reference`), ``title``,
    ``unit``, ``digits`` behind the point, and in one sentence what it tells. ``scale``: what it is multiplied by."""

    name: str
    title: str
    unit: str
    digits: int
    tells: str
    scale: float = 1.0

    def of(self, figures: Figures) -> float | None:
        """The figure as it is shown."""
        outer, _, inner = self.name.partition(".")
        value = getattr(figures, outer)
        if inner:
            value = getattr(value, inner) if value is not None else None
        return round(value * self.scale, self.digits) if value is not None else None


COLUMNS = (
    Column("loudness", "loudness", "LUFS", 1, "How loud it is as a whole. The players here are matched by it."),
    Column("true_peak", "true peak", "dBTP", 1, "The highest peak between samples; above 0 some converters clip."),
    Column("plr", "peak to loudness", "LU", 1, "Small: squeezed. It should not shrink, but for a master."),
    Column("lra", "loudness range", "LU", 1, "How far quiet and loud passages lie apart."),
    Column("width", "width", "dB", 1, "Side against mid; 0 is as much side as mid."),
    Column("residual", "changed below", "dB", 1, "What differs from the plain decode below the cutoff. Below -60: "
           "nothing that is heard; near 0: made anew."),
    Column("above", "above cutoff", "dB", 1, "How much of its power lies above the cutoff."),
    Column("generated", "generated", "%", 0, "How much of that does not come from the MP3: invented, not recovered.",
           100.0),
    Column("pre_echo", "pre-echo", "dB", 1, "How far the moment before attacks stands out; lower is cleaner."),
    Column("holes_filled", "holes filled", "%", 0, "How many of the spectral holes below the cutoff are none now.",
           100.0),
    Column("clicks", "clicks", "/min", 1, "Jumps that the plain decode does not have."),
    Column("level_steps", "level steps", "/min", 1, "Sudden steps of the band above the cutoff; music has some, too."),
    Column("reference.lsd", "LSD", "B", 2, "Log-spectral distance to the original; two equal noises differ by 0.79."),
    Column("reference.lsd_below", "LSD below", "B", 2, "The same below the cutoff."),
    Column("reference.lsd_above", "LSD above", "B", 2, "The same above the cutoff."),
    Column("reference.si_sdr", "SI-SDR", "dB", 1, "How much of the original's waveform it has; higher is closer."),
    Column("reference.visqol", "ViSQOL", "MOS", 2, "A model of what listeners would say, 1 to 5."),
)  # fmt: skip

NAMES = tuple(field.name for field in fields(Figures))
