"""Files are written whole or not at all, waited for where another program holds them, and removed only below."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import files
from engine.errors import NotRegularError, OutsideError, explain_os_error


@pytest.fixture(autouse=True)
def nothing_swept(monkeypatch):
    monkeypatch.setattr(files, "_swept", set())


def held(monkeypatch, times: int, code: int = 32):
    """Windows' refusal, ``times`` times, for every file that is to be replaced."""
    plain, left = Path.replace, [times]

    def replace(self, target):
        if left[0]:
            left[0] -= 1
            error = PermissionError(13, "The process cannot access the file because it is being used")
            error.winerror = code
            raise error
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    return left


@pytest.mark.parametrize("code", [5, 32, 33])
def test_a_file_that_a_scanner_holds_is_waited_for(tmp_path, monkeypatch, code):
    left = held(monkeypatch, 4, code)
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}' and left == [0]


def test_a_file_that_is_held_for_ever_is_told_and_the_old_one_stays(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("old")
    monkeypatch.setattr(files, "_PATIENCE", 0.2)
    held(monkeypatch, -1)
    with pytest.raises(PermissionError):
        files.write_json(tmp_path / "a.json", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "old"


def test_another_refusal_is_told_at_once(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "full").touch()
    with pytest.raises(OSError):
        files.write_json(tmp_path / "folder", {})
    assert pauses == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such thing")
def test_the_name_is_on_disk_too(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, Path.replace

    def told(handle):
        order.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", told)
    monkeypatch.setattr(Path, "replace", lambda a, b: order.append("rename") or replace(a, b))
    files.write_json(tmp_path / "a.json", {})
    assert order == ["file", "rename", "folder"]


def _write_often(folder: str, value: int) -> None:
    for _ in range(40):
        files.write_json(Path(folder) / "same.json", {"value": [value] * 2000})


def test_processes_and_threads_do_not_collide(tmp_path):
    import json

    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_often, args=(str(tmp_path), n)) for n in range(2)]
    workers += [threading.Thread(target=_write_often, args=(str(tmp_path), n + 2)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers[:2]] == [0, 0]
    values = json.loads((tmp_path / "same.json").read_text())["value"]
    assert values == values[:1] * 2000
    assert [p.name for p in tmp_path.iterdir()] == ["same.json"]


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = [
        f".mp3restore-{dead.pid}-00112233.tmp",
        ".mp3restore-0123456789ab.tmp",
        f".mp3restore-{os.getpid()}-0011aabb.tmp",
    ]
    others = [f".mp3restore-{child.pid}-00112233.tmp", ".mp3restore-mine.tmp", ".mp3restore-export.json", "x.tmp"]
    for name in ours + others:
        (tmp_path / name).touch()
    try:
        files.write_json(tmp_path / "a.json", {})
    finally:
        child.kill()
        child.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "a.json"])


@pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")
def test_pipes_and_devices_are_no_files_and_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    signal.alarm(20)
    try:
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
            with pytest.raises(NotRegularError) as told:
                files.file_hash(path)
            assert explain_os_error(told.value, "the song") == str(told.value)
    finally:
        signal.alarm(0)


# --- removing ---------------------------------------------------------------------------------------------


def test_only_what_lies_below_is_removed(tmp_path):
    home = tmp_path / "out"
    (home / "a" / "b").mkdir(parents=True)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song").touch()
    (tmp_path / "out2").mkdir()
    (home / "away").symlink_to(tmp_path / "music")
    for path in (
        home, home / ".", home / "a" / "..", home / ".." / "music", tmp_path / "out2", tmp_path / "music", tmp_path,
        home / "away" / "song", Path("/"), home / "a" / ".." / ".." / "music" / "song",
    ):  # fmt: skip
        with pytest.raises(OutsideError):
            files.remove(path, home)
        with pytest.raises(OutsideError):
            files.remove_empty(path, home)
    assert (tmp_path / "music" / "song").exists() and (home / "a" / "b").exists()
    files.remove(home / "away", home)
    assert (tmp_path / "music" / "song").exists() and not (home / "away").is_symlink()
    (home / "a" / "b" / "out").symlink_to(tmp_path / "music")
    files.remove(home / "a", home)
    files.remove(home / "a", home)
    assert (tmp_path / "music" / "song").exists() and not (home / "a").exists() and home.exists()


def test_a_folder_that_is_reached_through_a_link_is_itself(tmp_path):
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.remove(tmp_path / "link" / "a", tmp_path / "link")
    assert list((tmp_path / "real").iterdir()) == []


def test_empty_folders_go_up_to_where_they_are_not_empty(tmp_path, monkeypatch):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "kept").touch()
    files.remove_empty(Path("a/b/c/gone"), Path())
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "kept"]
