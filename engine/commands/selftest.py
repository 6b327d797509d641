"""``mp3restore selftest``: which variant helps and which harms, at which bitrate, on one's own music and machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.analysis import tried
from engine.analysis.tried import Line
from engine.commands import headless
from engine.compare import selftest
from engine.errors import OutputError, UsageError, explain_os_error
from engine.files import remove
from engine.planning import recipes
from engine.text import counted

_STYLES = {"helps": "green", "harms": "bold red", "mixed": "yellow", "no change": "dim"}


@dataclass(frozen=True)
class How:
    """What is coded and how it is restored: at most so many songs, of each so many seconds."""

    codings: tuple[str, ...]
    recipe: str
    variants: tuple[str, ...]
    songs: int
    seconds: float
    device: str


def run(paths: Sequence[Path], how: How, *, as_json: bool = False) -> int:
    """Encode, restore, compare, tell. Gives the exit code; stopped, it goes on where it was the next time.

    Raises:
        UsageError: what is given does not fit.
        OutputError: it cannot be written.
    """
    for coding in how.codings:
        if coding not in selftest.CODINGS:
            raise UsageError(f"--bitrates takes some of {', '.join(selftest.CODINGS)}, not {coding!r}.")
    given = selftest.originals(paths, how.songs)
    material = [(str(path), path.stat().st_mtime_ns) for path in given]
    identity = repr((material, how.seconds, how.codings))
    top = user_cache_path("mp3restore", appauthor=False) / "selftest"
    work = top / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    console.print(f"Coding {counted(len(given), 'song')}, {how.seconds:g} s of each, at {', '.join(how.codings)} …")
    try:
        problems = selftest.prepare(given, work, how.codings, how.seconds)
        for problem in problems:
            console.print(Text(f"mp3restore: {problem}"))
        if len(problems) == len(given):
            raise UsageError("None of these songs can be used.")
        session = selftest.session(work, how.recipe, how.variants, how.device)
        if (code := headless.run(session, jobs=0, force=False, as_json=as_json)) == headless.EXIT_STOPPED:
            return code
        console.print("Comparing with the originals …")
        lines = selftest.summary(list(selftest.scores(session, work)))
        tried.keep(tried.place(), session.recipe.name if how.recipe == recipes.AUTO else how.recipe, lines)
        remove(work, top)
    except OSError as error:
        raise OutputError(explain_os_error(error, f"the folder of the self-test, {work}")) from error
    if as_json:
        print(selftest.to_json(lines))
    else:
        console.print(_table(lines))
        for sentence in told(lines):
            console.print(sentence)
    return code


def _table(lines: Sequence[Line]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("bitrate", "variant"):
        table.add_column(name)
    for name in ("songs", "MP3", "variant", "farther", "SI-SDR"):
        table.add_column(name, justify="right")
    table.add_column("")
    for line in lines:
        table.add_row(
            line.coding, line.variant, str(line.songs), f"{line.plain:.2f}", f"{line.made:.2f}", str(line.farther),
            f"{line.sdr:+.2f} dB", Text(line.verdict, _STYLES[line.verdict]),
        )  # fmt: skip
    return table


def told(lines: Sequence[Line]) -> list[str]:
    """The outcome in plain sentences."""
    sentences = []
    for verdict, words in (("helps", "comes nearer to the original"), ("harms", "goes farther from it")):
        for variant in sorted({line.variant for line in lines}):
            codings = [line.coding for line in lines if line.variant == variant and line.verdict == verdict]
            if codings:
                sentences.append(f"{variant} {words} at {', '.join(codings)}.")
    sentences.append(
        "Distances are log-spectral, in bels: lower is nearer, and they do not tell how it sounds. 'farther': songs "
        "that the variant took farther from their original. What was coded and restored for this is removed again."
    )
    return sentences
