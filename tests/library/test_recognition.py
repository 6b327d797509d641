"""A song is known by its sound: retagged, renamed, moved, copied or reached otherwise, nothing is computed again."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from functools import partial

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC
from mutagen.id3 import APIC, ID3, TIT2

from engine.analysis.song import analyze
from engine.audio.decode import read_tags
from engine.library import recognition, results
from engine.library.layout import SET_ASIDE
from engine.library.verdicts import Verdict, change_verdict, read_verdict
from engine.planning.task import State
from engine.run.events import Progress, SongDone, TaskFailed, TaskStarted
from engine.run.session import Session
from tests.conftest import execute, write_mp3

VARIANTS = ("01", "11", "07")
PICTURE = bytes(range(256)) * 100


def session_of(out, *paths, variants=VARIANTS):
    return Session(list(paths), out, variants=variants)


def run(out, *paths, **options):
    """Run to the end; gives what was begun."""
    events = execute(session_of(out, *paths), **options)
    assert [e for e in events if isinstance(e, TaskFailed)] == []
    assert [e.failed for e in events if isinstance(e, SongDone) and e.failed] == []
    return [(e.song, e.variant) for e in events if isinstance(e, TaskStarted)]


def nothing_to_do(out, *paths):
    assert run(out, *paths) == []
    session = session_of(out, *paths)
    assert all(set(plan.states.values()) == {State.DONE} for plan in session.states())
    assert all(plan.analysis is not None for plan in session.states())
    return session


def sounds(out):
    """The MD5 of the samples of every result."""
    return {p.relative_to(out).as_posix(): f"{FLAC(p).info.md5_signature:032x}" for p in out.rglob("*.flac")}


def files(out):
    left = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    return {p for p in left if not p.startswith(("_logs/", "_done/."))}


def retag(path, title, cover=b""):
    tags = ID3(path)
    tags.delall("APIC")
    tags.add(TIT2(text=title))
    if cover:
        tags.add(APIC(mime="image/png", type=3, data=cover))
    tags.save(path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, demo_mp3, piece):
    """Two songs in folders with everything done, and a verdict about one."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "lib/Artist").mkdir(parents=True)
    shutil.copy2(demo_mp3, folder / "lib/Artist/One.mp3")
    write_mp3(folder / "lib/Two.mp3", piece[: 3 * 44100] * 0.5)
    run(folder / "out", folder / "lib")
    change_verdict(folder / "out/_listening/Artist/One", favourite="11_offline", note="best")
    (folder / "out/_listening/Artist/One/test.json").write_text("{}")
    return folder


@pytest.fixture
def place(kept, tmp_path):
    """The same, where it was made: everything is put back afterwards."""
    backup = tmp_path / "backup"
    shutil.copytree(kept, backup)
    yield kept
    for path in list(kept.iterdir()):
        shutil.rmtree(path)
    shutil.copytree(backup, kept, dirs_exist_ok=True)


def moved(before, old, new):
    """What results are called when the song at ``old`` is at ``new``."""
    return {name.replace(f"/{old}", f"/{new}"): value for name, value in before.items()}


def test_other_tags_and_covers_reach_the_results_and_their_samples_stay(place):
    out, song = place / "out", place / "lib/Artist/One.mp3"
    before = sounds(out)
    for title, cover in (("Corrected", PICTURE), ("Once more", b""), ("A very long title " * 50, PICTURE[:100])):
        retag(song, title, cover)
        nothing_to_do(out, place / "lib")
        assert sounds(out) == before
        for name in before:
            flac = FLAC(out / name)
            assert flac["mp3restore_variant"] and flac["mp3restore_source_sha256"]
            if "One" in name:
                assert flac["title"] == [title.strip()]
                assert [p.data for p in flac.pictures] == ([cover] if cover else [])
            else:
                assert "title" not in flac
    assert soundfile.read(out / "01_baseline/Artist/One.flac")[0].shape[1] == 2


def test_a_retagged_song_gives_what_it_would_have_given(place, tmp_path):
    out, song = place / "out", place / "lib/Artist/One.mp3"
    retag(song, "Corrected")
    (out / "07_mastered/Artist/One.master.flac").unlink()
    assert run(out, place / "lib") == [("Artist/One.mp3", "07_mastered")]
    run(tmp_path / "fresh", place / "lib")
    assert sounds(out) == sounds(tmp_path / "fresh")
    assert {n: FLAC(out / n).tags for n in sounds(out)} == {n: FLAC(tmp_path / "fresh" / n).tags for n in sounds(out)}


