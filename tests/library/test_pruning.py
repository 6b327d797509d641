"""Making room: what stays, what goes, and that a kill at any moment loses nothing that is to be kept."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import mutagen
import pytest
from mutagen.id3 import TIT2

from engine.audio.decode import read_tags
from engine.commands.export import export
from engine.commands.prune import Rule, carry_out, preview
from engine.compare.batch import Comparison
from engine.errors import UsageError
from engine.files import file_hash
from engine.library import pruning
from engine.library.pruning import delete
from engine.library.recognition import settle
from engine.library.records import Output
from engine.library.store import Store
from engine.library.verdicts import change_verdict
from engine.planning.task import State
from engine.player.listening_sets import of_song
from engine.run.events import TaskStarted
from engine.run.session import Session
from tests.conftest import execute, mp3restore

RECIPE = """format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", { stage = "restore", top_hz = 19000 }]
[variants.07_mastered]
from = ["11_offline"]
chain = ["master"]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory, demo_mp3):
    """A finished library with one song, to be copied."""
    folder = tmp_path_factory.mktemp("pruned")
    (folder / "lib" / "Artist").mkdir(parents=True)
    shutil.copy(demo_mp3, folder / "lib" / "Artist" / "One.mp3")
    (folder / "recipe.toml").write_text(RECIPE)
    execute(Session([folder / "lib"], recipe=str(folder / "recipe.toml")))
    return folder.rename(folder.with_name("moved"))  # so that no copy's place is taken by it


@pytest.fixture
def made(library, tmp_path):
    """A copy of it, with the master as the favourite."""
    shutil.copytree(library, tmp_path / "copy")
    session = opened(tmp_path / "copy")
    favour(session, "07_mastered")
    return session


def opened(folder: Path, **options) -> Session:
    return Session([folder / "lib"], recipe=str(folder / "recipe.toml"), **options)


def again(session: Session) -> Session:
    return opened(session.store.out.parent)


def favour(session: Session, variant: str, **options) -> None:
    change_verdict(session.store.places.listening(session.songs[0].key), favourite=variant, **options)


def states(session: Session) -> dict[str, State]:
    plan = again(session).states()[0]
    return {task.id: plan.states[task.id] for task in session.tasks if task.is_final}


def files(session: Session) -> list[str]:
    return sorted(p.parent.parent.name for p in session.store.out.glob("*/Artist/*.flac"))


def at_places(session: Session) -> list:
    return [session.where(song) for song in session.songs]


def prune(session: Session, rule: Rule = Rule(), dispose=delete):  # noqa: B008
    return carry_out(session.store, at_places(session), rule, dispose)


def to_trash_of(session: Session):
    """A trash on the same disk: what goes there frees nothing."""
    return lambda path, below: path.rename(session.store.out.parent / path.name)


def worked_on(session: Session, **options) -> list[str]:
    return [event.task for event in execute(session, **options) if isinstance(event, TaskStarted)]


def test_the_favourite_stays_and_nothing_is_made_again_before_it_is_asked_for(made):
    shown = preview(made.store, at_places(made), Rule())
    assert shown.files == 2 and list(shown.sizes) == ["01_baseline", "11_offline"]
    assert len(files(made)) == 3, "a preview changes nothing"
    result = prune(made)
    assert (result.results, result.problems, result.freed) == (2, [], sum(shown.sizes.values()))
    assert files(made) == ["07_mastered"] and not (made.store.out / "11_offline/Artist").exists()
    assert states(made) == {
        "01_baseline": State.PRUNED, "11_offline": State.PRUNED, "07_mastered": State.DONE,
    }  # fmt: skip
    assert worked_on(again(made)) == []
    missing = {c.key: c.missing for c in of_song(made.store, made.songs[0], made.tasks).candidates}
    assert "pruned" in missing["11_offline"] and not missing["07_mastered"]
    assert not missing["01_baseline"], "the source is played"
    (entry,) = Comparison(made.store).entries(made.songs)
    assert "was pruned" in entry.problem
    assert export(made.store, made.songs, made.store.out.parent / "Best").written == ["Artist/One.flac"]
    assert "11_offline" in worked_on(again(made), force=True)
    assert set(states(made).values()) == {State.DONE}


def test_what_is_built_on_what_was_pruned_has_it_made_on_the_way_only(made):
    prune(made)
    recipe = made.store.out.parent / "recipe.toml"
    recipe.write_text(RECIPE.replace('"master"', '{ stage = "master", loudness_lufs = -16.0 }'))
    assert states(made)["07_mastered"] is State.STALE
    assert "11_offline" in worked_on(again(made))
    assert files(made) == ["07_mastered"] and not list((made.store.out / "_chunks").rglob("*.flac"))
    assert states(made)["11_offline"] is State.PRUNED and states(made)["07_mastered"] is State.DONE
    recipe.write_text(recipe.read_text().replace("19000", "18000"))
    assert states(made)["11_offline"] is State.PRUNED, "another recipe is no wish to have it again"


