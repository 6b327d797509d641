"""The index of state files: never the truth, whatever becomes of it or of the files behind its back."""

import os
import sqlite3
import threading
import time
from pathlib import PurePath

import pytest

from engine.library import state_index
from engine.library.records import SongRecord
from engine.library.state_file import write_checked
from engine.library.state_index import StateIndex, index_path
from engine.library.store import Store

OLD = time.time() - 100


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(state_index, "_SETTLED", 0)  # the files of a test are young
    return tmp_path / "out"


def write(path, value):
    write_checked(path, {"format": 2, "value": value})
    os.utime(path, (OLD, OLD))  # all of one time and size: only what nobody can set tells them apart


def value_of(data):
    return data["value"]


def read(out, path):
    """As another process would read it; and whether the file itself was read for it."""
    index, reads = StateIndex(out), []
    original = state_index.read_checked
    state_index.read_checked = lambda *given: reads.append(given) or original(*given)
    try:
        found = index.read(path, 0, value_of)
        index.keep()
    finally:
        state_index.read_checked = original
    return found, bool(reads)


def test_a_file_is_read_once_and_then_known(out):
    path = out / "a" / "song.json"
    write(path, 1)
    assert read(out, path) == (1, True)
    assert read(out, path) == (1, False)


@pytest.mark.parametrize("how", ["written", "in place", "restored", "deleted", "folder gone", "broken"])
def test_what_is_changed_behind_its_back_is_seen_though_size_and_time_are_the_same(out, how):
    path = out / "a" / "song.json"
    write(path, 2)
    backup = path.read_bytes()
    write(path, 1)
    read(out, path)
    expected = 2
    if how == "written":
        write(path, 2)
    elif how == "in place":
        path.write_bytes(backup)
    elif how == "restored":
        path.with_name("restored").write_bytes(backup)
        path.with_name("restored").replace(path)
    elif how == "deleted":
        path.unlink()
        expected = None
    elif how == "folder gone":
        path.parent.rename(out / "b")
        assert read(out, out / "b" / "song.json") == (1, True)
        expected = None
    else:
        path.write_bytes(backup[:-9] + b"x" + backup[-8:])
        expected = None
    if path.exists():
        os.utime(path, (OLD, OLD))
    assert read(out, path)[0] == expected


def test_what_may_be_changed_again_within_one_tick_of_the_clock_is_not_kept(out, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(out.parent / "cache"))
    path = out / "a" / "song.json"
    write(path, 1)
    assert read(out, path) == (1, True)
    assert read(out, path) == (1, True)


def damaged(how, path):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other":
        path.write_bytes(b"no database at all" * 100)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "future":
        database = sqlite3.connect(path)
        database.execute("DROP TABLE folders")
        database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        database = sqlite3.connect(path)
        database.execute("DROP TABLE folders")
        database.execute("CREATE TABLE folders (name BLOB PRIMARY KEY, files TEXT)")
        database.close()


@pytest.mark.parametrize("how", ["truncated", "empty", "other", "folder", "future", "altered"])
def test_a_damaged_index_is_made_anew(out, how):
    path = out / "a" / "song.json"
    write(path, 1)
    read(out, path)
    damaged(how, index_path(out))
    assert read(out, path) == (1, True)
    assert read(out, path) == (1, how == "folder")  # in whose place there can be none


def test_no_flipped_bit_makes_another_truth(out):
    """Every byte that tells of the file, one after the other."""
    path = out / "a" / "song.json"
    write(path, "the truth")
    read(out, path)
    index = index_path(out)
    whole = index.read_bytes()
    row = whole.index(b"song.json")
    for at in range(row - 120, len(whole)):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert read(out, path)[0] == "the truth", at


def test_a_locked_index_and_a_cache_folder_that_cannot_be_written_cost_nothing_but_time(out, monkeypatch):
    path = out / "a" / "song.json"
    write(path, 1)
    read(out, path)
    other = sqlite3.connect(index_path(out))
    other.execute("BEGIN EXCLUSIVE")
    assert read(out, path) == (1, True)
    other.rollback()
    other.close()
    assert read(out, path) == (1, False)
    (out.parent / "no folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(out.parent / "no folder"))
    assert read(out, path) == (1, True)


def test_names_and_contents_that_no_database_takes_are_read_from_their_files(out):
    strange = out / os.fsdecode(b"\xff\xfe") / "song.json"
    write(strange, "\udcff")
    assert [read(out, strange) for _ in range(2)] == [("\udcff", True)] * 2
    big = out / "big" / "song.json"
    write(big, 1 << 70)
    assert [read(out, big) for _ in range(2)] == [(1 << 70, True)] * 2


def test_many_folders_take_no_memory_and_many_threads_see_the_same(out, monkeypatch):
    monkeypatch.setattr(state_index, "_MOST_FOLDERS", 8)
    paths = [out / str(number) / "song.json" for number in range(60)]
    for number, path in enumerate(paths):
        write(path, number)
    index, found = StateIndex(out), []

    def look():
        found.append([index.read(path, 0, value_of) for path in paths])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(60))] * 4
    assert len(index._folders) <= 8
    index.keep()
    assert all(not read(out, path)[1] for path in paths)


def test_two_processes_add_to_one_index(out):
    one, other = out / "a" / "song.json", out / "b" / "song.json"
    write(one, 1)
    write(other, 2)
    first, second = StateIndex(out), StateIndex(out)
    assert (first.read(one, 0, value_of), second.read(other, 0, value_of)) == (1, 2)
    first.keep()
    second.keep()
    assert [read(out, path) for path in (one, other)] == [(1, False), (2, False)]


def test_the_store_reads_a_known_record_from_the_index(out, monkeypatch):
    record = SongRecord("/music/song.mp3", 1, 1, "0" * 64, "0" * 64, "0" * 64, None)
    Store(out).remember(PurePath("song"), record)
    first = Store(out)
    assert first.record_at(PurePath("song")) == record
    first.index.keep()
    monkeypatch.setattr(state_index, "read_checked", lambda *given: pytest.fail("it was read"))
    assert Store(out).record_at(PurePath("song")) == record
