"""Every screen and action of the dashboard, driven by keys."""

from __future__ import annotations

import shutil
import time

import pytest
from rich.cells import cell_len
from textual.widgets import Input, OptionList

from engine.planning import recipes
from tests.tui.conftest import Gate, opened, screen_text, until
from tui.app import RestoreApp
from tui.screens.dialogs import Choice
from tui.screens.open_dialog import OpenDialog
from tui.screens.pages import DetailPage, DoctorPage, HelpPage, ModelsPage
from tui.screens.recipe import ParameterRow, RecipeScreen
from tui.settings import load_settings
from tui.widgets.song_table import SongTable
from tui.widgets.stage_checklist import StageChecklist


def table(app):
    return app.home.query_one(SongTable)


def state(app, song, task):
    return app.library.by_id[song].tasks[task].state


def test_an_empty_start_offers_what_can_be_done(drive):
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.2)
        text = screen_text(app)
        assert "open a folder of music" in text and "make a demo song" in text
        await pilot.press("s")  # nothing to start: says so, does not fall over
        await pilot.pause(0.1)
        await pilot.press("n")
        await opened(pilot, 1)
        assert "Demo Song.mp3" in screen_text(app)
        assert load_settings().recent[0].endswith("mp3restore demo")

    drive(app, script)


def test_open_start_and_see_everything_done(drive, songs, quick):
    (songs / "bad.mp3").write_text("nothing")
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 3)
        assert state(app, "Two.mp3", "11_offline") == "todo"
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Two.mp3", "11_offline") == state(app, "Artist/One.mp3", "01_baseline") == "done"
        assert state(app, "bad.mp3", "01_baseline") == "failed"
        text = screen_text(app)
        assert "2/3 done" in text and "1 failed" in text and "There is no MP3 audio" in text
        assert "17.5k" in text and "Offline restorer" in text
        (songs / "bad.mp3").unlink()
        shutil.copy(songs / "Two.mp3", songs / "bad.mp3")
        await pilot.press("r")
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "bad.mp3", "11_offline") == "done"

    drive(app, script)
    again = RestoreApp([songs], recipe=quick)

    async def look(pilot):
        await opened(pilot, 3)
        await until(pilot, lambda: state(again, "Two.mp3", "11_offline") == "done")
        assert again.library.by_id["Two.mp3"].tasks["11_offline"].seconds > 0
        assert "3/3 done" in screen_text(again)

    drive(again, look)


@pytest.fixture
def long_song(tmp_path, repeated):
    (tmp_path / "long").mkdir()
    shutil.copy(repeated(12), tmp_path / "long/Long.mp3")
    return tmp_path / "long"


def test_pause_resume_stop_and_go_on(drive, long_song, quick):
    app = RestoreApp([long_song], recipe=quick)

    async def script(pilot):
        await opened(pilot, 1)
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        await pilot.press("p")
        assert app.session.control.paused
        gate.open()
        await pilot.pause(1.0)
        seen = gate.chunks
        await pilot.pause(1.0)
        assert gate.chunks == seen == 1 and app.session.running and "paused" in screen_text(app)
        gate.close()
        await pilot.press("p")
        await until(pilot, lambda: gate.chunks == 2)
        await pilot.press("t")
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        assert app.library.finished.stopped and state(app, "Long.mp3", "11_offline") == "todo"
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Long.mp3", "11_offline") == "done"

    drive(app, script)


def test_skipping_a_variant(drive, long_song, quick):
    app = RestoreApp([long_song], recipe=quick)

    async def script(pilot):
        await opened(pilot, 1)
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1 and state(app, "Long.mp3", "11_offline") == "working")
        app.home.query_one(StageChecklist).focus()
        await pilot.press("home", "down", "v")
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Long.mp3", "11_offline") == "skipped" and state(app, "Long.mp3", "01_baseline") == "done"

    drive(app, script)


def test_skipping_a_song(drive, long_song, quick):
    app = RestoreApp([long_song], recipe=quick)

    async def script(pilot):
        await opened(pilot, 1)
        gate = Gate(app.session)
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        await pilot.press("x")
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Long.mp3", "11_offline") != "done"
        assert app.library.finished.failed == 0

    drive(app, script)


def test_switching_variants_off_for_one_for_marked_and_for_all(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        checklist = app.home.query_one(StageChecklist)
        checklist.focus()
        await pilot.press("home", "down", "space")
        assert state(app, "Artist/One.mp3", "11_offline") == "off" and state(app, "Two.mp3", "11_offline") == "todo"
        await pilot.press("a")
        assert state(app, "Artist/One.mp3", "11_offline") == "todo" == state(app, "Two.mp3", "11_offline")
        table(app).focus()
        await pilot.press("asterisk")
        assert len(table(app).marked) == 2
        checklist.focus()
        await pilot.press("space")
        assert state(app, "Artist/One.mp3", "11_offline") == "off" == state(app, "Two.mp3", "11_offline")
        table(app).focus()
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        out = app.session.store.out
        assert (out / "01_baseline/Two.flac").exists() and not (out / "11_offline").exists()

    drive(app, script)


def test_marks_choose_what_is_started_and_recompute_asks(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("end", "space", "s")
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Two.mp3", "11_offline") == "done" and state(app, "Artist/One.mp3", "11_offline") == "todo"
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert "anew" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert not app.session.running
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("1")
        await until(pilot, lambda: app.library.finished is not None)
        assert state(app, "Two.mp3", "11_offline") == "done"

    drive(app, script)


def test_find_and_sort(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("slash", *"one")
        await pilot.pause(0.1)
        assert [v.song.id for v in table(app).rows] == ["Artist/One.mp3"]
        await pilot.press("enter", "escape")
        await pilot.pause(0.1)
        assert len(table(app).rows) == 2
        await pilot.press("c")
        assert table(app).sort_name == "progress"

    drive(app, script)


def test_details_models_doctor_and_help(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        for key, kind, words in (
            ("enter", DetailPage, ["Demo Song", "LAME3.100", "generated above 17.5 kHz", "11_offline"]),
            ("M", ModelsPage, ["DeepFilterNet3", "speech", "Apache-2.0"]),
            ("D", DoctorPage, ["libsndfile", "free for results"]),
            ("question_mark", HelpPage, ["Start", "Pause", "Skip song", "switched off", "On/off for all"]),
        ):
            await pilot.press(key)
            await until(pilot, lambda kind=kind: isinstance(app.screen, kind))
            text, end = screen_text(app), time.monotonic() + 60
            while not all(word in text for word in words) and time.monotonic() < end:
                await pilot.press(*["down"] * 10)  # looked through from top to bottom, until all has come
                text += screen_text(app)
                if screen_text(app) == text[-2 * len(screen_text(app)) : -len(screen_text(app))]:
                    await pilot.press("home")
                    await pilot.pause(0.2)
            assert all(word in text for word in words), (kind, [w for w in words if w not in text])
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.home)

    drive(app, script)


def test_the_recipe_is_checked_as_it_is_typed_and_saved_by_name(drive, songs):
    app = RestoreApp([songs])

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.press("end")  # 11_offline, the highest number
        await pilot.pause(0.3)
        rows = {r.item.name: r for r in app.screen.query(ParameterRow)}
        value = rows["top_hz"].query_one(Input)
        value.focus()
        value.value = "99999"
        await pilot.pause(0.2)
        assert "must be between 4000.0 and 24000.0" in screen_text(app)
        await pilot.press("ctrl+s")
        await pilot.pause(0.2)
        assert isinstance(app.screen, RecipeScreen)
        value.value = "18000"
        rows["extend"].query_one(Input).value = "false"
        app.screen.query_one("#variants", OptionList).focus()
        await pilot.press("up", "space")  # 09_denoised on
        app.screen.query_one("#name", Input).value = "gentle"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home and app.session.recipe.name == "gentle")
        saved = recipes.load("gentle")
        assert saved.variants["11_offline"].chain[1].params.top_hz == 18000.0
        assert saved.variants["11_offline"].chain[1].params.extend is False
        assert saved.variants["09_denoised"].enabled
        assert load_settings().recipe == "gentle"

    drive(app, script)


def test_leaving_a_changed_recipe_asks(drive):
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.press("space", "escape")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("2")
        await until(pilot, lambda: app.screen is app.home)

    drive(app, script)


def test_opening_by_typing_dropping_and_from_recent(drive, songs, quick, tmp_path):
    app = RestoreApp([], recipe=quick)

    async def script(pilot):
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        app.screen.query_one("#path", Input).value = "/does/not/exist"
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert isinstance(app.screen, OpenDialog)
        app.screen.query_one("#path", Input).value = f"'{songs}'"
        await pilot.press("enter")
        await opened(pilot, 2)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        app.screen.query_one("#recent", OptionList).focus()
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.home)
        empty = tmp_path / "empty"
        empty.mkdir()
        app.open_path(str(empty))
        await pilot.pause(0.5)
        assert len(app.library.songs) == 2  # what is no library leaves the old one

    drive(app, script)


def test_quitting_while_working_asks(drive, long_song, quick):
    app = RestoreApp([long_song], recipe=quick)

    async def script(pilot):
        await opened(pilot, 1)
        gate = Gate(app.session)
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        text = screen_text(app)
        assert "Keep going here" in text and "Stop after this chunk" in text
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: app.screen is app.home)
        assert app.session.running
        gate.open()

    drive(app, script)


HOSTILE = (
    "[red]x[bold] [@click=app.bell]y.mp3", "esc \x1b[31mred\x1b[0m.mp3", "new\nline\ttab.mp3", "rtl \u202egnp.mp3",
    "ä" * 125 + ".mp3", "🎵 emoji 👩‍🎤.mp3", "Ü und 日本語の歌.mp3",
)  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (45, 16)])
def test_hostile_names_are_literal_and_aligned(drive, tmp_path, quick, size):
    library = tmp_path / "lib"
    library.mkdir()
    for name in HOSTILE:
        try:
            (library / name).write_text("no music")
        except OSError:
            continue
    app = RestoreApp([library], recipe=quick)

    async def script(pilot):
        await opened(pilot, len(list(library.iterdir())))
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        text = screen_text(app)
        assert "\x1b" not in text and "\u202e" not in text
        if size[0] in (80, 200):  # where there is room for whole names
            assert "[red]x[bold]" in text and "\\x1b[31mred" in text and "new\\x0aline" in text and "日本語" in text
        widget = table(app)
        for y in range(min(widget.size.height, len(HOSTILE) + 1)):
            strip = widget.render_line(y)
            assert cell_len(strip.text) == strip.cell_length == widget.size.width

    drive(app, script, size)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (120, 36), (240, 70)])
def test_every_size_shows_table_checklist_and_run(drive, songs, quick, size):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        for name in ("#table", "#stages", "#run"):
            region = app.home.query_one(name).region
            assert region.width >= 20 and region.height >= 3, (name, region)
            assert region.right <= size[0] and region.bottom <= size[1]
        await pilot.resize_terminal(70, 22)
        await pilot.pause(0.2)
        assert "Two.mp3" in screen_text(app)

    drive(app, script, size)


def test_two_dashboards_on_one_folder(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        lock = app.session.store.lock()
        await pilot.press("s")
        await until(pilot, lambda: any("Another mp3restore" in n.message for n in app._notifications))
        lock.release()
        assert not app.session.running

    drive(app, script)


def test_the_palette_knows_all_actions():
    app = RestoreApp([])

    async def main():
        async with app.run_test() as pilot:
            await pilot.pause(0.1)
            titles = [c.title for c in app.get_system_commands(app.screen)]
            assert {
                "Start",
                "Pause",
                "Stop",
                "Skip song",
                "Retry failed",
                "Make anew",
                "Open",
                "Recipe",
                "Models",
                "Doctor",
                "Help",
                "Quit",
                "Theme",
                "Recipe: offline",
            } <= set(titles)

    import asyncio

    asyncio.run(main())


def test_the_mouse_works_too(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.click(SongTable, offset=(10, 2))
        await pilot.pause(0.1)
        assert table(app).current.song.id == "Two.mp3"
        await pilot.click(SongTable, offset=(10, 2), times=2)
        await until(pilot, lambda: isinstance(app.screen, DetailPage))

    drive(app, script)


def test_a_dropped_path_is_opened(drive, songs, quick):
    from textual.events import Paste

    app = RestoreApp([], recipe=quick)

    async def script(pilot):
        await pilot.pause(0.2)
        app.screen.post_message(Paste(f"'{songs}' "))
        await opened(pilot, 2)

    drive(app, script)


def test_no_color_is_respected(drive, monkeypatch):
    from textual.color import Color

    monkeypatch.setenv("NO_COLOR", "1")
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.2)
        for strip in app.screen._compositor.render_strips():
            for line_filter in app.get_line_filters():
                strip = strip.apply_filter(line_filter, Color.parse("black"))  # noqa: PLW2901
            for segment in strip:
                color = segment.style.color.triplet if segment.style and segment.style.color else None
                assert color is None or color.red == color.green == color.blue

    drive(app, script)


def test_many_variants_leave_room_for_names_and_slow_ones_can_be_switched_on(drive, songs, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.models.audiosr.unavailable_reason", lambda model: "")
    monkeypatch.setattr("engine.models.audiosr.fingerprint", lambda model: "a model")
    app = RestoreApp([songs], recipe="gpu-best")

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: "about 3 h" in screen_text(app))
        text = screen_text(app)
        assert "t/One.mp3" in text and "takes too long" in text
        assert all(number in text for number in ("01", "02", "03", "08", "11", "12", "07"))
        assert state(app, "Two.mp3", "02_audiosr_direct") == "impossible"
        told, notify = [], app.notify
        monkeypatch.setattr(
            app, "notify", lambda message, **options: (told.append(message), notify(message, **options))
        )
        await pilot.press("tab", "down", "space")
        await until(pilot, lambda: app.library is not None and state(app, "Two.mp3", "02_audiosr_direct") == "todo")
        assert state(app, "Two.mp3", "03_audiosr_lp") == "impossible"
        assert any("however long it takes" in message for message in told)

    drive(app, script, size=(110, 34))
