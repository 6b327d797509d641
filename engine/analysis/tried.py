"""What a self-test on the listener's own music found (``mp3restore selftest``), and what it says of a song."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from engine import __version__
from engine.analysis.findings import generation
from engine.analysis.song import SongAnalysis
from engine.files import read_json, write_json
from engine.plain_data import as_kind

_HELPS, _SAME = 0.97, 1.02  # ratios of the distance after and before, from which on it is nearer, or farther
_MOST_HARMED = 0.1  # share of the songs that may be farther from their original where a variant is said to help
_USUAL = {"V5": 130, "V0": 245}  # kbit/s of LAME's qualities
_MOST_KBITS = 10_000
_LIKE = 1.4  # times the bitrate, up to which an encoding is like another


@dataclass(frozen=True)
class Line:
    """What a variant did to all songs of one coding: mean distances in bels, and how many came out farther."""

    coding: str
    variant: str
    songs: int
    plain: float
    made: float
    farther: int
    sdr: float  # dB of SI-SDR that it cost (below zero) or gained

    @property
    def verdict(self) -> str:
        """``helps``, ``harms``, ``mixed`` (some songs one, some the other) or ``no change``."""
        if is_farther(self.plain, self.made):
            return "harms"
        if self.farther > _MOST_HARMED * self.songs:
            return "mixed"
        return "helps" if self.made < _HELPS * self.plain else "no change"


def is_farther(plain: float, made: float) -> bool:
    """Whether a distance of ``made`` is more than one of ``plain``."""
    return made > _SAME * plain


@dataclass(frozen=True)
class SelfTest:
    """What is kept of a self-test: of which ``recipe`` (a name, or a file's path), by which version of the program."""

    recipe: str
    program: str
    lines: tuple[Line, ...]

    def like(self, analysis: SongAnalysis) -> Experience | None:
        """What was found of the coding that is most like a song's; None where none is like it."""
        kbits = _kbits(analysis)
        codings = {line.coding: abs(math.log(_usual(line.coding) / kbits)) for line in self.lines} if kbits else {}
        nearest = min(codings, key=codings.__getitem__, default="")
        if not nearest or codings[nearest] > math.log(_LIKE):
            return None
        own = [line for line in self.lines if line.coding == nearest]
        helped, harmed = (frozenset(x.variant for x in own if x.verdict == verdict) for verdict in ("helps", "harms"))
        return Experience(nearest, helped, harmed)


@dataclass(frozen=True)
class Experience:
    """The variants that came nearer to the originals of songs in one ``coding``, and those that went farther."""

    coding: str
    helped: frozenset[str]
    harmed: frozenset[str]

    @property
    def sentence(self) -> str:
        """What was found, in one sentence; empty where it was neither nearer nor farther."""
        found = ((self.helped, "nearer to the original"), (self.harmed, "farther from it"))
        told = [f"{_listed(variants)} came out {where}" for variants, where in found if variants]
        return f"In your self-test at {self.coding}, {', '.join(told)}." if told else ""


def _listed(variants: Iterable[str]) -> str:
    return " and ".join(sorted(variants))


def _usual(coding: str) -> int:
    return _USUAL[coding] if coding in _USUAL else int(coding)


def _kbits(analysis: SongAnalysis) -> float:
    """Of the encoding that did the damage, in kbit/s of two channels; 0 where there was none, or it is not known."""
    before, mpeg = generation(analysis).before, analysis.mpeg
    if before or mpeg is None:
        return float(before)
    return mpeg.bitrate / 1000 * (2 if mpeg.channels == 1 else 1)


# --- what is kept --------------------------------------------------------------------------------------------


def place() -> Path:
    """Where the last self-test is kept."""
    return user_data_path("mp3restore", appauthor=False) / "selftest.json"


def keep(path: Path, recipe: str, lines: Sequence[Line]) -> None:
    """Keep a self-test at ``path``. Raises OSError."""
    write_json(path, {"format": 1, **dataclasses.asdict(SelfTest(recipe, __version__, tuple(lines)))})


def read(path: Path) -> SelfTest | None:
    """The self-test kept at ``path``; None where there is none, or a broken one."""
    data = read_json(path) or {}
    found = as_kind({k: v for k, v in data.items() if k != "format"}, SelfTest)
    try:
        return (
            found if found is not None and all(0 < _usual(line.coding) < _MOST_KBITS for line in found.lines) else None
        )
    except ValueError:  # the name of a coding that is none
        return None


def last() -> SelfTest | None:
    """The last self-test, as far as this version of the program made it, of a recipe that has a name: what another
    version or somebody's file calls by the name of a variant may be something else."""
    found = read(place())
    is_known = found is not None and found.program == __version__ and not _is_file(found.recipe)
    return found if is_known else None


def _is_file(recipe: str) -> bool:
    return recipe.endswith(".toml") or "/" in recipe or "\\" in recipe
