"""Before a run has brought results to where songs lie now: they are found, and nothing is changed by looking."""

from __future__ import annotations

import shutil

import pytest

from engine.library import whereabouts
from engine.planning.task import State
from engine.run.session import Session
from tests.conftest import mp3restore
from tests.library.test_recognition import files, kept, place, retag, session_of  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("place")


def rename(lib):
    (lib / "Artist/One.mp3").rename(lib / "Artist/01 Other name.mp3")


def move_the_folder(lib):
    (lib / "Artist").rename(lib / "Somebody else")


def retag_in_place(lib):
    retag(lib / "Artist/One.mp3", "Corrected")


def retag_and_move(lib):
    retag(lib / "Artist/One.mp3", "Corrected " * 300)
    (lib / "Artist/One.mp3").rename(lib / "Moved.mp3")


@pytest.mark.parametrize("change", [rename, move_the_folder, retag_in_place, retag_and_move])
def test_a_song_that_changed_is_shown_as_done(place, change):  # noqa: F811
    out, lib = place / "out", place / "lib"
    change(lib)
    before = files(out)
    session = session_of(out, lib)
    plans = session.states()
    assert all(set(plan.states.values()) == {State.DONE} and plan.analysis is not None for plan in plans)
    assert files(out) == before
    for plan in plans:
        assert session.store.markers(plan.at), "what is done can be heard from there"
    shown = mp3restore("--dry-run", lib, "--out", out, "--variants", "01,11,07").stdout
    assert "to do" not in shown and files(out) == before


def test_an_album_that_is_reached_through_its_own_folder(place):  # noqa: F811
    plans = session_of(place / "out", place / "lib/Artist").states()
    assert [set(plan.states.values()) for plan in plans] == [{State.DONE}]


def test_another_song_and_a_copy_are_to_do_and_nothing_is_read_where_nothing_is_missing(place, piece, monkeypatch):  # noqa: F811
    from tests.conftest import write_mp3

    write_mp3(place / "lib/New.mp3", piece[:44100])
    shutil.copy2(place / "lib/Two.mp3", place / "lib/Copy.mp3")
    monkeypatch.setattr(whereabouts, "sound_hash", lambda path: pytest.fail(f"{path} was read"))
    states = {plan.song.id: set(plan.states.values()) for plan in session_of(place / "out", place / "lib").states()}
    assert (
        states["New.mp3"] == {State.TODO} and states["Two.mp3"] == {State.DONE} and states["Copy.mp3"] == {State.TODO}
    )


def test_a_file_that_cannot_be_read_is_to_do(place):  # noqa: F811
    rename(place / "lib")
    session = session_of(place / "out", place / "lib")
    (place / "lib/Artist/01 Other name.mp3").unlink()
    assert set(session.states()[0].states.values()) == {State.TODO}


def test_what_is_switched_off_is_remembered_and_moves_along(place):  # noqa: F811
    out, lib = place / "out", place / "lib"
    session = Session([lib], out)
    one = next(song for song in session.songs if "One" in song.id)
    session.off |= {(one.id, "07_mastered"), (one.id, "11_offline")}
    session.keep_off([one])
    assert Session([lib], out).off == session.off
    assert session_of(out, lib).off == set(), "what is asked for by name is made"
    rename(lib)
    moved = Session([lib], out)
    moved.states()
    assert moved.off == {("Artist/01 Other name.mp3", v) for v in ("07_mastered", "11_offline")}
    from tests.library.test_recognition import run

    run(out, lib)
    assert Session([lib], out).off == moved.off
    again = Session([lib], out)
    again.off.clear()
    again.keep_off(again.songs)
    assert Session([lib], out).off == set() and not list(out.rglob("off.json"))