def test_renamed_songs_keep_their_results_and_favourites(place):
    out = place / "out"
    before = sounds(out)
    (place / "lib/Artist/One.mp3").rename(place / "lib/Artist/01 One.mp3")
    assert set(session_of(out, place / "lib/Artist/01 One.mp3").states()[0].states.values()) == {State.DONE}
    nothing_to_do(out, place / "lib")
    assert sounds(out) == moved(before, "Artist/One", "Artist/01 One")
    assert read_verdict(out / "_listening/Artist/01 One") == Verdict("11_offline", "best")
    assert not [f for f in files(out) if "Artist/One" in f]
    assert not (out / "_done/Artist/One").exists() and not (out / "_listening/Artist/One").exists()
    assert (out / "_logs/Artist/01 One.log").stat().st_size > 100 and not (out / "_logs/Artist/One.log").exists()


def test_copies_and_renamed_songs_are_known_where_a_variant_cannot_be_made(place, tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "nowhere"))
    recipe, lib, out = tmp_path / "apollo.toml", tmp_path / "twice", tmp_path / "twice-out"
    variants = '[variants.01_baseline]\nchain = ["decode"]\n[variants.12_apollo]\nchain = ["decode", "apollo"]\n'
    recipe.write_text(f"format = 1\n{variants}")
    lib.mkdir()
    for name in ("A.mp3", "B.mp3"):
        shutil.copy(place / "lib/Artist/One.mp3", lib / name)

    def begun():
        events = execute(Session([lib], out, str(recipe)))
        assert [e.failed for e in events if isinstance(e, SongDone) and e.failed] == []
        return [(e.song, e.variant) for e in events if isinstance(e, TaskStarted)]

    assert len(begun()) == 1
    (lib / "A.mp3").rename(lib / "C.mp3")
    assert begun() == []
    assert len(list((out / "01_baseline").iterdir())) == 2


def test_moved_and_retagged_at_once_and_to_another_library(place):
    out = place / "out"
    before = sounds(out)
    (place / "lib").rename(place / "music")
    (place / "music/Artist").rename(place / "music/The Artist")
    retag(place / "music/The Artist/One.mp3", "Corrected", PICTURE)
    nothing_to_do(out, place / "music")
    assert sounds(out) == moved(before, "Artist/One", "The Artist/One")
    assert FLAC(out / "11_offline/The Artist/One.offline.flac")["title"] == ["Corrected"]
    (place / "music").rename(place / "lib")


def test_the_same_songs_through_another_root(place):
    out = place / "out"
    before = sounds(out)
    nothing_to_do(out, place / "lib/Artist")
    assert sounds(out) == moved(before, "Artist/One", "One")
    nothing_to_do(out, place / "lib")
    assert sounds(out) == before
    nothing_to_do(out, place / "lib/Two.mp3")
    (place / "link").symlink_to(place / "lib")
    nothing_to_do(out, place / "link")
    assert sounds(out) == before
    (place / "link").unlink()
    (place / "dir").mkdir()


def test_names_that_were_swapped(place):
    out = place / "out"
    before = sounds(out)
    one, two = place / "lib/Artist/One.mp3", place / "lib/Two.mp3"
    one.rename(place / "x.mp3")
    two.rename(one)
    (place / "x.mp3").rename(two)
    nothing_to_do(out, place / "lib")
    swapped = {
        n.replace("Artist/One", "*").replace("/Two", "/Artist/One").replace("*", "Two"): s for n, s in before.items()
    }
    assert sounds(out) == swapped
    assert read_verdict(out / "_listening/Two") == Verdict("11_offline", "best")
    assert read_verdict(out / "_listening/Artist/One") == Verdict()
    assert not [f for f in files(out) if SET_ASIDE in f]
    (place / "x").mkdir()


