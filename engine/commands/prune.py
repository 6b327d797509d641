"""``mp3restore prune``: what was judged is kept, the other variants make room.

A song's favourite always stays, also one that was chosen for the listener (☆). Songs of which nothing is known to be
worth keeping, or of which that is not there, are left as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from engine.errors import RestoreError, UsageError, explain_os_error
from engine.library.pruning import Dispose, files_there, finish, is_unfinished, prune, to_trash
from engine.library.records import Marker, Song, treated_stems
from engine.library.results import reads_back
from engine.library.store import Store
from engine.library.verdicts import verdict_for_sure
from engine.planning.recipes import by_number
from engine.player.listening_sets import PLAIN
from engine.text import counted, printable, size

_MOST_NAMED = 6  # variants in a sentence


@dataclass(frozen=True)
class Rule:
    """What stays beside the favourites: the variants that are called so, by number, name or both.

    Without any, only songs with a favourite are pruned; ``proposed``: also those that have one that was chosen for
    the listener.
    """

    keep: tuple[str, ...] = ()
    proposed: bool = False

    def names(self, variant: str) -> bool:
        """Whether the variant is one of those that stay."""
        return any(wanted == variant or wanted in variant.split("_", 1) for wanted in self.keep)


@dataclass(frozen=True)
class Doomed:
    """What would go of one song. ``favourite`` is the marker without which nothing goes (None: the source stands).

    ``gone`` are results whose files are not there any more, which is not brought to its end yet.
    """

    song: Song
    favourite: Marker | None
    markers: tuple[Marker, ...]
    gone: tuple[Marker, ...] = ()

    def sizes(self, store: Store) -> dict[str, int]:
        """Bytes that each of its variants takes now."""
        return {m.task: sum(_bytes(store, m)) for m in self.markers}


@dataclass
class Preview:
    """What would go: by song; the bytes by variant; how many songs stay as they are, by the reason why."""

    doomed: list[Doomed] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    files: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def in_words(self) -> list[str]:
        """Sentences, the first about what would go."""
        lines = ["There is nothing to prune."]
        if self.doomed:
            names = sorted(self.sizes, key=by_number)
            named = ", ".join(f"{printable(n)} {size(self.sizes[n])}" for n in names[:_MOST_NAMED])
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            lines = [
                f"{counted(self.files, 'file')} of {counted(len(self.doomed), 'song')} can go, "
                f"{size(sum(self.sizes.values()))}: {named}{more}."
            ]
        lines += [f"{counted(number, 'song')} left as {'it is' if number == 1 else 'they are'}: {why}"
                  for why, number in self.left.most_common()]  # fmt: skip
        return lines


@dataclass
class Pruned:
    """What came of it: bytes and results that went, and one sentence per problem."""

    freed: int = 0
    results: int = 0
    problems: list[str] = field(default_factory=list)

    def in_words(self, *, trashed: bool) -> str:
        """The same as a sentence."""
        if not self.results:
            return "Nothing was removed."
        if trashed:
            return (
                f"{counted(self.results, 'variant')} went to the trash: {size(self.freed)}, which are free once you "
                "empty it. Put back from there, they are done again."
            )
        return f"{counted(self.results, 'variant')} deleted: {size(self.freed)} are free."


def preview(store: Store, songs: Iterable[Song], rule: Rule) -> Preview:
    """What pruning ``songs`` (each at the place of its results) would do. Reads markers, and changes nothing.

    Raises:
        UsageError: what is to be kept is no variant of any of them.
    """
    found = Preview()
    known: set[str] = set()
    for song in songs:
        doomed = _doomed(store, song, rule, known)
        if isinstance(doomed, str):
            found.left[doomed] += 1
        elif doomed.markers:
            found.doomed.append(doomed)
            found.sizes.update(doomed.sizes(store))
            found.files += sum(len(files_there(store, marker)) for marker in doomed.markers)
    for wanted in rule.keep:
        if not any(Rule((wanted,)).names(name) for name in known):
            there = ", ".join(sorted(known, key=by_number)) or "none"
            raise UsageError(f"No song has a variant '{printable(wanted)}'; there are: {printable(there)}.")
    return found


def carry_out(
    store: Store, songs: Sequence[Song], rule: Rule, dispose: Dispose = to_trash,
    progress: Callable[[str], None] | None = None,
) -> Pruned:  # fmt: skip
    """Prune ``songs`` (each at the place of its results), as they stand now. It may be ended at any moment.

    Raises:
        UsageError: another process works in the output folder, or it cannot be written to.
    """
    result = Pruned()
    with store.lock():
        for song in songs:
            doomed = _doomed(store, song, rule, set())
            if isinstance(doomed, str) or not (doomed.markers or doomed.gone):
                continue
            try:
                _one(store, doomed, dispose, result)
            except OSError as error:
                result.problems.append(explain_os_error(error, printable(song.id)))
            except RestoreError as error:
                result.problems.append(f"{printable(song.id)}: {error}")
            if progress is not None:
                progress(printable(song.id))
    return result


def _one(store: Store, doomed: Doomed, dispose: Dispose, result: Pruned) -> None:
    """Prune one song, once what stays of it was read to its end. Raises OSError or RestoreError."""
    if doomed.favourite is not None and not reads_back(store, doomed.favourite):
        result.problems.append(
            f"{printable(doomed.song.id)}: {doomed.favourite.task}, which is to stay, is damaged, so nothing of the "
            "song was removed: make it anew first."
        )
        return
    for marker in doomed.gone:
        finish(store, doomed.song, marker)
    for marker in doomed.markers:
        before = sum(_bytes(store, marker))
        try:
            result.problems += prune(store, doomed.song, marker, dispose)
        finally:
            gone = before - sum(_bytes(store, marker))
            result.freed += gone
            result.results += not files_there(store, marker)


def _doomed(store: Store, song: Song, rule: Rule, known: set[str]) -> Doomed | str:
    """What would go of a song, or why it is left as it is; ``known`` gets the names of its variants."""
    markers = {marker.task: marker for marker in store.markers(song) if marker.is_published}
    known.update(markers)
    verdict = verdict_for_sure(store.places.listening(song.key))
    if verdict is None:
        return "what was chosen of it cannot be read: see what 'mp3restore verify' says."
    kept = {name for name in markers if rule.names(name)} | ({verdict.favourite} - {""})
    if not rule.keep:
        if not verdict.favourite:
            return "no favourite was chosen (or say what to keep: --keep 01,07)."
        if verdict.is_proposed and not rule.proposed:
            return "the favourite was only proposed (☆): --proposed takes it for one."
    treated = treated_stems(list(markers.values()))
    kept |= {name for name, plain in treated.items() if plain in kept}
    wanted = [verdict.favourite] if verdict.favourite else sorted(kept)
    there = [name for name in wanted if name in markers and store.is_kept(markers[name])]
    if not there and not (PLAIN in wanted and song.path.is_file()):
        return "what is to be kept of it is not there."
    others = sorted((m for name, m in markers.items() if name not in kept), key=lambda marker: by_number(marker.task))
    going = tuple(marker for marker in others if files_there(store, marker))
    gone = tuple(marker for marker in others if is_unfinished(store, marker))
    return Doomed(song, markers[there[0]] if there else None, going, gone)


def _bytes(store: Store, marker: Marker) -> list[int]:
    found = []
    for output in files_there(store, marker):
        with suppress(OSError):
            found.append((store.out / output.path).lstat().st_size)
    return found