def test_other_bytes_on_the_way_do_not_make_what_is_done_stale(made):
    """A GPU need not give the same ones."""
    prune(made)
    store, song = made.store, made.songs[0]
    marker = next(m for m in store.markers(song) if m.task == "11_offline")
    other = [dataclasses.replace(o, sound="0" * 32) for o in marker.outputs]
    store.write_marker(song.key, dataclasses.replace(marker, outputs=other))
    assert states(made)["07_mastered"] is State.DONE


@pytest.mark.parametrize("step", range(6))
def test_killed_at_any_step_nothing_that_is_kept_is_lost_and_the_next_one_finishes(made, monkeypatch, step):
    """Two results go, each in three steps: before the marker is written, when it is, when the file has gone."""
    moments = iter(range(100))

    def may_die():
        if next(moments) == step:
            raise KeyboardInterrupt

    def write_marker(*arguments, real=Store.write_marker):
        may_die()
        real(*arguments)
        may_die()

    def dispose(*arguments):
        delete(*arguments)
        may_die()

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_marker", write_marker)
        with pytest.raises(KeyboardInterrupt):
            prune(made, dispose=dispose)
    assert "07_mastered" in files(made)
    now = states(made)
    assert now.pop("07_mastered") is State.DONE and set(now.values()) <= {State.DONE, State.PRUNED}
    assert all((now[v] is State.DONE) == (v in files(made)) for v in now)
    assert worked_on(again(made)) == []
    prune(made)
    assert files(made) == ["07_mastered"] and worked_on(again(made)) == []


def test_what_was_changed_by_hand_stays_and_is_told(made):
    path = made.store.out / "11_offline/Artist/One.offline.flac"
    stamp = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))
    (made.store.out / "01_baseline/Artist/One.flac").rename(made.store.out.parent / "mine.flac")
    (made.store.out / "01_baseline/Artist/One.flac").symlink_to(made.store.out.parent / "mine.flac")
    result = prune(made)
    (link, changed) = result.problems
    assert result.results == 0 and "a link" in link and "somebody changed it" in changed
    assert len(files(made)) == 3 and (made.store.out.parent / "mine.flac").exists()


def test_a_damaged_or_missing_favourite_costs_nothing(made):
    path = made.store.out / "07_mastered/Artist/One.mastered.flac"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "damaged" in prune(made).problems[0] and len(files(made)) == 3
    path.unlink()
    assert not preview(made.store, at_places(made), Rule()).doomed
    assert prune(made).results == 0 and len(files(made)) == 2


def test_without_a_favourite_or_with_a_proposed_one_songs_stay(made):
    favour(made, "")
    assert "no favourite" in next(iter(preview(made.store, at_places(made), Rule()).left))
    favour(made, "07_mastered", is_proposed=True)
    assert "--proposed" in next(iter(preview(made.store, at_places(made), Rule()).left))
    assert prune(made).results == 0
    assert prune(made, Rule(proposed=True)).results == 2


def test_variants_can_be_kept_by_number_and_a_favourite_always_is(made):
    with pytest.raises(UsageError, match="01_baseline, 07_mastered, 11_offline"):
        preview(made.store, at_places(made), Rule(("12",)))
    prune(made, Rule(("11",)))
    assert files(made) == ["07_mastered", "11_offline"]
    favour(made, "")
    prune(made, Rule(("offline",)))
    assert files(made) == ["11_offline"]


def test_the_plain_decode_as_favourite_stands_on_the_source(made):
    favour(made, "01_baseline")
    shutil.rmtree(made.store.out / "01_baseline")
    source = made.songs[0].path
    digest = file_hash(source)
    assert prune(made).results == 2 and files(made) == [] and file_hash(source) == digest


