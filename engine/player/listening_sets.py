"""What there is to hear: the variants of a library's song, or any files that are given."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from platformdirs import user_data_path

from engine.analysis.song import SongAnalysis
from engine.dsp.level_fit import Fit
from engine.errors import UsageError
from engine.library.layout import CHUNKS, DONE, SET_ASIDE
from engine.library.records import Marker, Song, treated_stems
from engine.library.scan import OUTPUT_NAME, SUFFIXES, default_output
from engine.library.store import Store
from engine.planning.recipes import DEFAULT, by_number
from engine.planning.task import State, Task
from engine.player.tracks import Candidate, ListeningSet, Part, Remixed
from engine.run.session import Session
from engine.signals import MIX, RESIDUAL, STEMS
from engine.stages import STAGES
from engine.text import printable

PLAIN = "01_baseline"
_ENHANCED = ".enhanced"
_WHY_MISSING = {
    State.TODO: "not made yet", State.STALE: "made with other settings", State.IMPOSSIBLE: "not possible here",
    State.PRUNED: "pruned (f in the library makes it anew)",
}  # fmt: skip


# --- of a library -----------------------------------------------------------------------------------------


def of_song(store: Store, song: Song, tasks: Sequence[Task]) -> ListeningSet:
    """All finished variants of a song, whatever recipe made them; what ``tasks`` would make is listed as missing.

    The plain decode is always there: where it was not made, the source itself is played.
    """
    record = store.record(song)
    analysis = record.analysis if record is not None else None
    source_hash = record.identity if record is not None else None
    final = {task.id: store.chosen(song, task, source_hash) for task in tasks if task.is_final}
    endings = Counter(task.stage.name for task in final.values())
    found: dict[str, Candidate] = {}
    markers = store.markers(song)
    for marker in markers:
        candidate = _of_marker(store, marker, final.get(marker.task), endings)
        if candidate is not None:
            found[candidate.key] = candidate
    joined = _join_stems(found, markers)
    if PLAIN not in found:
        found[PLAIN] = _source(song, analysis)
    for key, task in final.items():
        if key not in found and key not in joined:
            why = _WHY_MISSING.get(store.state(song, task, source_hash), "not there")
            found[key] = Candidate(key, _title(key, task, endings), chain=_chain(task), missing=why, folder=key)
    cutoff = analysis.cutoff.hz if analysis is not None else None
    remixes = []
    for task in tasks:
        if task.stage.takes_mix:
            here = store.chosen(song, task, source_hash)
            remixed = _remixed(task, here, found, joined)
            if remixed is not None:
                remixes.append(remixed)
                made = store.marker(song, here)
                if made is not None and made.inputs == store.contents(song, here.published_before()):
                    found[remixed.stems] = _fitted(found[remixed.stems], remixed, made)
    candidates = tuple(found[key] for key in sorted(found, key=by_number))
    return ListeningSet(
        printable(song.id), candidates, store.places.listening(song.key), cutoff, tuple(remixes),
        _why_no_stems(candidates, tasks),
    )  # fmt: skip


def _fitted(stems: Candidate, remixed: Remixed, marker: Marker) -> Candidate:
    """The stems, each with what the remix that was made of them equalised it by."""

    def fit_of(part: Part) -> tuple[Path, Fit] | None:
        path, fit = part.enhanced if remixed.treated else part.path, marker.fits.get(part.name)
        return (path, fit) if path is not None and fit is not None and fit.is_possible() else None

    return replace(stems, parts=tuple(replace(part, fit=part.fit or fit_of(part)) for part in stems.parts))


def _remixed(task: Task, here: Task, found: Mapping[str, Candidate], joined: Mapping[str, str]) -> Remixed | None:
    """What a task mixes, where those stems are there to be heard; ``here`` is the task as it is for the song."""
    stems = {port.task.id for port in here.published_before() if port.name != MIX}
    if len(stems) != 1:
        return None
    (key,) = stems
    plain = joined.get(key, key)
    if plain not in found or not found[plain].has_stems or found[plain].missing:
        return None
    further = any(not port.task.is_final for name, port in here.inputs if name != MIX)
    return Remixed(task.variant, plain, key in joined, task.stage.mix(task.params), further)


def _why_no_stems(candidates: Iterable[Candidate], tasks: Sequence[Task]) -> str:
    """Empty where there are stems, else one sentence that says how to get them."""
    if any(candidate.has_stems for candidate in candidates):
        return ""
    makers = [task for task in tasks if task.is_final and len(task.outputs) > 1]
    if not makers:
        return "This recipe makes no stems: take the recipe 'stems' (Ctrl+P, Recipe: stems), and start it (s)."
    why = next((task.impossible for task in makers if not task.impossible), makers[0].impossible)
    return f"There are no stems to mix. {why}" if why else "Its stems are not made yet: start the run (s) to make them."


def _of_marker(store: Store, marker: Marker, task: Task | None, endings: Counter[str]) -> Candidate | None:
    """What a finished task offers; None for steps on the way and for files that are gone."""
    paths = [store.out / o.path for o in marker.outputs if not o.path.startswith(f"{CHUNKS}/")]
    if not paths or not all(p.is_file() for p in paths):
        return None
    chain = _chain(task) if task is not None else STAGES[marker.recipe["stage"]].title if _known(marker) else ""
    return Candidate(
        key=marker.task,
        title=_title(marker.task, task, endings),
        parts=tuple(
            Part(o.port if len(paths) > 1 else p.stem, p, rate=o.rate or marker.rate)
            for o, p in zip(marker.outputs, paths, strict=True)
        ),
        chain=chain,
        note=printable(marker.note),
        sha256=marker.outputs[0].sha256 if len(paths) == 1 else "",
        warning=printable(marker.ruined),
        is_plain=marker.task == PLAIN,
        folder=marker.task,
    )


def _known(marker: Marker) -> bool:
    return marker.recipe.get("stage") in STAGES


def _join_stems(found: dict[str, Candidate], markers: Sequence[Marker]) -> dict[str, str]:
    """Stems that were treated are the other side of those that they were made from, not candidates of their own.

    Gives the keys of the treated ones, each with that of the others.
    """
    joined = treated_stems([marker for marker in markers if marker.task in found and found[marker.task].has_stems])
    for treated, plain in joined.items():
        other = {part.name: part.path for part in found[treated].parts}
        stems = found[plain]
        parts = tuple(replace(part, enhanced=other.get(part.name)) for part in stems.parts)
        found[stems.key] = replace(stems, parts=parts)
        del found[treated]
    return joined


def _source(song: Song, analysis: SongAnalysis | None) -> Candidate:
    part = Part(song.path.stem, song.path)
    if analysis is not None:
        part = Part(song.path.stem, song.path, None, analysis.rate, analysis.decoder, analysis.start)
    missing = "" if song.path.is_file() else "the source is not there"
    return Candidate(
        PLAIN, "Plain decode", (part,), "the source, decoded while it plays",
        "what the MP3 holds, nothing added", missing=missing, is_plain=True,
    )  # fmt: skip


def _chain(task: Task) -> str:
    return task.described().replace(" > ", " → ")


def _title(key: str, task: Task | None, endings: Counter[str]) -> str:
    """The last stage's, which does not tell enough where several variants end with the same."""
    if key == PLAIN:
        return "Plain decode"
    plain = printable(key.partition("_")[2].replace("_", " ") or key)
    if task is None:
        return plain
    return f"{task.title} ({plain})" if endings[task.stage.name] > 1 else task.title


