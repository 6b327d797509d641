"""What a run will take on the disk is told before it begins, and whether it fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.run.room import Needed
from engine.run.session import Session
from tests.conftest import execute, mp3restore

RECIPE = """format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", "restore"]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo_mp3):
    """A finished library with one song, and what was told of it before."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "lib").mkdir()
    shutil.copy(demo_mp3, folder / "lib" / "One.mp3")
    (folder / "recipe.toml").write_text(RECIPE)
    before = opened_at(folder).needs().kept
    execute(opened_at(folder))
    return folder.rename(folder.with_name("room-moved")), before  # so that no copy's place is taken by it


@pytest.fixture
def library(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


def opened_at(folder: Path, **options) -> Session:
    return Session([folder / "lib"], recipe=str(folder / "recipe.toml"), **options)


def taken(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.flac"))


def test_before_the_first_song_it_is_guessed_and_afterwards_nothing_is_missing(finished):
    folder, before = finished
    assert before == pytest.approx(taken(folder), rel=0.2)
    assert opened_at(folder).needs().kept == 0


def test_what_is_finished_teaches_what_others_will_take(library, repeated):
    shutil.copy(repeated(12), library / "lib" / "Longer.mp3")
    told = opened_at(library).needs().kept
    there = taken(library)
    execute(opened_at(library))
    assert told == pytest.approx(taken(library) - there, rel=0.2)


def test_what_is_there_off_or_given_up_takes_no_more(library):
    session = opened_at(library)
    recipe = library / "recipe.toml"
    recipe.write_text(RECIPE.replace('"restore"', '{ stage = "restore", top_hz = 18000 }'))
    assert opened_at(library).needs().kept == 0, "stale: made again in its place"
    (path,) = library.rglob("*.offline.flac")
    size = path.stat().st_size
    path.unlink()
    assert opened_at(library).needs().kept == pytest.approx(size, rel=0.2)
    session.store.switch_off(session.songs[0].key, ["11_offline"])
    assert opened_at(library).needs().kept == 0
    (library / "lib" / "One.mp3").rename(library / "lib" / "Moved.mp3")
    shutil.copy(library / "lib" / "Moved.mp3", library / "elsewhere.mp3")
    assert opened_at(library).needs().kept == 0, "its results move along"


def test_it_is_told_on_the_command_line_before_the_run(library, repeated):
    shutil.copy(repeated(4), library / "lib" / "Two.mp3")
    arguments = (library / "lib", "--recipe", library / "recipe.toml")
    shown = mp3restore("--dry-run", *arguments).stdout
    assert "It takes about" in shown and "are free" in shown
    told = [json.loads(line) for line in mp3restore("--dry-run", "--json", *arguments).stdout.splitlines()]
    bytes_of = {one["song"]: one["bytes"] for one in told}
    assert bytes_of["One.mp3"] == 0 < bytes_of["Two.mp3"]
    first, *_, last = mp3restore("--no-tui", *arguments).stdout.splitlines()
    assert first.startswith("It takes about") and "done" in last
    assert not mp3restore("--no-tui", *arguments).stdout.startswith("It takes"), "nothing is added any more"
    events = [json.loads(line) for line in mp3restore("--json", *arguments).stdout.splitlines()]
    assert events[0]["event"] == "RoomNeeded" and events[0]["kept"] == 0 and events[0]["fits"]


def test_what_does_not_fit_is_told_in_plain_words():
    assert "does not fit" in Needed(3 * 10**12, 0, 10**9).in_words()
    assert "1.0 GB are free" in Needed(3 * 10**12, 0, 10**9).in_words()
    tight = Needed(900, 200, 1000)
    assert not tight.fits and "200 B more while it works" in tight.in_words()
    assert Needed(900, 100, 1000).fits and Needed(900, 0, None).fits
    assert "at most" in Needed(900, 100, 1000, at_most=True).in_words()