def test_names_that_moved_up_by_one(place, demo_mp3, piece):
    """A track is put in at the front, and all others are renumbered."""
    out, album = place / "out2", place / "album"
    album.mkdir()
    for number in (1, 2, 3):
        write_mp3(album / f"Track {number}.mp3", piece[: 44100 * (number + 1)] * 0.3)
    run(out, album)
    before = sounds(out)
    for number in (3, 2, 1):
        (album / f"Track {number}.mp3").rename(album / f"Track {number + 1}.mp3")
    write_mp3(album / "Track 1.mp3", piece[:44100] * 0.2)
    assert {song for song, _ in run(out, album, jobs=3)} == {"Track 1.mp3"}
    after = sounds(out)
    for number in (1, 2, 3):
        for name, sound in before.items():
            if f"Track {number}" in name:
                assert after[name.replace(f"Track {number}", f"Track {number + 1}")] == sound
    nothing_to_do(out, album)


def test_another_song_under_an_old_name_replaces_what_was_there(place, piece):
    out, song = place / "out", place / "lib/Artist/One.mp3"
    before = sounds(out)
    write_mp3(song, piece[:44100] * 0.4)
    assert {name for name, _ in run(out, place / "lib")} == {"Artist/One.mp3"}
    after = sounds(out)
    assert after.keys() == before.keys() and not [f for f in files(out) if SET_ASIDE in f]
    assert all((after[n] == before[n]) == ("Two" in n) for n in before)
    assert read_verdict(out / "_listening/Artist/One") == Verdict("11_offline", "best")
    nothing_to_do(out, place / "lib")


def test_two_copies_share_the_work_and_not_the_files(place):
    out, lib = place / "out", place / "lib"
    shutil.copy2(lib / "Artist/One.mp3", lib / "Copy.mp3")
    retag(lib / "Copy.mp3", "The copy")
    nothing_to_do(out, lib)
    made = sounds(out)
    for name in [n for n in made if "Artist/One" in n]:
        other = name.replace("Artist/One", "Copy")
        assert made[other] == made[name] and not (out / other).samefile(out / name)
        assert FLAC(out / other)["title"] == ["The copy"] != FLAC(out / name)["title"]
    assert read_verdict(out / "_listening/Copy") == Verdict()
    (lib / "Artist/One.mp3").unlink()
    nothing_to_do(out, lib)
    assert (out / "01_baseline/Artist/One.flac").is_file()  # nobody has asked for it elsewhere


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_copies_in_one_run_are_made_once(tmp_path, demo_mp3, jobs):
    (tmp_path / "lib").mkdir()
    for name in ("A", "B"):
        shutil.copy(demo_mp3, tmp_path / "lib" / f"{name}.mp3")
        retag(tmp_path / "lib" / f"{name}.mp3", name)
    begun = run(tmp_path / "out", tmp_path / "lib", jobs=jobs)
    assert len(begun) == 3 and len({song for song, _ in begun}) == 1
    for name in ("A", "B"):
        assert FLAC(tmp_path / "out/11_offline" / f"{name}.offline.flac")["title"] == [name]


def test_unfinished_chunks_move_along(tmp_path, piece):
    (tmp_path / "lib").mkdir()
    write_mp3(tmp_path / "lib/Long.mp3", np.tile(piece, (12, 1)))
    session = session_of(tmp_path / "out", tmp_path / "lib", variants=("11",))
    session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and e.chunk == 1 else None)
    execute(session)
    (tmp_path / "lib/Long.mp3").rename(tmp_path / "lib/Longer.mp3")
    ID3().save(tmp_path / "lib/Longer.mp3")
    retag(tmp_path / "lib/Longer.mp3", "Longer")
    events = execute(session_of(tmp_path / "out", tmp_path / "lib", variants=("11",)))
    assert next((e.chunk, e.reused) for e in events if isinstance(e, Progress) and e.chunk) == (1, True)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("what", ["move", "retag", "copy", "swap"])
