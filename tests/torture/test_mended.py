"""What the campaign has found, each in its smallest form."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile

from engine import files
from engine.audio import decode, encode
from engine.audio.encode import write_flac
from engine.errors import OutputError, UnreadableError
from engine.files import make_folder, write_json
from engine.library import damage_report, recognition
from engine.library.layout import SET_ASIDE
from engine.library.sound_index import SoundIndex
from engine.library.verdicts import change_verdict, read_verdict
from engine.machine.warm_child import ChildGone
from engine.models.runtime import device as devices
from engine.run import song_run
from engine.run.events import SongDone, TaskStarted
from engine.run.session import Session
from engine.stages.base import Signal, read_blocks
from tests.conftest import execute, write_mp3

RECIPE = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.02_low]
chain = ["decode", { stage = "lowpass", cutoff_hz = 9000 }, { stage = "width", high = 0.5 }]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, piece):
    """A library of one finished song of a second."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "lib").mkdir()
    write_mp3(folder / "lib" / "One.mp3", piece[44100:88200])
    (folder / "r.toml").write_text(RECIPE)
    assert run(folder) == []
    return folder


@pytest.fixture
def place(made, tmp_path):
    """The same, where it was made: everything is put back afterwards."""
    backup = tmp_path / "backup"
    shutil.copytree(made, backup)
    yield made
    for path in list(made.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(backup, made, dirs_exist_ok=True)


def session(place: Path) -> Session:
    return Session([place / "lib"], place / "out", str(place / "r.toml"), device="cpu")


def run(place: Path, **options) -> list[str]:
    """Run to the end; what failed."""
    events = execute(session(place), **options)
    return [why for event in events if isinstance(event, SongDone) for why in event.failed]


def results(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in (place / "out").rglob("*.flac")}


def failing(function, times, code=errno.EIO):
    """``function``, which the system refuses for the first times."""
    left = [times]

    def call(*arguments, **options):
        if left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return function(*arguments, **options)

    return call


# --- killed ---------------------------------------------------------------------------------------------------


def test_what_a_run_left_that_was_killed_after_its_last_marker_is_cleared_away(place):
    left = place / "out/_chunks/One/02_low"
    left.mkdir(parents=True)
    (left / "result.flac").write_bytes(b"x")
    (left / "0123456789abcdef").mkdir()
    assert run(place) == [] and not (place / "out/_chunks").exists()


def test_folders_that_a_move_had_no_time_to_clear_away_are_cleared_by_the_next_run(place, monkeypatch):
    (place / "lib/Artist").mkdir()
    (place / "lib/One.mp3").rename(place / "lib/Artist/One.mp3")
    assert run(place) == []
    (place / "lib/Other").mkdir()
    (place / "lib/Artist/One.mp3").rename(place / "lib/Other/One.mp3")
    (place / "lib/Artist").rmdir()
    monkeypatch.setattr(recognition, "_remove", failing(recognition._remove, 1))
    assert run(place) != []
    assert run(place) == []
    assert not list((place / "out").rglob("Artist"))


def test_what_was_brought_half_way_to_another_place_is_known_there(place, monkeypatch):
    (place / "lib/One.mp3").rename(place / "lib/Two.mp3")
    before = results(place)
    monkeypatch.setattr(recognition, "_move_listening", failing(recognition._move_listening, 1))
    run(place)
    assert session(place).store.record_at(PurePath("Two")) is not None
    assert run(place) == []
    assert {name.replace("Two", "One"): data for name, data in results(place).items()} == before


# --- power cuts -----------------------------------------------------------------------------------------------


def test_new_folders_are_on_the_disk_before_anything_is_brought_into_them(tmp_path, monkeypatch):
    flushed: list[Path] = []
    monkeypatch.setattr(files, "flush_folder", flushed.append)
    make_folder(tmp_path / "a/b/c")
    assert flushed == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    flushed.clear()
    write_json(tmp_path / "d/x.json", {})
    assert flushed == [tmp_path, tmp_path / "d"]


def test_the_mark_of_reports_is_gone_for_good_before_a_record_is_there(place, monkeypatch):
    told: list[str] = []
    store = session(place).store
    monkeypatch.setattr("engine.library.store.flush_folder", lambda folder: told.append(folder.name))
    monkeypatch.setattr("engine.library.store.write_checked", lambda path, data: told.append(path.name))
    store.places.reported.write_text("x")
    store.remember(PurePath("Other"), store.record_at(PurePath("One")))
    assert told == ["_report", "song.json"]


# --- disks that fail ------------------------------------------------------------------------------------------


def test_what_the_listener_chose_is_not_lost_where_it_cannot_be_read_for_a_moment(tmp_path, monkeypatch):
    change_verdict(tmp_path, favourite="02_low", note="the best")
    monkeypatch.setattr(files, "read_text", failing(files.read_text, 1))
    with pytest.raises(OSError):
        change_verdict(tmp_path, favourite="01_baseline")
    change_verdict(tmp_path, favourite="01_baseline")
    assert read_verdict(tmp_path).note == "the best"


def test_a_folder_that_cannot_be_read_for_a_moment_does_not_pass_for_an_empty_one(place, monkeypatch):
    listening = place / "out/_listening/One"
    listening.mkdir(parents=True)
    change_verdict(listening, favourite="02_low", note="mine")
    (place / "lib/One.mp3").rename(place / "lib/Two.mp3")
    iterate = Path.iterdir
    refuse = [True]

    def iterdir(path):
        if path == listening and refuse:
            refuse.clear()
            raise OSError(errno.EIO, "Input/output error")
        return iterate(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "The disk reports an error" in run(place)[0] and not refuse
    assert run(place) == []
    assert read_verdict(place / "out/_listening/Two").note == "mine"


def test_a_flac_of_which_the_disk_refused_the_end_is_none(tmp_path, monkeypatch):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2)).astype(np.float32)

    def write(path):
        return write_flac(path, lambda: [audio], rate=44100, channels=2, frames=len(audio), seed=0, tag=tag)

    def tag(path):  # as it is where the last but one of libFLAC's writes was refused, of which it says nothing
        if refused:
            with path.open("r+b") as file:
                file.seek(12)
                file.write(bytes(6))

    refused = False
    write(tmp_path / "whole.flac")
    refused = True
    with pytest.raises(OutputError, match="did not read back"):
        write(tmp_path / "x.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.flac"]