def test_stems_count_as_one_and_stay_or_go_with_their_treated_side(made):
    store, song = made.store, made.songs[0]
    one = next(m for m in store.markers(song) if m.task == "11_offline")
    source = store.out / one.outputs[0].path

    def stems(task: str, suffix: str, inputs: list[str], sound: str) -> None:
        outputs = []
        for place, port in enumerate(("vocals", "drums")):
            path = store.places.stem(song.key, task, port, suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
            digest = {"size": path.stat().st_size, "sha256": file_hash(path)}
            outputs.append(Output(store.places.relative(path), **digest, sound=f"{sound}{place}" * 16, port=port))
        store.write_marker(song.key, dataclasses.replace(one, task=task, outputs=outputs, inputs=inputs))

    stems("04_stems", "", [], "a")
    stems("05_stems_enhanced", ".enhanced", ["a0" * 16, "a1" * 16], "b")
    favour(made, "04_stems")
    shown = preview(store, at_places(made), Rule())
    assert sorted(shown.sizes) == ["01_baseline", "07_mastered", "11_offline"]
    favour(made, "07_mastered")
    shown = preview(store, at_places(made), Rule())
    assert shown.files == 6
    stray = store.out / "04_stems/Artist/One/mine.txt"
    stray.write_text("x")
    assert prune(made).results == 4 and stray.exists() and not (store.out / "05_stems_enhanced/Artist").exists()


def test_a_moved_song_is_pruned_where_its_results_lie(made):
    made.songs[0].path.rename(made.songs[0].path.with_name("Other.mp3"))
    moved = again(made)
    assert prune(moved).results == 2 and files(made) == ["07_mastered"]
    assert worked_on(again(made)) == [] and states(made)["11_offline"] is State.PRUNED
    assert (made.store.out / "07_mastered/Artist/Other.mastered.flac").exists()


def test_a_copy_of_a_song_does_not_bring_back_what_was_pruned(made):
    lib = made.store.out.parent / "lib"
    shutil.copy(made.songs[0].path, lib / "Copy.mp3")
    execute(again(made))
    favour(made, "07_mastered")
    prune(made)  # of the first song: the copy has no favourite
    assert (made.store.out / "11_offline/Copy.offline.flac").exists()
    os.utime(made.songs[0].path)  # it is looked at again
    assert worked_on(again(made)) == [] and files(made) == ["07_mastered"]
    session = again(made)
    song = session.songs[0]
    record = session.store.record_at(song.key)
    settle(session.store, song, record, session.tasks, lambda: read_tags(song.path))
    assert files(made) == ["07_mastered"], "nor when the two are settled"


def test_other_tags_reach_what_is_there_and_make_nothing_again(made):
    prune(made)
    tags = mutagen.File(made.songs[0].path)
    tags.tags.add(TIT2(text=["Another"]))
    tags.save()
    assert worked_on(again(made)) == [] and states(made)["11_offline"] is State.PRUNED
    assert mutagen.File(made.store.out / "07_mastered/Artist/One.mastered.flac")["title"] == ["Another"]


def test_a_full_disk_can_be_pruned(made, monkeypatch):
    """Even the marker needs room: one file goes first where files are deleted; to the trash nothing can go."""
    real, kept = Store.write_marker, set(files(made))

    def full(self, key, marker):
        if set(files(made)) == kept:
            raise OSError(errno.ENOSPC, "full")
        real(self, key, marker)

    monkeypatch.setattr(Store, "write_marker", full)
    result = prune(made, dispose=to_trash_of(made))
    assert result.results == 0 and "disk is full" in result.problems[0] and len(files(made)) == 3
    assert prune(made).problems == [] and files(made) == ["07_mastered"]
    assert set(states(made).values()) == {State.DONE, State.PRUNED}


def test_what_cannot_go_stays_done(made):
    def refused(path, below):
        raise OSError(errno.EACCES, "no")

    result = prune(made, dispose=refused)
    assert result.results == 0 and len(result.problems) == 2 and set(states(made).values()) == {State.DONE}


def test_nothing_is_pruned_while_another_process_works_or_outside_of_the_variants(made):
    with made.store.lock(), pytest.raises(UsageError, match="Another"):
        prune(made)
    store, song = made.store, made.songs[0]
    marker = next(m for m in store.markers(song) if m.task == "11_offline")
    path = Path(shutil.copy(store.out / marker.outputs[0].path, store.out / "mine.flac"))
    for place in ("mine.flac", "07_mastered/Artist/One.mastered.flac", "_done/Artist/One/song.json"):
        forged = dataclasses.replace(marker, outputs=[dataclasses.replace(marker.outputs[0], path=place)])
        store.write_marker(song.key, forged)
        prune(made)
        assert path.exists() and (store.out / place).exists()


def test_put_back_from_the_trash_it_is_done_again(made):
    trash = made.store.out.parent / "trash.flac"
    prune(made, Rule(("01",)), lambda path, below: path.rename(trash))
    assert states(made)["11_offline"] is State.PRUNED
    (made.store.out / "11_offline/Artist").mkdir()
    trash.rename(made.store.out / "11_offline/Artist/One.offline.flac")
    assert states(made)["11_offline"] is State.DONE


def test_on_the_command_line_it_goes_to_the_trash(made, tmp_path):
    lib, data = made.store.out.parent / "lib", tmp_path / "data"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(data)}
    shown = mp3restore("prune", lib, "--dry-run", env=environment)
    assert "2 files of 1 song can go" in shown.stdout and shown.returncode == 0 and len(files(made)) == 3
    refused = mp3restore("prune", lib, env=environment)
    assert refused.returncode == 2 and "--yes" in refused.stderr and len(files(made)) == 3
    done = mp3restore("prune", lib, "--yes", env=environment)
    assert done.returncode == 0 and "went to the trash" in done.stdout, done.stderr
    assert files(made) == ["07_mastered"] and len(list((data / "Trash/files").iterdir())) == 2
    assert "pruned" in mp3restore(lib, "--dry-run", "--recipe", lib.parent / "recipe.toml").stdout


def test_a_disk_without_a_trash_is_told(made, monkeypatch):
    monkeypatch.setattr("send2trash.send2trash", lambda path: (_ for _ in ()).throw(OSError(errno.EACCES, "no")))
    result = prune(made, dispose=pruning.to_trash)
    assert "--delete" in result.problems[0] and len(files(made)) == 3