def test_killed_at_any_moment_a_later_run_finishes_it(place, monkeypatch, what):
    """Whatever touches the disk is interrupted, at every call in turn, before and after it."""
    out, lib = place / "out", place / "lib"
    before = sounds(out)
    one, two = lib / "Artist/One.mp3", lib / "Two.mp3"
    match what:
        case "move":
            one.rename(lib / "Artist/Eins.mp3")
            retag(lib / "Artist/Eins.mp3", "Eins")
            expected = moved(before, "Artist/One", "Artist/Eins")
        case "retag":
            retag(one, "Eins", PICTURE)
            expected = before
        case "copy":
            shutil.copy2(one, lib / "Copy.mp3")
            retag(lib / "Copy.mp3", "Eins")
            expected = before | moved({n: s for n, s in before.items() if "One" in n}, "Artist/One", "Copy")
        case "swap":
            one.rename(place / "x.mp3")
            two.rename(one)
            (place / "x.mp3").rename(two)
            expected = {
                n.replace("Artist/One", "*").replace("/Two", "/Artist/One").replace("*", "Two"): s
                for n, s in before.items()
            }
    shutil.copytree(place, place.with_name("start"))
    try:
        for at in range(400):
            shutil.rmtree(place)
            shutil.copytree(place.with_name("start"), place)
            calls = [0]
            with monkeypatch.context() as patch:
                _interrupt(patch, calls, at)
                session = session_of(out, lib)
                try:
                    for song in session.songs:
                        tags = partial(read_tags, song.path)
                        record = recognition.look(session.store, song, tags)
                        recognition.settle(session.store, song, record, session.tasks, tags)
                except _Killed:
                    pass
            nothing_to_do(out, lib)
            assert sounds(out) == expected, at
            favourite = {"move": "Artist/Eins", "swap": "Two"}.get(what, "Artist/One")
            assert read_verdict(out / "_listening" / favourite) == Verdict("11_offline", "best")
            assert [f for f in files(out) if f.endswith(".tmp")] == []
            if what in ("move", "retag"):
                assert FLAC(out / "11_offline" / f"{favourite}.offline.flac")["title"] == ["Eins"]
            if calls[0] < at:
                break
        assert 5 < at < 399  # all of them were tried
    finally:
        shutil.rmtree(place.with_name("start"))


def _interrupt(patch, calls, at):
    """Leave, as a kill would, at the ``at``-th change on disk: before it, and in the next round after it."""
    from pathlib import Path

    def wrapped(original):
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] == at:
                raise _Killed
            result = original(*arguments, **options)
            calls[0] += 1
            if calls[0] == at:
                raise _Killed
            return result

        return call

    for name in ("replace", "unlink", "rmdir"):
        patch.setattr(Path, name, wrapped(getattr(Path, name)))
    for module, name in ((shutil, "copyfile"), (shutil, "rmtree"), (results, "write_tags")):
        patch.setattr(module, name, wrapped(getattr(module, name)))


