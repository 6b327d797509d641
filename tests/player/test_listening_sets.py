"""What there is to hear, what the listener decides, and where favourites go."""

from __future__ import annotations

import json
import shutil

import mutagen
import numpy as np
import pytest
import soundfile

from engine.commands.export import export, favourites
from engine.errors import UsageError
from engine.files import file_hash
from engine.library.layout import LISTENING
from engine.library.verdicts import change_verdict, read_verdict
from engine.player.listening_sets import of_files, of_paths, of_song
from engine.run.session import Session
from tests.conftest import execute, mp3restore

QUICK = (
    'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.11_offline]\nchain = ["decode", "restore"]\nsuffix = ".offline"\n'
    '[variants.07_mastered]\nfrom = ["11_offline"]\nchain = ["master"]\nsuffix = ".master"\n'
)


@pytest.fixture
def made(songs, tmp_path):
    """A library with the offline variant of both songs, and its session."""
    (tmp_path / "quick.toml").write_text(QUICK)
    session = Session([songs], recipe=str(tmp_path / "quick.toml"))
    session.off |= {(s.id, "07_mastered") for s in session.songs}
    execute(session)
    return session


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))


def test_variants_of_a_song_and_what_is_missing(made):
    listening_set = of_song(made.store, made.songs[1], made.tasks)
    by_key = {c.key: c for c in listening_set.candidates}
    assert list(by_key) == ["01_baseline", "07_mastered", "11_offline"]
    assert by_key["07_mastered"].missing == "not made yet" and not by_key["07_mastered"].parts
    offline = by_key["11_offline"]
    assert (
        "generated above" in offline.note
        and offline.chain == "Plain decode → Offline restorer"
        and offline.parts[0].rate == 44100
    )
    assert len(offline.sha256) == 64 and by_key["01_baseline"].is_plain and not offline.is_plain
    assert 15000 < listening_set.cutoff < 20000 and listening_set.title == "Two.mp3"


def test_the_plain_decode_is_offered_even_where_it_was_not_made(made):
    shutil.rmtree(made.store.out / "01_baseline")
    listening_set = of_song(made.store, made.songs[0], made.tasks)
    plain = listening_set.candidates[0]
    assert (
        plain.key == "01_baseline"
        and plain.is_plain
        and plain.parts[0].path == made.songs[0].path
        and not plain.missing
    )
    fresh = of_song(Session([made.songs[0].path], made.store.out.parent / "new").store, made.songs[0], made.tasks)
    assert not fresh.candidates[0].missing and all(c.missing for c in fresh.candidates[1:])


def test_variants_of_other_recipes_are_found(made):
    listening_set = of_song(made.store, made.songs[0], ())
    assert [c.key for c in listening_set.candidates] == ["01_baseline", "11_offline"]


@pytest.mark.parametrize("what", ["library", "results", "song"])
def test_play_finds_the_variants(made, songs, what):
    given = {"library": songs, "results": made.store.out, "song": songs / "Two.mp3"}[what]
    sets = of_paths([given])
    assert [m.title.removesuffix(".mp3") for m in sets] == (["Two"] if what == "song" else ["Artist/One", "Two"])
    assert {c.key for c in sets[-1].candidates if not c.missing} == {"01_baseline", "11_offline"}
    assert sets[-1].folder == made.store.out / LISTENING / "Two"


def test_play_takes_any_files_and_folders_without_a_run(tmp_path, demo_mp3, piece):
    folder = tmp_path / "any"
    folder.mkdir()
    shutil.copy(demo_mp3, folder / "a.mp3")
    soundfile.write(folder / "b.flac", piece, 44100)
    (folder / "notes.txt").write_text("x")
    (listening_set,) = of_paths([folder])
    assert [c.title for c in listening_set.candidates] == ["a.mp3", "b.flac"] and listening_set.candidates[0].is_plain
    assert of_paths([folder / "b.flac", folder / "a.mp3"])[0].candidates[0].title == "b.flac"
    assert str(listening_set.folder).startswith(str(tmp_path / "nobody"))
    for wrong in ([folder / "notes.txt"], [tmp_path / "gone"]):
        with pytest.raises(UsageError):
            of_paths(wrong)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="nothing to play"):
        of_paths([empty])
    with pytest.raises(UsageError, match="does not exist"):
        of_files([folder / "gone.mp3"])


def test_stems_in_a_folder_can_be_heard_together(tmp_path):
    for name in ("vocals", "drums", "bass", "other"):
        soundfile.write(tmp_path / f"{name}.flac", np.zeros((1000, 2)), 44100)
    (listening_set,) = of_paths([tmp_path])
    assert listening_set.candidates[0].has_stems and [p.name for p in listening_set.candidates[0].parts] == [
        "bass",
        "drums",
        "other",
        "vocals",
    ]


def test_all_stems_that_a_separator_makes_are_known_as_such(tmp_path):
    for name in ("vocals", "accompaniment", "residual"):
        soundfile.write(tmp_path / f"{name}.flac", np.zeros((1000, 2)), 44100)
    (listening_set,) = of_paths([tmp_path])
    assert {p.name for p in listening_set.candidates[0].parts} == {"vocals", "accompaniment", "residual"}


