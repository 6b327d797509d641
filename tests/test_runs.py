"""Runs: done is done, stale is redone, one failure costs one song, the user's wishes are obeyed at chunk borders."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
import soundfile

from engine import stages
from engine.errors import UsageError
from engine.planning.task import State
from engine.run.events import BatchDone, BatchStarted, Progress, SongDone, TaskDone, TaskFailed, TaskSkipped
from engine.run.session import Session, default_jobs
from tests.conftest import another_song, execute

VARIANTS = ("01", "11", "07")


def session_of(songs, variants=VARIANTS):
    return Session([songs], songs.parent / "out", variants=variants)


def of(events, kind):
    return [e for e in events if isinstance(e, kind)]


def states(session):
    return {(p.song.id, task): state for p in session.states() for task, state in p.states.items()}


def test_a_folder_becomes_a_mirrored_tree_and_nothing_else(songs):
    events = execute(session_of(songs))
    out = songs.parent / "out"
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.flac"))
    assert made == [
        "01_baseline/Artist/One.flac", "01_baseline/Two.flac", "07_mastered/Artist/One.master.flac",
        "07_mastered/Two.master.flac", "11_offline/Artist/One.offline.flac", "11_offline/Two.offline.flac",
    ]  # fmt: skip
    assert of(events, BatchDone)[0].done == 2
    assert {p.name for p in out.iterdir()} == {"01_baseline", "07_mastered", "11_offline", "_done", "_logs", "_report"}
    assert sorted(p.name for p in songs.rglob("*.mp3")) == ["One.mp3", "Two.mp3"]


def test_a_second_run_does_nothing(songs):
    execute(session_of(songs))
    before = {p: p.stat().st_mtime_ns for p in (songs.parent / "out").rglob("*.flac")}
    events = execute(session_of(songs))
    assert of(events, TaskDone) == [] and of(events, BatchDone)[0].up_to_date == 2
    assert before == {p: p.stat().st_mtime_ns for p in (songs.parent / "out").rglob("*.flac")}


def test_a_lost_file_a_new_source_and_force_are_redone(songs, piece):
    execute(session_of(songs))
    out = songs.parent / "out"
    (out / "11_offline/Two.offline.flac").unlink()
    session = session_of(songs)
    assert states(session)["Two.mp3", "11_offline"] is State.STALE
    events = execute(session)
    assert [(e.song, e.variant) for e in of(events, TaskDone)] == [("Two.mp3", "11_offline")]
    soundfile.write(songs / "Two.mp3", piece * 0.5, 44100, format="MP3")
    events = execute(session_of(songs))
    assert {(e.song, e.variant) for e in of(events, TaskDone)} == {
        ("Two.mp3", "01_baseline"), ("Two.mp3", "11_offline"), ("Two.mp3", "07_mastered"),
    }  # fmt: skip
    events = execute(session_of(songs), force=True)
    assert len(of(events, TaskDone)) == 6


def test_other_parameters_make_only_what_depends_on_them_stale(songs, tmp_path):
    execute(session_of(songs))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
        '[variants.11_offline]\nchain = ["decode", { stage = "restore", top_hz = 18000 }]\n'
        '[variants.07_mastered]\nfrom = ["11_offline"]\nchain = ["master"]\nsuffix = ".master"\n'
    )
    session = Session([songs], songs.parent / "out", str(recipe))
    found = states(session)
    assert found["Two.mp3", "01_baseline"] is State.DONE
    assert found["Two.mp3", "11_offline"] is found["Two.mp3", "07_mastered"] is State.STALE


def test_a_touched_but_equal_source_is_not_redone(songs):
    execute(session_of(songs))
    (songs / "Two.mp3").touch()
    assert of(execute(session_of(songs)), TaskDone) == []


def test_parallel_jobs_give_the_same_bytes(songs):
    execute(session_of(songs), jobs=1)
    first = {p.name: p.read_bytes() for p in (songs.parent / "out").rglob("*.flac")}
    shutil.rmtree(songs.parent / "out")
    execute(session_of(songs), jobs=2)
    assert first == {p.name: p.read_bytes() for p in (songs.parent / "out").rglob("*.flac")}


def test_steps_on_the_way_are_made_again_when_needed_and_then_gone(songs, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('format = 1\n[variants.22_low]\nchain = ["decode", "lowpass", "restore"]\n')

    def run():
        return execute(Session([songs / "Two.mp3"], tmp_path / "o", str(recipe)))

    run()
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["22_low", "_done", "_logs", "_report"]
    first = (tmp_path / "o/22_low/Two.low.flac").read_bytes()
    assert of(run(), TaskDone) == []
    (tmp_path / "o/22_low/Two.low.flac").unlink()
    assert [e.stage for e in of(run(), TaskDone)] == ["decode", "lowpass", "restore"]
    assert (tmp_path / "o/22_low/Two.low.flac").read_bytes() == first


def test_a_stage_that_fails_costs_what_builds_on_it(songs, monkeypatch):
    original = stages.STAGES["restore"].run

    def fails(self, context, params):
        if context.source.name == "Two.mp3":
            raise RuntimeError("boom\x1b[31m")
        return original(context, params)

    monkeypatch.setattr(type(stages.STAGES["restore"]), "run", fails)
    events = execute(session_of(songs))
    assert [(e.song, e.variant) for e in of(events, TaskFailed)] == [("Two.mp3", "11_offline")]
    assert [(e.song, e.variant) for e in of(events, TaskSkipped)] == [("Two.mp3", "07_mastered")]
    ends = {e.song: e for e in of(events, SongDone)}
    assert len(ends["Artist/One.mp3"].made) == 3 and ends["Two.mp3"].made == ("01_baseline",)
    log = (songs.parent / "out/_logs/Two.log").read_text()
    assert "RuntimeError: boom" in log and "\x1b" not in log


@pytest.fixture
def long_song(tmp_path, repeated):
    """70 seconds: three chunks of the offline restorer."""
    (tmp_path / "long").mkdir()
    shutil.copy(repeated(12), tmp_path / "long/Long.mp3")
    return tmp_path / "long"


def test_stop_keeps_finished_chunks_and_the_rest_follows(long_song):
    session = session_of(long_song, ("11",))
    session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and e.chunk == 1 else None)
    events = execute(session)
    assert of(events, BatchDone)[0].stopped and of(events, SongDone) == []
    events = execute(session_of(long_song, ("11",)))
    chunks = [(e.chunk, e.reused) for e in of(events, Progress) if e.chunk]
    assert chunks == [(1, True), (2, False), (3, False)]
    resumed = (long_song.parent / "out/11_offline/Long.offline.flac").read_bytes()
    shutil.rmtree(long_song.parent / "out")
    execute(session_of(long_song, ("11",)))
    assert resumed == (long_song.parent / "out/11_offline/Long.offline.flac").read_bytes()


def test_a_damaged_chunk_is_made_again(long_song):
    session = session_of(long_song, ("11",))
    session.subscribe(lambda e: session.stop() if isinstance(e, Progress) and e.chunk == 2 else None)
    execute(session)
    chunk = sorted((long_song.parent / "out/_chunks").rglob("*.chunk"))[0]
    chunk.write_bytes(chunk.read_bytes()[:1000])
    events = execute(session_of(long_song, ("11",)))
    assert [(e.chunk, e.reused) for e in of(events, Progress) if e.chunk] == [
        (1, False),
        (2, True),
        (3, False),
    ]


def test_pause_holds_work_until_resumed(long_song):
    session = session_of(long_song, ("11",))
    events, paused = [], threading.Event()

    def watch(event):
        events.append(event)
        if isinstance(event, Progress) and event.chunk == 1 and not paused.is_set():
            session.pause()
            paused.set()

    session.subscribe(watch)
    thread = session.start(jobs=1)
    assert paused.wait(60)
    time.sleep(1.0)
    assert max(e.chunk for e in of(events, Progress)) == 1 and session.running
    session.resume()
    thread.join()
    assert max(e.chunk for e in of(events, Progress)) == 3


def test_skipping_a_song_and_switching_a_variant_off(songs):
    session = session_of(songs)
    session.off.add(("Artist/One.mp3", "11_offline"))
    session.subscribe(lambda e: session.control.skip_song("Two.mp3") if isinstance(e, BatchStarted) else None)
    ends = {e.song: e for e in of(execute(session), SongDone)}
    assert ends["Artist/One.mp3"].made == ("01_baseline", "07_mastered") and not ends["Artist/One.mp3"].failed
    assert not (session.store.out / "11_offline").exists()  # made for the master's sake, and not published
    assert ends["Two.mp3"].made == ()


def test_skipping_a_variant_while_it_is_made(long_song):
    session = session_of(long_song)
    session.subscribe(
        lambda e: session.control.skip_variant(e.song, e.variant) if isinstance(e, Progress) and e.chunk == 1 else None
    )
    ends = of(execute(session), SongDone)
    assert ends[0].made == ("01_baseline", "07_mastered") and not ends[0].failed
    assert ends[0].skipped == ("11_offline: skipped by the user",)


def test_same_names_never_collide(songs, demo_mp3, piece):
    soundfile.write(songs / "Two.wav", piece * 0.1, 44100)
    (songs / "B").mkdir()
    shutil.copy(demo_mp3, songs / "B" / "Two.mp3")
    session = session_of(songs, ("01",))
    execute(session)
    made = {p.relative_to(session.store.out).as_posix() for p in session.store.out.rglob("*.flac")}
    assert {"01_baseline/Two.flac", "01_baseline/Two (2).flac", "01_baseline/B/Two.flac"} <= made
    assert soundfile.read(session.store.out / "01_baseline/Two (2).flac")[0].max() < 0.2
    other = songs.parent / "elsewhere"
    other.mkdir()
    soundfile.write(other / "Two.mp3", piece * 0.3, 44100, format="MP3")
    again = Session([other], session.store.out, variants=("01",))
    assert again.songs[0].key.name == "Two (3)"
    shutil.rmtree(songs)
    assert Session([other], session.store.out, variants=("01",)).songs[0].key.name == "Two"


def test_two_processes_on_one_folder(songs):
    session = session_of(songs)
    lock = session.store.lock()
    with pytest.raises(UsageError, match="Another mp3restore"):
        session_of(songs).start()
    lock.release()
    session.start().join()


def test_starting_twice_leaves_the_run_in_hand(long_song):
    session = session_of(long_song)
    begun = threading.Event()
    session.subscribe(lambda event: begun.set() if isinstance(event, Progress) else None)
    thread = session.start(jobs=1)
    assert begun.wait(60)
    with pytest.raises(UsageError, match="Another mp3restore"):
        session.start()
    session.stop()
    thread.join(60)
    assert not thread.is_alive() and session.outcome.stopped


def test_names_that_are_long_or_strange_work(tmp_path, demo_mp3):
    library = tmp_path / "lib"
    library.mkdir()
    names = [
        "ä" * 124 + ".mp3",
        "日本 – [red]x[/] & (100%) 'q' $HOME.mp3",
        "new\nline \x1b[31mred\u202e.mp3",
        " .. .mp3",
        b"bytes \xff\xfe.mp3".decode("utf-8", "surrogateescape"),
    ]
    names = [n for n in names if _can_exist(library / n)]
    for name in names:
        another_song(demo_mp3, library / name)
    session = Session([library], tmp_path / "out", variants=VARIANTS)
    events = execute(session)
    assert of(events, BatchDone)[0].done == len(names)
    assert len(list((tmp_path / "out/07_mastered").glob("*.flac"))) == len(names)


def _can_exist(path):
    try:
        path.touch()
        path.unlink()
    except OSError:
        return False
    return True


def test_results_are_never_taken_for_songs(songs):
    session = Session([songs], songs / "AI_Restored_Variants", variants=("01",))
    execute(session)
    assert len(Session([songs], variants=("01",)).songs) == 2
    assert Session([songs], variants=("01",)).store.out == songs.parent / "AI_Restored_Variants"


def test_a_broken_marker_or_record_is_just_redone(songs):
    execute(session_of(songs, ("01",)))
    for path in (songs.parent / "out/_done").rglob("*.json"):
        path.write_text('{"format": 1, "x": ' if "done" in path.name else "[]")
    events = execute(session_of(songs, ("01",)))
    assert len(of(events, TaskDone)) == 2 and not of(events, TaskFailed)


def test_a_run_that_ends_just_before_it_is_followed_is_no_error(songs):
    """The dashboard hands a run over that may end in that very moment."""
    from engine.commands import headless

    session = session_of(songs, ("01",))
    session.start().join()
    assert headless.follow(session, lambda: session.thread) == 0
    session.control.stop()
    assert session.outcome is not None and session.outcome.failed == 0


def test_without_networks_every_core_works_on_a_song_of_its_own(monkeypatch):
    for cores, with_networks, without in ((1, 1, 1), (2, 1, 2), (4, 2, 4), (64, 4, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert (default_jobs(True), default_jobs(False)) == (with_networks, without)