# --- of anything ------------------------------------------------------------------------------------------


def of_files(paths: Sequence[Path]) -> ListeningSet:
    """Files that are given, as candidates on one transport.

    Raises:
        UsageError: one of them is not there or not an audio file.
    """
    paths = [Path(os.path.abspath(p)) for p in paths]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{printable(str(path))} does not exist: check the path (and its drive).")
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{printable(str(path))} is not an audio file that can be played.")
    identity = hashlib.sha256("\n".join(sorted(map(str, paths))).encode("utf-8", "surrogateescape")).hexdigest()
    folder = user_data_path("mp3restore", appauthor=False) / "listening" / identity[:16]
    parents = {p.parent for p in paths}
    candidates = []
    for path in paths:
        shown = path.name if len(parents) == 1 else f"{path.parent.name}/{path.name}"
        is_source = path.suffix.lower() in (".mp3", ".mp2", ".mpga")
        candidates.append(
            Candidate(
                str(path), printable(shown), (Part(path.stem, path),), printable(str(path.parent)),
                is_plain=is_source or len(paths) == 1,
            )
        )  # fmt: skip
    if _are_stems(paths):
        parts = tuple(Part(c.parts[0].name, c.parts[0].path) for c in candidates)
        candidates.insert(0, Candidate("stems", "All stems together", parts))
    title = candidates[0].title if len(paths) == 1 else f"{len(paths)} files"
    names = ", ".join((*STEMS, RESIDUAL))
    no_stems = "" if candidates[0].has_stems else f"These are no stems: their names would be {names}."
    return ListeningSet(title, tuple(candidates), folder, no_stems=no_stems)


