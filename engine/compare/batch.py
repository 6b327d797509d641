"""The comparison of a whole library: figures and pictures that are kept, so that a second report is quick.

::

    OUT/_report/report.html, report.json, report.csv
    OUT/_report/figures/ab/ab….json      what was measured of the songs, by what their plain decode holds
    OUT/_report/pictures/ab/ab….png      spectra of the signals, by what they and the plain decode hold
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event as Flag

from engine.analysis.findings import Finding, findings
from engine.analysis.tried import last
from engine.analysis.verdict import Verdict, verdict_of
from engine.compare.figures import Figures
from engine.compare.original import model_of_listeners
from engine.compare.pictures import difference_png, spectrogram_png
from engine.compare.song import Compared, compare
from engine.errors import SongError, UsageError, explain_os_error
from engine.files import writing
from engine.library.records import Marker, Song
from engine.library.scan import find_songs
from engine.library.state_file import read_checked, write_checked
from engine.library.store import Store
from engine.library.verdicts import read_verdict
from engine.machine.priority import work_in_background
from engine.plain_data import as_kind
from engine.planning.recipes import by_number
from engine.player.listening_sets import PLAIN
from engine.text import printable

VERSION = 1  # goes up when a figure or a picture comes out otherwise: all is measured again
_MOST_JOBS = 4


@dataclass(frozen=True)
class Version:
    """One variant of a song in the report (the plain decode among them).

    ``path`` is relative to the output folder, with slashes; ``picture`` and ``difference`` (empty for the plain
    decode) are relative to the report. ``lost`` is empty, or what it lost of the song. ``warnings`` are its marker's.
    """

    name: str
    path: str
    figures: Figures
    picture: str
    difference: str
    lost: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One song in the report: the plain decode first, then its variants.

    ``problem`` is empty, or one sentence that says why it could not be compared; ``left_out`` are variants of several
    signals, which cannot be. ``verdict`` and ``findings`` are of the source, where it was analysed. ``cutoff`` in Hz,
    ``duration`` in seconds, ``rate`` of the plain decode in Hz.
    """

    name: str
    duration: float = 0.0
    cutoff: float | None = None
    rate: int = 44100
    versions: tuple[Version, ...] = ()
    left_out: tuple[str, ...] = ()
    favourite: str = ""
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    original: str = ""


@dataclass(frozen=True)
class _Signal:
    """A finished file, and what tells whether it is still the same."""

    marker: Marker
    path: Path
    content: str


class Stopped(Exception):
    """The report was not wanted any more; what was measured is kept."""