def test_libsndfiles_words_for_a_refused_file_do_not_reach_the_user(tmp_path, monkeypatch):
    for words in (
        "Error : problem with initialization of the flac decoder.",
        "Error opening b'/tmp/x.tmp': System error.",
    ):

        def refuse(*_, words=words, **__):
            raise soundfile.SoundFileError(words)

        monkeypatch.setattr(encode, "open_sound", refuse)
        with pytest.raises(OutputError) as told:
            write_flac(tmp_path / "x.flac", lambda: [], rate=44100, channels=2, frames=0, seed=0)
        assert "Error" not in str(told.value) and "x.tmp" not in str(told.value)


def test_a_result_that_cannot_be_read_on_the_way_is_told_as_such(tmp_path):
    (tmp_path / "x.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(OutputError, match="which it starts from, could not be read: check its drive"):
        list(read_blocks(Signal(tmp_path / "x.flac", 44100, 2, 100, 0.0)))


def test_a_favourite_that_cannot_be_read_is_not_pruned(place):
    from engine.commands import prune
    from engine.library.pruning import delete

    listening = place / "out/_listening/One"
    listening.mkdir(parents=True)
    change_verdict(listening, favourite="02_low")
    (listening / "verdict.json").write_bytes(b'{"favourite": "02_')
    one = session(place)
    assert "cannot be read" in next(iter(prune.preview(one.store, one.songs, prune.Rule(("01",))).left))
    assert prune.carry_out(one.store, one.songs, prune.Rule(("01",)), delete).results == 0
    assert len(results(place)) == 2


def test_a_report_of_which_a_record_could_not_be_read_is_written_again(place, monkeypatch):
    song = place / "out/_done/One/song.json"
    song.touch()  # the index does not tell of it
    (place / "out/_report/.told").unlink()
    before = (place / "out/_report/damage.csv").read_bytes()
    monkeypatch.setattr(files, "read_text", failing(files.read_text, 3))
    monkeypatch.setattr("engine.library.state_index.StateIndex.read", lambda *_: None)
    with pytest.raises(OSError):
        damage_report.bring_up_to_date(session(place).store)
    monkeypatch.undo()
    assert not (place / "out/_report/.told").exists()
    damage_report.bring_up_to_date(session(place).store)
    assert (place / "out/_report/damage.csv").read_bytes() == before


# --- the song -------------------------------------------------------------------------------------------------


def test_a_song_that_was_cut_off_and_comes_back_has_all_that_was_made_and_chosen(place):
    listening, song = place / "out/_listening/One", place / "lib/One.mp3"
    listening.mkdir(parents=True)
    change_verdict(listening, favourite="02_low", note="mine")
    before, data = results(place), song.read_bytes()
    song.write_bytes(b"")
    assert len(run(place)) == 1
    song.write_bytes(data)
    begun = [event for event in execute(session(place)) if isinstance(event, TaskStarted)]
    assert begun == [] and results(place) == before and read_verdict(listening).note == "mine"


def test_nothing_is_thrown_away_while_a_song_could_not_be_looked_at(place, piece, monkeypatch):
    song = place / "lib/One.mp3"
    song.rename(place / "lib/Also.mp3")  # which could not be looked at in the first run
    write_mp3(song, piece[88200:132300])
    look = song_run.look

    def refused(store, one, *more):
        if one.path.name == "Also.mp3":
            raise OSError(errno.EIO, "Input/output error")
        return look(store, one, *more)

    monkeypatch.setattr(song_run, "look", refused)
    before = results(place)
    assert len(run(place)) == 1
    monkeypatch.undo()
    begun = {event.song for event in execute(session(place)) if isinstance(event, TaskStarted)}
    found = results(place)
    assert begun <= {"One.mp3"} and all(found[name.replace("One", "Also")] == data for name, data in before.items())
    assert not list((place / "out").rglob(SET_ASIDE))


def test_the_process_that_reads_songs_is_ended_from_outside():
    for code in (-signal.SIGKILL, -signal.SIGTERM):
        problem = decode._problem(ChildGone(code))
        assert isinstance(problem, UnreadableError) and "ended from outside" in str(problem)
    assert "crashed" in str(decode._problem(ChildGone(-signal.SIGSEGV)))


# --- what lies on the disk ------------------------------------------------------------------------------------


def test_other_tags_give_the_bytes_that_a_result_has_when_it_is_made_anew(place):
    from mutagen.id3 import ID3, TIT2

    tags = ID3()
    for title in ("One", "A title that is longer than the first"):
        tags.add(TIT2(encoding=3, text=[title]))
        tags.save(place / "lib/One.mp3")
        assert run(place) == []
    retagged = results(place)
    assert run(place, force=True) == []
    assert results(place) == retagged


def test_a_damaged_index_of_sounds_is_made_anew_from_the_records(tmp_path):
    entries = [("a" * 64, PurePath("One")), ("b" * 64, PurePath("Two"))]
    path = tmp_path / ".sounds"
    for damage in (b"\0" * 50, b"garbage", b'\n{"format": 1}', b'\n \n"x" y', path):
        if isinstance(damage, bytes):
            path.write_bytes(damage)
        index = SoundIndex(path, lambda: entries)
        assert index.places("a" * 64) == [PurePath("One")] and index.places("b" * 64) == [PurePath("Two")]


def test_a_sound_that_could_not_be_written_down_is_written_the_next_time(tmp_path, monkeypatch):
    index = SoundIndex(tmp_path / ".sounds", list)
    index.places("a" * 64)  # of which there is none yet
    monkeypatch.setattr("engine.library.sound_index.open_regular", failing(files.open_regular, 1))
    with pytest.raises(OSError):
        index.add("a" * 64, PurePath("One"))
    index.add("a" * 64, PurePath("One"))
    assert SoundIndex(tmp_path / ".sounds", list).places("a" * 64) == [PurePath("One")]


def test_tags_reach_a_result_whose_marker_could_not_be_read_for_a_moment(place, monkeypatch):
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3, TIT2

    tags = ID3()
    tags.add(TIT2(encoding=3, text=["New"]))
    tags.save(place / "lib/One.mp3")
    read = files.read_text

    def refused(path, most):
        if path.name == "02_low.done.json" and refuse:
            raise OSError(errno.EIO, "Input/output error")
        return read(path, most)

    refuse = [True]
    monkeypatch.setattr(files, "read_text", refused)
    monkeypatch.setattr("engine.library.state_index.StateIndex._load", lambda *_: {})
    run(place)
    refuse.clear()
    assert run(place) == []
    assert all(FLAC(path)["title"] == ["New"] for path in (place / "out").rglob("*.flac"))


def test_records_come_in_one_order_whatever_order_the_disk_has_them_in(place, monkeypatch):
    store = session(place).store
    for name in ("Two", "Three", "Also"):
        store.remember(PurePath(name), store.record_at(PurePath("One")))
    scan = os.scandir

    class Backwards(contextlib.nullcontext):
        """What lies in a folder, the last first."""

        def __iter__(self):
            return iter(sorted(self.enter_result, key=lambda entry: entry.name, reverse=True))

        def __next__(self):
            self.rest = getattr(self, "rest", None) or iter(self)
            return next(self.rest)

    monkeypatch.setattr(os, "scandir", lambda path: Backwards(scan(path)))
    assert [key.name for key, _ in store.records()] == ["Also", "One", "Three", "Two"]


# --- the GPU --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["CUDA error: unspecified launch failure", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"]
)
def test_a_gpu_that_stops_working_is_told_as_such(place, monkeypatch, words):
    from engine.stages.lowpass import Lowpass

    def lost(*_):
        raise RuntimeError(words)

    monkeypatch.setattr(Lowpass, "run", lost)
    (why,) = run(place, force=True)
    assert why.startswith("02_low: The GPU stopped working") and not devices.is_lost(RuntimeError("CUDA out of memory"))
    assert not devices.is_lost(ValueError("CUDA error"))