def test_the_index_is_only_a_cache(place):
    out = place / "out"
    before = sounds(out)
    index = out / "_done/.sounds"
    text = index.read_bytes()
    dice = random.Random(1)
    names = ["A", "B", "C", "D"]
    last = "Artist/One"
    for name, content in zip(names, [None, b"", text[: len(text) // 2], dice.randbytes(500)], strict=True):
        index.unlink()
        if content:
            index.write_bytes(content)
        (place / "lib" / f"{last}.mp3").rename(place / "lib" / f"{name}.mp3")
        if content is None:
            nothing_to_do(out, place / "lib")
        else:
            run(out, place / "lib")  # at worst it is made again
        last = name
    assert {s for n, s in sounds(out).items() if "/D" in n} == {s for n, s in before.items() if "One" in n}


# --- libraries of version 0.1.0 ---------------------------------------------------------------------------


def old_library(out, lib, names):
    """Results as 0.1.0 wrote them: songs known by the hash of their file, inputs by that of the file before."""
    session = session_of(out, lib)
    by_id = {song.id: song for song in session.songs}
    for name in names:
        song = by_id[name]
        digest = hashlib.sha256(song.path.read_bytes()).hexdigest()
        status, made = song.path.stat(), {}
        folder = out / "_done" / song.key
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "format": 1, "source": str(song.path), "size": status.st_size, "modified": status.st_mtime_ns,
            "sha256": digest, "analysis_version": 1, "analysis": analyze(song.path).to_json(),
        }  # fmt: skip
        (folder / "song.json").write_text(json.dumps(record, indent=1))
        for number, task in enumerate(session.tasks):
            path = session.store.output_path(song, task)
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = [[random.Random(f"{name}{number}{i}").uniform(-0.5, 0.5)] * 2 for i in range(4410)]
            soundfile.write(path, noise, 44100, subtype="PCM_24", format="FLAC")
            flac = FLAC(path)
            flac["title"], flac["mp3restore_variant"] = "Old", task.variant
            flac["mp3restore_source_sha256"] = digest
            flac.save()
            made[task.id] = hashlib.sha256(path.read_bytes()).hexdigest()
            marker = {
                "format": 1, "program": "0.1.0", "task": task.id, "recipe": task.spec(),
                "fingerprint": task.fingerprint(digest), "inputs": [made[t.id] for t in task.parents],
                "outputs": [
                    {"path": path.relative_to(out).as_posix(), "size": path.stat().st_size, "sha256": made[task.id]}
                ],
                "rate": 44100, "channels": 2, "frames": 4410, "gain": 0.0, "note": "", "device": "cpu",
                "seconds": 0.5, "warnings": [],
            }  # fmt: skip
            (folder / f"{task.id}.done.json").write_text(json.dumps(marker, indent=1))


@pytest.fixture
def old(tmp_path, songs, piece):
    write_mp3(songs / "Two.mp3", piece[:44100])
    old_library(tmp_path / "out", songs, ["Artist/One.mp3", "Two.mp3"])
    return songs


def test_an_old_library_stays_finished(old, tmp_path):
    out = tmp_path / "out"
    assert all(set(p.states.values()) == {State.DONE} for p in session_of(out, old).states())
    before = {p: p.read_bytes() for p in out.rglob("*.flac")}
    nothing_to_do(out, old)
    assert {p: p.read_bytes() for p in out.rglob("*.flac")} == before
    assert all(json.loads(p.read_text())["format"] == 2 for p in (out / "_done").rglob("*.json"))


def test_what_is_missing_in_an_old_library_is_made_as_it_was(old, tmp_path):
    out = tmp_path / "out"
    (out / "_done/Two/07_mastered.done.json").unlink()
    assert run(out, old) == [("Two.mp3", "07_mastered")]
    marker = json.loads((out / "_done/Two/07_mastered.done.json").read_text())
    digest = hashlib.sha256((old / "Two.mp3").read_bytes()).hexdigest()
    task = next(t for t in session_of(out, old).tasks if t.id == "07_mastered")
    assert marker["fingerprint"] == task.fingerprint(digest)
    nothing_to_do(out, old)


def test_an_old_library_retagged_after_it_was_opened_once(old, tmp_path):
    out = tmp_path / "out"
    before = sounds(out)
    run(out, old)
    retag(old / "Artist/One.mp3", "New")
    (old / "Artist").rename(old / "Band")
    nothing_to_do(out, old)
    assert sounds(out) == moved(before, "Artist/One", "Band/One")
    assert FLAC(out / "07_mastered/Band/One.master.flac")["title"] == ["New"]


@pytest.mark.parametrize("how", ["touched", "moved", "other root"])
def test_an_old_library_that_changed_before_it_was_opened(old, tmp_path, how):
    out, before = tmp_path / "out", sounds(tmp_path / "out")
    if how == "touched":
        os.utime(old / "Artist/One.mp3", (1, 1))
        nothing_to_do(out, old)
        assert sounds(out) == before
    elif how == "moved":
        (old / "Artist").rename(old / "Band")
        nothing_to_do(out, old)
        assert sounds(out) == moved(before, "Artist/One", "Band/One")
    else:
        nothing_to_do(out, old / "Artist")
        assert sounds(out) == moved(before, "Artist/One", "One")


def test_an_altered_hash_in_an_old_record_is_found(old, tmp_path):
    out = tmp_path / "out"
    path = out / "_done/Two/song.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "0" * 64}))
    assert len(run(out, old)) == 3
    nothing_to_do(out, old)


# --- results that were changed by hand --------------------------------------------------------------------


def test_tags_that_were_changed_by_hand_in_a_result_are_left_alone(place):
    out = place / "out"
    flac = FLAC(out / "01_baseline/Artist/One.flac")
    flac["comment"] = "mine " * 5000
    flac.save()
    nothing_to_do(out, place / "lib")
    (out / "11_offline/Artist/One.offline.flac").unlink()
    assert run(out, place / "lib") == [("Artist/One.mp3", "11_offline")]
    assert FLAC(out / "01_baseline/Artist/One.flac")["comment"] == ["mine " * 5000]


def test_a_damaged_result_is_made_again_and_not_retagged(place):
    out = place / "out"
    before = sounds(out)
    path = out / "11_offline/Artist/One.offline.flac"
    data = bytearray(path.read_bytes())
    data[-2000:-1000] = bytes(1000)
    path.write_bytes(data)
    retag(place / "lib/Artist/One.mp3", "New")
    assert ("Artist/One.mp3", "11_offline") in run(out, place / "lib")
    assert sounds(out) == before
    nothing_to_do(out, place / "lib")