@dataclass
class Comparison:
    """Compares the songs of an output folder.

    Attributes:
        store: the output folder.
        originals: folder with the lossless originals, called as the songs are (whatever their kind); None: there are
            none.
        stop: set from another thread (or a signal) to end it after the block in work.
    """

    store: Store
    originals: Path | None = None
    stop: Flag = field(default_factory=Flag)

    def __post_init__(self) -> None:
        self._originals = _by_name(self.originals) if self.originals is not None else {}
        self._tried = last()

    def entries(self, songs: Sequence[Song], jobs: int = 0) -> Iterator[Entry]:
        """What is told of each of ``songs`` (with the places at which their results lie), in their order.

        ``jobs`` are compared at a time (0: as the machine has cores, at most four). Raises :class:`Stopped`.
        """
        hands = jobs or max(1, min(_MOST_JOBS, os.cpu_count() or 1))
        with ThreadPoolExecutor(hands, "comparing", work_in_background) as pool:
            try:
                yield from pool.map(self.entry, songs)
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def entry(self, song: Song) -> Entry:
        """What is told of one song; what goes wrong with it is said in it. Raises :class:`Stopped`."""
        self._checkpoint()
        name = printable(song.id)
        record = self.store.record_at(song.key)
        analysis = record.analysis if record is not None else None
        known = Entry(
            name, analysis.duration if analysis is not None else 0.0,
            analysis.cutoff.hz if analysis is not None else None,
            favourite=printable(read_verdict(self.store.places.listening(song.key)).favourite),
            verdict=verdict_of(analysis, self._tried) if analysis is not None else None,
            findings=tuple(findings(analysis)) if analysis is not None else (),
        )  # fmt: skip
        try:
            return self._compared(song, known)
        except SongError as error:
            return replace(known, problem=str(error))
        except OSError as error:
            return replace(known, problem=explain_os_error(error, "the report"))

    def _compared(self, song: Song, known: Entry) -> Entry:
        signals, left_out = self._signals(song)
        plain = signals.get(PLAIN)
        if plain is None:
            pruned = any(marker.pruned for marker in self.store.markers(song) if marker.task == PLAIN)
            why = "was pruned: make it anew (--variants 01 --force)" if pruned else "is not there: run mp3restore on it"
            return replace(known, problem=f"Its plain decode (01_baseline) {why} first.")
        original = self._original(song)
        stamp = _stamp(original) if original is not None else ""
        keys = {
            name: _digest(VERSION, plain.content, signal.content, known.cutoff, stamp)
            for name, signal in signals.items()
        }
        place = self._figures_file(plain.content)
        kept = _read(place)
        missing = [
            name for name, key in keys.items()
            if key not in kept or not all(p.is_file() for p in self._picture_files(key, name))
        ]  # fmt: skip
        if missing:
            made = compare(
                {name: signals[name].path for name in {PLAIN: None, **dict.fromkeys(missing)}}, PLAIN, known.cutoff,
                original, self._checkpoint,
            )  # fmt: skip
            for name, one in made.items():
                self._draw(keys[name], name, one, made[PLAIN])
                kept[keys[name]] = one.figures
            _write(place, kept)
        versions = tuple(
            self._version(name, signal, keys[name], kept[keys[name]]) for name, signal in signals.items()
        )  # fmt: skip
        return replace(
            known, rate=plain.marker.outputs[0].rate or plain.marker.rate, versions=versions, left_out=left_out,
            original=printable(original.name) if original is not None else "",
        )  # fmt: skip

    def _checkpoint(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _signals(self, song: Song) -> tuple[dict[str, _Signal], tuple[str, ...]]:
        """The finished variants that are one file each, by name, the plain decode first; and the names of others."""
        found, others = {}, []
        markers = sorted(self.store.markers(song), key=lambda m: (m.task != PLAIN, by_number(m.task)))
        for marker in markers:
            if not marker.is_published or not all(self.store.is_there(output) for output in marker.outputs):
                continue
            if len(marker.outputs) != 1:
                others.append(printable(marker.task))
                continue
            output = marker.outputs[0]
            found[marker.task] = _Signal(marker, self.store.out / output.path, output.content)
        return found, tuple(others)

    def _version(self, name: str, signal: _Signal, key: str, figures: Figures) -> Version:
        report = self.store.places.report("report.html").parent
        picture, *difference = (p.relative_to(report).as_posix() for p in self._picture_files(key, name))
        return Version(
            printable(name), signal.path.relative_to(self.store.out).as_posix(), figures, picture,
            difference[0] if difference else "", printable(signal.marker.ruined),
            tuple(printable(warning) for warning in signal.marker.warnings),
        )  # fmt: skip

    # --- what is kept --------------------------------------------------------------------------------------

    def _figures_file(self, content: str) -> Path:
        digest = _digest(content)
        return self.store.places.report("figures") / digest[:2] / f"{digest}.json"

    def _picture_files(self, key: str, name: str) -> list[Path]:
        """The spectrum and, but for the plain decode, the difference from it."""
        folder = self.store.places.report("pictures") / key[:2]
        return [folder / f"{key}{ending}.png" for ending in ("", "-difference")[: 1 if name == PLAIN else 2]]

    def _draw(self, key: str, name: str, made: Compared, plain: Compared) -> None:
        drawn = spectrogram_png(made.picture), difference_png(made.picture, plain.picture, made.figures.gain or 0.0)
        for path, png in zip(self._picture_files(key, name), drawn, strict=False):  # the plain decode has but one
            with writing(path) as temporary:
                temporary.write_bytes(png)

    # --- originals -----------------------------------------------------------------------------------------

    def _original(self, song: Song) -> Path | None:
        """The original of that name: in the same sub-folder, or else the only one that is called so."""
        relative = Path(song.id).with_suffix("").as_posix().casefold()
        there = self._originals.get(relative)
        if there is not None:
            return there
        name = relative.rpartition("/")[2]
        alike = [path for other, path in self._originals.items() if other.rpartition("/")[2] == name]
        return alike[0] if len(alike) == 1 else None


def _by_name(folder: Path) -> dict[str, Path]:
    """The sound files below a folder, by their places in it without suffixes, in small letters. Raises UsageError."""
    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))} is not a folder: give the one with the originals.")
    found = {one.relative.with_suffix("").as_posix().casefold(): one.path for one in find_songs([folder], folder)}
    if not found:
        raise UsageError(f"There are no sound files in {printable(str(folder))}.")
    return found


def _stamp(path: Path) -> str:
    """What tells whether an original is still the same without reading it. Raises OSError."""
    status = path.stat()
    return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns} {model_of_listeners() is not None}"


def _digest(*parts: object) -> str:
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Figures]:
    """The figures that are kept there; those that cannot be ones are absent."""
    kept = (read_checked(path, 0) or {}).get("figures")
    figures = {key: as_kind(data, Figures) for key, data in kept.items()} if isinstance(kept, dict) else {}
    return {key: one for key, one in figures.items() if one is not None}


def _write(path: Path, figures: Mapping[str, Figures]) -> None:
    with suppress(OSError):  # then they are measured again the next time
        write_checked(path, {"format": VERSION, "figures": {key: asdict(one) for key, one in figures.items()}})
