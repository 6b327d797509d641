"""Killed before each single change to a file: what is to be kept is whole, and the next time finishes it.

The process dies by a signal that it cannot catch, before its first, second, third … file is made, renamed or removed,
until it gets to its end.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.commands.prune import Rule, carry_out
from engine.files import file_hash
from engine.library.pruning import delete, to_trash
from engine.library.records import Output
from engine.library.store import Store
from engine.library.verdicts import change_verdict
from engine.planning.task import State
from engine.run.events import TaskStarted
from engine.run.session import Session
from tests.conftest import execute

RECIPE = """format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", { stage = "eq", tilt_db = 0.5 }]
[variants.07_mastered]
from = ["11_offline"]
chain = [{ stage = "eq", tilt_db = -0.5 }]
"""
TEMPORARY = RECIPE.replace("0.5 }]", "0.5 }]\ntemporary = true", 1)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.symlink")

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs processes that are quickly made"
)


def opened(folder: Path, recipe: str = RECIPE) -> Session:
    (folder.parent / "recipe.toml").write_text(recipe)
    return Session([folder / "lib"], recipe=str(folder.parent / "recipe.toml"))


def prune_to(dispose) -> Callable[[Path], list[str]]:
    def prune(folder: Path) -> list[str]:
        session = opened(folder)
        return carry_out(session.store, session.songs, Rule(), dispose).problems

    return prune


def run(folder: Path) -> list[str]:
    return [e.task for e in execute(opened(folder, TEMPORARY)) if isinstance(e, TaskStarted)]


WORK = {"delete": prune_to(delete), "trash": prune_to(to_trash), "temporary": run}


def child(folder: Path, work: str, last: int) -> None:
    """Do it, and die before the change number ``last``."""
    os.environ["XDG_DATA_HOME"] = str(folder / "data")
    changes = iter(range(1, last + 1))

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        changes_something = event in _CHANGES or (event == "open" and int(arguments[2]) & _WRITING)
        if changes_something and str(arguments[0]).startswith(str(folder)) and next(changes, last) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    WORK[work](folder)


def killed(library: Path, tmp_path: Path, work: str) -> Iterator[Path]:
    """A copy of the library for each change before which ``work`` was killed there, one after the other."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    for last in range(1, 1000):
        folder = tmp_path / f"copy {last}"  # in each of them, what processes left is looked for once
        shutil.copytree(library, folder)
        process = processes.Process(target=child, args=(folder, work, last))
        process.start()
        process.join(60)
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0 and last > 5, "it came to its end"
            return
        yield folder
        shutil.rmtree(folder)
    pytest.fail("it never came to its end")


@pytest.fixture(scope="module")
def library(tmp_path_factory, demo_mp3):
    """A finished library with one song, stems among its results, and the master as the favourite; to be copied."""
    folder = tmp_path_factory.mktemp("killed") / "made"
    (folder / "lib" / "Artist").mkdir(parents=True)
    shutil.copy(demo_mp3, folder / "lib" / "Artist" / "One.mp3")
    session = opened(folder)
    execute(session)
    store, song = session.store, session.songs[0]
    one = next(marker for marker in store.markers(song) if marker.task == "11_offline")
    outputs = []
    for port in ("vocals", "drums"):
        path = store.places.stem(song.key, "04_stems", port, "")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store.out / one.outputs[0].path, path)
        outputs.append(Output(store.places.relative(path), path.stat().st_size, file_hash(path), port=port))
    store.write_marker(song.key, dataclasses.replace(one, task="04_stems", outputs=outputs, inputs=[]))
    change_verdict(store.places.listening(song.key), favourite="07_mastered")
    return folder.rename(folder.with_name("moved"))  # so that no copy's place is taken by it


def contents(folder: Path) -> dict[str, str]:
    """The hashes of all results, by what they are called."""
    return {str(path.relative_to(folder)): file_hash(path) for path in folder.rglob("*.flac")}


def out_of(folder: Path) -> Path:
    return folder / "AI_Restored_Variants"


def leftovers(folder: Path) -> list[Path]:
    """Temporary files, and folders of variants that hold nothing."""
    variants = [path for path in out_of(folder).glob("[0-9]*/**/*") if path.is_dir() and not any(path.iterdir())]
    return [*folder.rglob(".mp3restore-*"), *variants]


def is_decided(store: Store, marker) -> bool:
    """Whether a result is there, or said to be given up."""
    return store.is_kept(marker) or marker.pruned


@pytest.mark.parametrize("work", ["delete", "trash"])
def test_pruning_killed_at_every_change(library, tmp_path, work):
    whole = contents(out_of(library))
    (master,) = (name for name in whole if name.startswith("07_mastered"))
    for folder in killed(library, tmp_path, work):
        there = contents(out_of(folder))
        assert there[master] == whole[master] and there.items() <= whole.items(), "nothing is lost or half there"
        if work == "trash":
            assert sorted([*there.values(), *contents(folder / "data").values()]) == sorted(whole.values())
        session = opened(folder)
        song = session.songs[0]
        assert all(is_decided(session.store, marker) for marker in session.store.markers(song))
        assert set(session.states()[0].states.values()) <= {State.DONE, State.PRUNED}, "nothing is made again"
        assert WORK["delete"](folder) == []
        assert contents(out_of(folder)) == {master: whole[master]} and not leftovers(folder)
        assert all(marker.pruned for marker in session.store.markers(song) if marker.task != "07_mastered")


def test_on_a_full_disk_what_was_deleted_before_it_could_be_said_is_not_made_again(library, tmp_path):
    """Then a file goes first, as even a marker needs room; killed just then, the next prune says so."""
    folder = tmp_path / "copy"
    shutil.copytree(library, folder)
    next(folder.rglob("*.offline.flac")).unlink()
    assert opened(folder).states()[0].states["11_offline"] is State.STALE
    assert WORK["delete"](folder) == []
    assert opened(folder).states()[0].states["11_offline"] is State.PRUNED


def test_giving_up_a_temporary_variant_killed_at_every_change(library, tmp_path):
    whole = contents(out_of(library))
    kept = {name: digest for name, digest in whole.items() if not name.startswith("11_offline")}
    for folder in killed(library, tmp_path, "temporary"):
        assert kept.items() <= contents(out_of(folder)).items() <= whole.items()
        assert run(folder) == [], "nothing is made again"
        assert contents(out_of(folder)) == kept and not leftovers(folder)
        assert opened(folder, TEMPORARY).states()[0].states["11_offline"] is State.PRUNED