def _are_stems(paths: Sequence[Path]) -> bool:
    names = [p.stem.lower().removesuffix(_ENHANCED) for p in paths]
    return len(names) > 1 and len(set(names)) == len(names) and all(n in (*STEMS, RESIDUAL) for n in names)


def of_paths(paths: Sequence[Path], out: Path | None = None) -> list[ListeningSet]:
    """What ``mp3restore play PATH...`` plays, song by song.

    A song or folder with results (beside it, or the results' folder itself) gives a listening set per song, with its
    variants. All else is a set of files to compare: those that are given, or those in the folder.

    Raises:
        UsageError: there is nothing to play.
    """
    paths = [Path(os.path.abspath(p)) for p in paths]
    for path in paths:
        if not path.exists():
            raise UsageError(f"{printable(str(path))} does not exist: check the path (and its drive).")
    library = _library(paths, out)
    if library:
        return library
    files = [f for path in paths for f in (_audio_in(path) if path.is_dir() else [path])]
    if not files:
        raise UsageError(f"There is nothing to play in {', '.join(printable(str(p)) for p in paths)}.")
    return [of_files(files)]


def _library(paths: Sequence[Path], out: Path | None) -> list[ListeningSet]:
    """The songs below ``paths`` that have results; empty where none has."""
    first = paths[0]
    if len(paths) == 1 and first.is_dir() and (first / DONE).is_dir():
        return _of_results(first)
    result = out or next((c for c in _places(first) if (c / DONE).is_dir()), default_output(paths))
    if not (result / DONE).is_dir():
        return []
    if any(p.is_relative_to(result) for p in paths):
        return []
    try:
        session = Session(paths, result, DEFAULT, device="cpu")
    except UsageError:
        return []
    songs = [s for s in session.songs if session.store.markers(s)]
    return [of_song(session.store, song, session.tasks) for song in songs]


def _places(path: Path) -> Iterable[Path]:
    """Where results of ``path`` may lie: in it, beside it, or beside a folder that it is in."""
    yield path / OUTPUT_NAME
    for parent in path.parents:
        yield parent / OUTPUT_NAME


def _of_results(out: Path) -> list[ListeningSet]:
    """All songs that an output folder knows."""
    store = Store(out)
    songs = []
    for file in sorted((out / DONE).rglob("song.json")):
        key = PurePath(file.parent.relative_to(out / DONE))
        source = store.source_of(key)
        if source is not None and key.parts[0] != SET_ASIDE:
            songs.append(Song(source, key, key.as_posix()))
    return [of_song(store, song, ()) for song in songs if store.markers(song)]


def _audio_in(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )
