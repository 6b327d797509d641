"""What the dashboard shows of runs: queued, skipped, failed, off; opening and closing; nothing read on its thread."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path

import pytest

from engine import stages
from engine.library.store import Store
from engine.run import events
from engine.run.runner import Runner
from engine.run.session import Session
from tests.conftest import execute, write_mp3
from tests.tui.conftest import Gate, opened, screen_text, until
from tui.app import RestoreApp
from tui.model import DashboardModel, explain_filter, matches
from tui.widgets.song_table import SongTable


def loaded(session):
    model = DashboardModel(session)
    for song in session.songs:
        model.load(model.read(song))
    return model


def states(model, song):
    return {key: task.state for key, task in model.by_id[song].tasks.items()}


@pytest.fixture
def long_song(tmp_path, repeated):
    (tmp_path / "long").mkdir()
    shutil.copy(repeated(12), tmp_path / "long/A long one.mp3")
    shutil.copy(repeated(1), tmp_path / "long/Later.mp3")
    return tmp_path / "long"


def test_a_chain_that_repeats_a_stage_is_told_apart(songs, tmp_path):
    recipe = tmp_path / "twice.toml"
    recipe.write_text('format = 1\n[variants.30_x]\nchain = ["decode", "lowpass", "lowpass", "restore"]\n')
    session = Session([songs / "Two.mp3"], tmp_path / "out", str(recipe))
    model = loaded(session)
    second = [t.id for t in session.tasks if t.stage.name == "lowpass"][1]
    model.receive(events.TaskStarted("Two.mp3", second, "30_x", "lowpass", "cpu"))
    model.drain()
    assert [t.id for t in session.tasks if model.by_id["Two.mp3"].tasks[t.id].state == "working"] == [second]


def test_failures_are_known_when_the_dashboard_is_opened_again(songs, monkeypatch, drive, quick):
    (songs / "bad.mp3").write_text("no music")

    def fails(self, context, params):
        raise RuntimeError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(type(stages.STAGES["restore"]), "run", fails)
        execute(Session([songs / "Two.mp3", songs / "bad.mp3"], None, quick))
    app = RestoreApp([songs / "Two.mp3", songs / "bad.mp3"], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: states(app.library, "Two.mp3")["01_baseline"] != "todo")
        assert states(app.library, "Two.mp3") == {"01_baseline": "done", "11_offline": "failed"}
        assert "boom" in app.library.by_id["Two.mp3"].tasks["11_offline"].text
        assert "no MP3 audio" in app.library.by_id["bad.mp3"].problem
        assert "2 failed" in screen_text(app)
        await pilot.press("slash", *"is:failed", "enter")
        assert len(app.home.query_one(SongTable).rows) == 2
        await pilot.press("r")
        await until(pilot, lambda: app.library.finished is not None)
        assert states(app.library, "Two.mp3")["11_offline"] == "done" and app.library.finished.failed == 1

    drive(app, script)


def test_x_skips_at_once_t_leaves_nothing_queued_and_all_of_it_is_painted(drive, long_song, quick):
    app = RestoreApp([long_song], recipe=quick, jobs=1)

    async def script(pilot):
        await opened(pilot, 2)
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        assert states(app.library, "Later.mp3")["11_offline"] == "queued"
        await pilot.press("end", "x")
        assert set(states(app.library, "Later.mp3").values()) == {"skipped"}
        await until(pilot, lambda: "1 skipped" in screen_text(app))
        await pilot.press("home", "t")
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        shown = [s for view in app.library.songs for s in states(app.library, view.song.id).values()]
        assert "queued" not in shown and "working" not in shown
        await until(pilot, lambda: "◌" not in "\n".join(screen_text(app).splitlines()[:8]))

    drive(app, script)


def test_what_failed_before_is_failed_again_after_a_stop(songs):
    model = loaded(Session([songs], songs.parent / "out", variants=("01", "11")))
    view = model.by_id["Two.mp3"]
    view.tasks["11_offline"].standing, view.tasks["11_offline"].text = "failed", "boom"
    model.queue([view])
    model.receive(events.TaskStarted("Two.mp3", "11_offline", "11_offline", "restore", "cpu"))
    model.drain()
    assert view.tasks["11_offline"].state == "working"
    model.receive(events.BatchDone(0, 0, 0, True, 1.0))
    assert model.drain() == {"Two.mp3", "Artist/One.mp3"}
    assert (view.tasks["11_offline"].state, view.tasks["11_offline"].text) == ("failed", "boom")


def test_r_during_a_run_queues_what_failed(drive, long_song, quick):
    (long_song / "A bad one.mp3").write_text("no music")
    app = RestoreApp([long_song], recipe=quick, jobs=1)

    async def script(pilot):
        await opened(pilot, 3)
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1 and app.library.by_id["A bad one.mp3"].failed)
        (long_song / "Later.mp3").replace(long_song / "A bad one.mp3")
        await pilot.press("r")
        assert states(app.library, "A bad one.mp3")["11_offline"] == "queued"
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        assert states(app.library, "A bad one.mp3")["11_offline"] == "done"

    drive(app, script)


def test_the_engine_that_breaks_off_leaves_nothing_queued(drive, songs, quick, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda self: 1 / 0)
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert set(states(app.library, "Two.mp3").values()) == {"todo"}
        assert any("ZeroDivisionError" in n.message for n in app._notifications)

    drive(app, script)


def test_what_goes_wrong_while_opening_does_not_crash_the_dashboard(drive, songs, quick, monkeypatch):
    monkeypatch.setattr(Session, "song_plan", lambda self, song, **_: 1 / 0)
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await until(pilot, lambda: any("ZeroDivisionError" in n.message for n in app._notifications))
        assert app.is_running and not app.opening

    drive(app, script)
    assert app.return_code in (0, None)


def test_nothing_starts_between_opening_and_opened(drive, songs, long_song, quick, monkeypatch):
    app = RestoreApp([songs], recipe=quick)
    gate = threading.Event()
    original = Session.__init__

    def slowly(self, *arguments, **options):
        gate.wait(60)
        original(self, *arguments, **options)

    async def script(pilot):
        await opened(pilot, 2)
        first = app.session
        monkeypatch.setattr(Session, "__init__", slowly)
        app.open_path(str(long_song))
        await pilot.press("s")
        await pilot.pause(0.1)
        assert not first.running
        gate.set()
        await until(pilot, lambda: app.session is not first)
        assert app.session is app.library.session and not app.opening

    drive(app, script)


def test_a_library_that_is_replaced_may_go(drive, songs, long_song, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        old = weakref.ref(app.library)
        app.open_path(str(long_song))
        await until(pilot, lambda: app.library is not old() and len(app.library.songs) == 2)
        await pilot.pause(0.5)
        app.workers.cancel_all()
        gc.collect()
        assert old() is None

    drive(app, script)
    gc.unfreeze()


def test_after_a_hang_up_no_events_are_kept(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)

    drive(app, script)
    for _ in range(100):
        app.session._emit(events.SongWarning("Two.mp3", "x"))
    assert len(app.library._inbox) == 0


def test_switching_on_and_off_and_painting_read_no_files(songs, monkeypatch):
    session = Session([songs], songs.parent / "out", variants=("01", "11"))
    execute(session)
    model = loaded(session)
    monkeypatch.setattr(Store, "marker", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("a file was read"))
    assert not model.toggle(model.songs, "11_offline") and states(model, "Two.mp3")["11_offline"] == "off"
    assert model.toggle(model.songs, "11_offline") and states(model, "Two.mp3")["11_offline"] == "done"
    model.drain()


def test_is_foo_says_what_there_is():
    assert explain_filter("is:foo bar") == ("No is:foo; try is:failed, skipped, done, open, ruined, good or pruned.")
    assert explain_filter("is:failed words") == ""


def test_songs_that_auto_leaves_alone_are_found_and_say_why(tmp_path, piece):
    write_mp3(tmp_path / "good.mp3", piece, level=0.0)
    write_mp3(tmp_path / "poor.mp3", piece, level=0.75)
    session = Session([tmp_path], tmp_path / "out")
    execute(session)
    model = loaded(session)
    assert [view.name for view in model.songs if matches(view, "is:good")] == ["good.mp3"]
    left = model.by_id["good.mp3"]
    assert left.tasks["11_offline"].state == "skipped" and left.tasks["11_offline"].text.startswith("Left alone.")
    assert left.standing == "done" and model.counts()["done"] == 2


def test_skipping_a_variant_that_another_needs_says_that_it_goes_on(songs):
    model = loaded(Session([songs], songs.parent / "out", variants=("01", "11", "07")))
    told = model.skip_variant(model.by_id["Two.mp3"], "11_offline")
    assert told == "11_offline will be skipped for this song after this chunk; what 07_mastered needs of it goes on."


def test_what_can_be_downloaded_is_not_looked_for_on_the_screens_thread(drive, monkeypatch):
    from engine.models.runtime.cards import ModelCard
    from tui.screens.dialogs import Choice
    from tui.screens.pages import ModelsPage

    threads = set()

    def state(self, *, thoroughly=True):
        threads.add(threading.current_thread())
        return "missing"

    monkeypatch.setattr(ModelCard, "state", state)
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, ModelsPage))
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert threads and threading.main_thread() not in threads
        await pilot.press("escape", "escape")

    drive(app, script)
