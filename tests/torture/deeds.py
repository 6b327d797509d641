"""What the program does to files: each deed can be done, disturbed, and done again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.commands import prune
from engine.commands.export import export
from engine.compare import report
from engine.compare.batch import Comparison
from engine.dsp.mix import Strip
from engine.errors import RestoreError, explain_os_error
from engine.library.mixes import keep_mix
from engine.library.pruning import delete
from engine.library.verdicts import change_verdict
from engine.machine import measurements
from engine.planning import recipes
from engine.player.choosing import keep_comparison
from engine.run.events import BatchDone, Event, SongDone
from engine.run.session import Session
from tests.torture.places import RECIPE, Place, new_library, write_song
from tui.settings import load_settings


@dataclass(frozen=True)
class Done:
    """What was told: of songs that failed, of what went wrong beside them; ``songs`` are done."""

    problems: tuple[str, ...] = ()
    songs: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Deed:
    """``prepare`` makes what it begins with; ``act`` may raise RestoreError."""

    name: str
    prepare: Callable[[Place], None]
    act: Callable[[Place], Done]


def session(place: Place) -> Session:
    return Session([place.music], place.out, str(place.recipe), device="cpu")


def run(place: Place, *, force: bool = False, jobs: int = 1) -> Done:
    """As the program does it: all songs."""
    return run_session(session(place), force=force, jobs=jobs)


def run_session(one: Session, *, force: bool = False, jobs: int = 1) -> Done:
    told: list[Event] = []
    one.subscribe(told.append)
    one.start(jobs=jobs, force=force).join()
    problems = [why for event in told if isinstance(event, SongDone) for why in event.failed]
    end = told[-1]
    if not isinstance(end, BatchDone):
        return Done(("the run has no end",))
    problems += [end.error] if end.error else []
    return Done(tuple(problems), end.done + end.up_to_date, end.failed)


def _nothing(place: Place) -> None:
    """A library of which nothing was made."""


def finished(place: Place) -> None:
    """All was made, with the mixes that the listener keeps."""
    run(place)
    keep(place)
    run(place)


def keep(place: Place, favourite: str = "06_remixed", louder: float = 1.0) -> Done:
    """All that a listener decides of songs."""
    one = session(place)
    for song in one.songs:
        number = ("One", "Two", "Three").index(song.path.stem)
        listening = one.store.places.listening(one.where(song).key)
        listening.mkdir(parents=True, exist_ok=True)
        change_verdict(listening, favourite=favourite)
        change_verdict(listening, note=f"{favourite} {number}")
        keep_mix(listening, "06_remixed", {"vocals": Strip(louder + number, 0.0, False)})
        keep_comparison(listening, "02_low", "01_baseline")
    one.off |= {(song.id, "05_stems_enhanced") for song in one.songs if song.path.stem == "One"}
    one.keep_off(one.songs)
    return Done(songs=len(one.songs))


def remember(place: Place) -> Done:
    """Settings, a recipe of one's own, a figure."""
    settings = load_settings()
    settings.opened(str(place.music))
    settings.save()
    recipes.save(recipes.parse(RECIPE, "mine", "mine"), "mine")
    measurements.remember("speed", 2.0)
    return Done()


def _kept_before(place: Place) -> None:
    run(place)
    keep(place, "02_low", -1.0)


def _retagged(place: Place) -> None:
    finished(place)
    write_song(place.music / "Two.mp3", 0.6, "Two, anew")


def _moved(place: Place) -> None:
    finished(place)
    (place.music / "Other").mkdir()
    (place.music / "Artist" / "One.mp3").rename(place.music / "Other" / "Eins.mp3")
    (place.music / "Artist").rmdir()


def _replaced(place: Place) -> None:
    finished(place)
    write_song(place.music / "Two.mp3", 0.4, "Two")
    write_song(place.music / "Three.mp3", 0.6, "Two")


def _other_recipe(place: Place) -> None:
    finished(place)
    place.recipe.write_text(RECIPE.replace("cutoff_hz = 9000", "cutoff_hz = 5000"))


def _export(place: Place) -> Done:
    one = session(place)
    songs = [one.where(song) for song in one.songs]
    made = export(one.store, songs, place.exported)
    more = export(one.store, songs, place.exported / "as-mp3", kind="mp3", gains=True)
    return Done((*made.problems, *more.problems), len(songs))


def _report(place: Place) -> Done:
    one = session(place)
    songs = [one.where(song) for song in one.songs]
    entries = list(Comparison(one.store).entries(songs, 1))
    report.write(one.store, entries)
    return Done(tuple(entry.problem for entry in entries if entry.problem), len(songs))


def _prune(place: Place) -> Done:
    one = session(place)
    rule = prune.Rule(keep=("01",))
    gone = prune.carry_out(one.store, [one.where(song) for song in one.songs], rule, delete)
    return Done(tuple(gone.problems), len(one.songs))


DEEDS = {
    deed.name: deed
    for deed in (
        Deed("run", _nothing, run),
        Deed("keep", _kept_before, keep),
        Deed("remember", _nothing, remember),
        Deed("retag", _retagged, run),
        Deed("move", _moved, run),
        Deed("replace", _replaced, run),
        Deed("recipe", _other_recipe, run),
        Deed("force", finished, lambda place: run(place, force=True)),
        Deed("export", finished, _export),
        Deed("report", finished, _report),
        Deed("prune", finished, _prune),
    )
}


def done_quietly(deed: Deed, place: Place) -> Done:
    """What came of it; what the user is told in place of a result counts as a problem."""
    try:
        return deed.act(place)
    except RestoreError as error:
        return Done((str(error),))
    except OSError as error:  # as the dashboard tells it
        return Done((explain_os_error(error, "what you chose"),))


def prepared(deed: Deed, place: Place) -> None:
    """Make what the deed begins with, in an empty place."""
    place.restore({})
    place.live_here()
    new_library(place)
    deed.prepare(place)