def test_verdicts_survive_and_broken_ones_cost_nothing(tmp_path):
    assert read_verdict(tmp_path).favourite == ""
    change_verdict(tmp_path, favourite="11_offline")
    change_verdict(tmp_path, note="airy, a bit harsh")
    assert read_verdict(tmp_path).favourite == "11_offline" and read_verdict(tmp_path).note.startswith("airy")
    (tmp_path / "verdict.json").write_text("[1,")
    assert read_verdict(tmp_path).note == ""


def choose(session, **favourite_of):
    for song in session.songs:
        if song.key.name in favourite_of:
            change_verdict(session.store.out / LISTENING / song.key, favourite=favourite_of[song.key.name])


def test_favourites_are_exported_with_final_names_and_tags(made, tmp_path):
    choose(made, One="11_offline", Two="01_baseline")
    assert len(favourites(made.store, made.songs)) == 2
    target = tmp_path / "Best"
    result = export(made.store, made.songs, target)
    assert sorted(result.written) == ["Artist/One.flac", "Two.mp3"] and not result.problems
    assert (target / "Artist/One.flac").read_bytes() == (
        made.store.out / "11_offline/Artist/One.offline.flac"
    ).read_bytes()
    assert mutagen.File(target / "Artist/One.flac")["title"] == ["Demo Song"]
    source = next(s.path for s in made.songs if s.key.name == "Two")
    assert (target / "Two.mp3").read_bytes() == source.read_bytes()
    assert export(made.store, made.songs, target).up_to_date == ["Artist/One.flac", "Two.mp3"]
    choose(made, One="01_baseline")  # another choice replaces what an export wrote, and nothing else
    result = export(made.store, made.songs, target)
    assert result.written == ["Artist/One.mp3"] and not (target / "Artist/One.flac").exists()


def test_an_export_leaves_foreign_files_alone(made, tmp_path):
    choose(made, Two="11_offline")
    target = tmp_path / "Best"
    target.mkdir()
    (target / "Two.flac").write_text("my own")
    result = export(made.store, made.songs, target)
    assert (target / "Two.flac").read_text() == "my own" and "left as it is" in result.problems[0]
    with pytest.raises(UsageError, match="outside"):
        export(made.store, made.songs, made.store.out / "x")


@pytest.mark.parametrize("name", ["", ".", "/", "..", "../Two.flac", "Two.\0", "{}/Two.mp3", "Two.mp3"])
def test_no_list_of_exports_makes_exporting_fail_or_reach_out(made, tmp_path, name):
    choose(made, Two="11_offline")
    target, outside = tmp_path / "Best", tmp_path / "Two.mp3"
    target.mkdir()
    for path in (outside, tmp_path / "Two.flac"):
        path.write_text("mine")
    files = {name.format(tmp_path): file_hash(outside), "Two.": 5}
    (target / ".mp3restore-export.json").write_text(json.dumps({"format": 2, "files": files}))
    result = export(made.store, made.songs, target)
    assert result.written == ["Two.flac"] and result.problems == []
    assert outside.read_text() == (tmp_path / "Two.flac").read_text() == "mine"


def test_a_favourite_from_a_verdict_is_told_as_plain_text(made, tmp_path):
    choose(made, Two="\x1b[2J")
    (problem,) = export(made.store, made.songs, tmp_path / "Best").problems
    assert problem.isprintable() and "not there any more" in problem


def test_an_export_can_link_and_tells_what_is_gone(made, tmp_path):
    choose(made, One="11_offline", Two="07_mastered")
    result = export(made.store, made.songs, tmp_path / "Best", link=True)
    assert (tmp_path / "Best/Artist/One.flac").samefile(made.store.out / "11_offline/Artist/One.offline.flac")
    assert "07_mastered is not there any more" in result.problems[0]


def test_export_play_and_abx_on_the_command_line(made, songs, tmp_path):
    result = mp3restore("export", songs, "--to", tmp_path / "Best")
    assert result.returncode == 2 and "No song has a favourite yet" in result.stderr
    choose(made, Two="11_offline")
    result = mp3restore("export", songs, "--to", tmp_path / "Best")
    assert (
        result.returncode == 0
        and result.stdout.startswith("1 favourite in ")
        and (tmp_path / "Best/Two.flac").is_file()
    )
    for arguments in (["play", songs], ["abx", songs / "Two.mp3", songs / "Artist/One.mp3"]):
        result = mp3restore(*arguments)
        assert result.returncode == 2 and "needs a terminal" in result.stderr
    same = mp3restore("abx", songs / "Two.mp3", songs / "Two.mp3")
    assert same.returncode == 2 and "same file" in same.stderr


def test_what_was_exported_into_the_library_is_no_song_of_it(made, songs):
    choose(made, One="11_offline", Two="01_baseline")
    assert export(made.store, made.songs, songs / "Best").written
    assert [s.id for s in Session([songs]).songs] == [s.id for s in made.songs]
    (songs / "Best/.mp3restore-export.json").write_text("[" * 100_000)
    assert "Best/Two.mp3" in [s.id for s in Session([songs]).songs]


def test_a_library_that_is_exported_into_itself_keeps_its_songs(made, songs):
    before = (songs / "Two.mp3").read_bytes()
    choose(made, Two="01_baseline")
    assert export(made.store, made.songs, songs).up_to_date == ["Two.mp3"]
    assert [s.id for s in Session([songs]).songs] == [s.id for s in made.songs]
    choose(made, Two="11_offline")
    export(made.store, made.songs, songs)
    assert (songs / "Two.mp3").read_bytes() == before
