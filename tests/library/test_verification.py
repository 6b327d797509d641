"""Whether results still are what was written: what disks and people do to files is found, told apart and mended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mutagen
import pytest

from engine.commands.verify import read_all, repair
from engine.errors import UsageError
from engine.library.pruning import delete, prune
from engine.library.state_index import index_path
from engine.library.verification import Fault
from engine.planning.task import State
from engine.run.session import Session
from tests.conftest import another_song, execute, mp3restore

RECIPE = """format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.07_mastered]
chain = ["decode", "master"]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo_mp3):
    """A finished library of two songs, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "lib").mkdir()
    shutil.copy(demo_mp3, folder / "lib" / "One.mp3")
    another_song(demo_mp3, folder / "lib" / "Two.mp3")
    (folder / "recipe.toml").write_text(RECIPE)
    execute(Session([folder / "lib"], recipe=str(folder / "recipe.toml")))
    return folder.rename(folder.with_name("kept"))  # so that no copy's place is taken by it


@pytest.fixture
def library(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def opened(library: Path) -> Session:
    return Session([library / "lib"], recipe=str(library / "recipe.toml"))


def look(library: Path):
    session = opened(library)
    return session, read_all(session.store, [session.where(song) for song in session.songs])


def faults(library: Path) -> list[tuple[str, str, Fault]]:
    _, result = look(library)
    return [(song.id, f.variant, f.fault) for song, found in result.findings.items() for f in found]


def result_of(library: Path, variant: str, song: str = "One") -> Path:
    (found,) = (library / "AI_Restored_Variants" / variant).glob(f"{song}*.flac")
    return found


def state_file(library: Path, name: str) -> Path:
    return library / "AI_Restored_Variants" / "_done" / "One" / name


def flip_a_bit(path: Path) -> None:
    """In its midst, as disks do it: neither size nor times tell of it."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_library_as_it_was_written_is_found_whole(library):
    session, result = look(library)
    assert (result.songs, result.files, result.findings) == (2, 4, {})
    assert result.size == sum(path.stat().st_size for path in session.store.out.glob("0*/*.flac"))
    assert result.in_words()[0].startswith("4 files of 2 songs are whole")


def test_a_flipped_bit_is_found_and_the_file_made_again_with_the_same_bytes(library):
    path = result_of(library, "07_mastered")
    before = path.read_bytes()
    flip_a_bit(path)
    assert [s for plan in opened(library).states() for s in plan.states.values()].count(State.DONE) == 4
    assert faults(library) == [("One.mp3", "07_mastered", Fault.DAMAGED)]
    session, result = look(library)
    assert not result.is_good
    repair(session.store, result)
    execute(opened(library))
    assert path.read_bytes() == before
    assert faults(library) == []


def test_what_is_cut_off_or_missing_is_found_but_not_what_was_given_up(library):
    cut = result_of(library, "01_baseline")
    cut.write_bytes(cut.read_bytes()[:-1000])
    result_of(library, "07_mastered").unlink()
    session = opened(library)
    two = session.songs[1]
    master = next(m for m in session.store.markers(two) if m.task == "07_mastered")
    with session.store.lock():
        assert prune(session.store, two, master, delete) == []
    assert faults(library) == [
        ("One.mp3", "01_baseline", Fault.DAMAGED),
        ("One.mp3", "07_mastered", Fault.MISSING),
    ]


def test_other_tags_are_no_damage_and_other_samples_are_left_as_they_are(library):
    tagged = mutagen.File(result_of(library, "01_baseline"))
    tagged["comment"] = "mine"
    tagged.save()
    mine = result_of(library, "07_mastered")
    shutil.copy(result_of(library, "07_mastered", "Two"), mine)
    _, result = look(library)
    assert faults(library) == [("One.mp3", "07_mastered", Fault.REPLACED)]
    assert result.is_good and not result.repairable


@pytest.mark.parametrize("indexed", [True, False])
def test_a_damaged_state_file_is_seen_behind_the_index_and_mended(library, indexed, monkeypatch):
    monkeypatch.setattr("engine.library.state_index._SETTLED", 0)  # what was just written is taken into the index
    files = [state_file(library, "07_mastered.done.json"), state_file(library, "song.json")]
    session = opened(library)
    session.states()
    before = result_of(library, "07_mastered").read_bytes()
    for path in files:
        flip_a_bit(path)
    if indexed:  # as a disk does it, without a trace in the file's times
        pretend_unchanged(session, files)
    else:
        index_path(session.store.out).unlink()
    found = [("One.mp3", "", Fault.STATE), ("One.mp3", "07_mastered", Fault.STATE)]
    assert faults(library) == found
    session, result = look(library)
    repair(session.store, result)
    if indexed:
        assert faults(library) == [], "the index knew what they said"
    execute(opened(library))
    assert faults(library) == [] and result_of(library, "07_mastered").read_bytes() == before


def pretend_unchanged(session: Session, files: list[Path]) -> None:
    """Have the index take ``files`` for what it knows of them."""
    store = session.store
    for path in files:
        status = path.stat()
        known = store.index._of(str(path.parent))[path.name]
        known.stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        store.index._changed.add(str(path.parent))
    store.index.keep()


def test_nothing_is_mended_while_another_works_there(library):
    flip_a_bit(result_of(library, "07_mastered"))
    session, result = look(library)
    with session.store.lock(), pytest.raises(UsageError, match="Another mp3restore"):
        repair(opened(library).store, result)


def test_a_verdict_that_cannot_be_read_is_told(library):
    session = opened(library)
    folder = session.store.places.listening(session.songs[0].key)
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text("{ broken")
    ((_, variant, fault),) = faults(library)
    assert (variant, fault) == ("", Fault.CHOICE)
    assert not look(library)[1].is_good


def test_the_command_tells_and_mends(library):
    recipe = str(library / "recipe.toml")
    good = mp3restore("verify", library / "lib")
    assert good.returncode == 0 and "4 files of 2 songs are whole" in good.stdout
    flip_a_bit(result_of(library, "07_mastered"))
    found = mp3restore("verify", library / "lib")
    assert found.returncode == 1 and "1 damaged" in found.stdout and "--repair" in found.stdout
    mended = mp3restore("verify", "--repair", library / "lib")
    assert mended.returncode == 1 and "next run" in mended.stdout
    assert mp3restore("--no-tui", "--recipe", recipe, library / "lib").returncode == 0
    assert mp3restore("verify", library / "lib").returncode == 0
