"""What an eye found on the screens: what is cut, what is hidden, what the line of keys says."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from rich.cells import cell_len

from engine.run.session import Session
from tests.conftest import execute
from tests.tui.conftest import Gate, opened, screen_text, until
from tests.tui.test_dashboard import state
from tests.tui.test_listen import begin_test, listen_to_second, restored  # noqa: F401 - a fixture
from tui.app import RestoreApp
from tui.model import LogLine
from tui.screens.dialogs import Choice
from tui.screens.open_dialog import OpenDialog
from tui.screens.recipe import RecipeScreen
from tui.settings import load_settings
from tui.widgets.spectrogram import Spectrogram
from tui.widgets.stage_checklist import StageChecklist

LONG = "Preludes, Fugues and Very Long Winded Album Titles (Remastered Deluxe Edition)"


def keys(app):
    """The line of keys."""
    return screen_text(app).splitlines()[-1]


@pytest.mark.parametrize("size", [(140, 42), (80, 24)])
def test_long_recent_folders_are_cut_in_the_middle_and_take_one_line(drive, home, size):
    settings = load_settings()
    settings.recent = [str(home / "Music" / LONG / "Disc 2"), str(home / "Old")]
    settings.save()
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.3)
        lines = [line.strip() for line in screen_text(app).splitlines()]
        at = next(n for n, line in enumerate(lines) if line.startswith("1 "))
        assert "…" in lines[at] and lines[at].endswith("Disc 2") and lines[at + 1].startswith("2 ")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        recent = [line for line in screen_text(app).splitlines() if "↺" in line]
        assert len(recent) == 2 and "Disc 2" in recent[0] and "…" in recent[0]

    drive(app, script, size)


def test_several_dropped_paths_are_all_opened(drive, songs, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(songs / "Two.mp3", more / "Three.mp3")
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        field = app.screen.query_one("#path")
        field.value = f"'{songs}' '{tmp_path / 'nowhere'}'"
        await pilot.press("enter")
        assert isinstance(app.screen, OpenDialog)
        field.value = f"'{songs}' '{more}'"
        await pilot.press("enter")
        await opened(pilot, 3)

    drive(app, script)


def test_the_line_of_keys_follows_what_is_done(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        for word in ("Mark", "Details", "Start", "Open", "Listen", "Help", "Quit"):
            assert word in keys(app), word
        assert "Show all" not in keys(app)
        await pilot.press("slash")
        await pilot.pause(0.2)
        assert "To the songs" in keys(app) and "Show all songs" in keys(app) and "Find" not in keys(app)
        await pilot.press(*"is:foobar")
        await pilot.pause(0.2)
        assert "try is:failed, skipped, done, open, ruined, good or pruned." in screen_text(app), (
            "all of it, at 80 columns"
        )
        await pilot.press("escape", "f")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.pause(0.2)
        assert "Choose" in keys(app) and "Cancel" in keys(app)

    drive(app, script, (80, 24))


def test_room_is_used_to_show_more_keys(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        for word in ("Models", "Doctor", "Export favourites", "Sort"):
            assert word in keys(app), word

    drive(app, script, (160, 40))


def test_where_the_results_go_is_cut_or_left_out_and_never_wraps(drive, songs, quick, tmp_path):
    app = RestoreApp([songs], tmp_path / LONG / "Results", recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        header = screen_text(app).splitlines()[0]
        assert "…" in header and header.rstrip().endswith("Results") and cell_len(header) <= 80
        await pilot.resize_terminal(38, 24)
        await pilot.pause(0.3)
        app.home.show_state()
        await pilot.pause(0.2)
        assert "→" not in screen_text(app).splitlines()[0]

    drive(app, script, (80, 24))


def test_what_is_switched_off_stays_off_when_it_is_opened_again(drive, songs, quick):
    async def switch(pilot):
        app = pilot.app
        await opened(pilot, 2)
        app.home.query_one(StageChecklist).post_message(StageChecklist.Toggled("11_offline", for_all=True))
        await until(pilot, lambda: any(songs.parent.rglob("off.json")))
        assert state(app, "Two.mp3", "11_offline") == "off"
        await until(pilot, lambda: len(list(songs.parent.rglob("off.json"))) == 2)

    async def look(pilot):
        await opened(pilot, 2)
        assert state(pilot.app, "Two.mp3", "11_offline") == state(pilot.app, "Artist/One.mp3", "11_offline") == "off"
        assert state(pilot.app, "Two.mp3", "01_baseline") == "todo"

    drive(RestoreApp([songs], recipe=quick), switch)
    drive(RestoreApp([songs], recipe=quick), look)
    session = Session([songs], recipe=quick)
    execute(session)
    assert not list(session.store.out.glob("11_offline/**/*.flac"))


def test_a_song_that_was_moved_is_shown_as_done_and_can_be_heard(drive, songs, quick):
    execute(Session([songs], recipe=quick))
    (songs / "Two.mp3").rename(songs / "Second.mp3")
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: app.library.counts()["done"] == 2)
        view = app.library.by_id["Second.mp3"]
        assert view.place.key.name == "Two" and app.session.store.markers(view.place)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert view.place.key.name == "Second" and app.library.counts()["done"] == 2

    drive(app, script)


def test_skipping_what_was_to_be_made_anew_leaves_it_done(drive, songs, quick):
    execute(Session([songs], recipe=quick))
    app = RestoreApp([songs], recipe=quick, jobs=1)

    async def script(pilot):
        await opened(pilot, 2)
        gate = Gate(app.session)
        app.home._begin(app.library.songs, force=True)
        await until(pilot, lambda: gate.chunks or app.library.current)
        await pilot.press("end", "x")
        assert state(app, "Two.mp3", "01_baseline") == "done"
        await pilot.press("t")
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)

    drive(app, script)


@pytest.mark.parametrize("size", [(140, 42), (100, 30), (80, 24)])
def test_units_and_ranges_of_a_recipe_are_whole_at_every_width(drive, songs, quick, size):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.press("down")
        await pilot.pause(0.5)
        text = screen_text(app)
        for limits in ("6 … 60 dB", "true or false", "0 … 192000 Hz"):
            assert limits in text, limits
        assert "On/off" in keys(app)
        before = app.screen._current().enabled
        await pilot.press("space")
        assert app.screen._current().enabled is not before
        await pilot.press("q")  # with something changed, no key leaves without a question
        await until(pilot, lambda: isinstance(app.screen, Choice))

    drive(app, script, size)


def test_a_blind_test_shows_only_keys_that_do_something(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        blind = await begin_test(pilot, screen)
        await pilot.pause(0.3)
        assert "a b x Hear" in keys(app) and "← → Answer" in keys(app) and "Help" in keys(app)
        await pilot.press("enter")
        while blind.phase == "trials":
            await pilot.press("right", "enter")
        await pilot.pause(0.3)
        assert blind.phase == "break"
        assert "Hear" not in keys(app) and "Play" not in keys(app) and "Go on" in keys(app)

    drive(app, script, (80, 24))


@pytest.mark.parametrize("theme", ["paper", "contrast", "sixteen"])
def test_lists_follow_the_theme_while_they_are_shown(drive, songs, quick, theme):
    app = RestoreApp([songs], recipe=quick)
    app.theme = "ember"

    def inks():
        listing = app.screen.query_one("#variants")
        return [s.style.color for y in range(4) for s in listing.render_line(y) if s.style and s.text.strip()]

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        app.theme = theme
        await pilot.pause(0.3)
        switched = inks()
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, RecipeScreen))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.pause(0.2)
        assert switched == inks()

    drive(app, script)


def test_the_log_follows_the_theme_and_loses_no_line(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)
    app.theme = "ember"

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None and not app.library.new_lines)
        await pilot.press("g") if not app.home.has_class("-log") else None
        await pilot.pause(0.3)
        log = app.home.query_one("#log")
        before = [strip.text for strip in log.lines]
        app.theme = "paper"
        await pilot.pause(0.3)
        assert before and [strip.text for strip in log.lines] == before
        inks = [s.style.color.get_truecolor() for strip in log.lines for s in strip if s.style and s.style.color]
        assert inks and all(sum(ink) < 400 for ink in inks), "dark on paper"

    drive(app, script, (140, 42))


def test_the_log_never_has_to_be_moved_sideways(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("g") if not app.home.has_class("-log") else None
        await pilot.pause(0.3)
        log = app.home.query_one("#log")
        for _ in range(12):  # more than there is room for: a scrollbar takes room from lines that are broken already
            app.home._write([LogLine("note", "x" * 300)])
            await pilot.pause()
        assert log.show_vertical_scrollbar and not log.show_horizontal_scrollbar

    drive(app, script, (120, 36))


def test_with_sixteen_colours_the_place_is_seen_where_the_keys_do_not_go(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)
    app.theme = "sixteen"

    def cursor(widget, text):
        """Whether the row with ``text`` is filled, and whether it is underlined."""
        rows = [list(widget.render_line(y)) for y in range(widget.size.height)]
        row = next(row for row in rows if text in "".join(s.text for s in row))
        style = next(s.style for s in row if text in s.text)
        return style.bgcolor is not None and style.bgcolor.number == 3, bool(style.underline)

    async def script(pilot):
        await opened(pilot, 2)
        table, stages = app.home.query_one("#table"), app.home.query_one(StageChecklist)
        assert cursor(table, "One.mp3") == (True, False)
        assert cursor(stages, "01_baseline") == (False, True)
        await pilot.press("tab")
        await pilot.pause(0.2)
        assert cursor(table, "One.mp3") == (False, True)
        assert cursor(stages, "01_baseline") == (True, False)

    drive(app, script)


@pytest.mark.parametrize("theme", ["ember", "paper", "contrast", "sixteen", "nord"])
def test_more_and_less_differ_in_more_than_red_and_green(drive, theme):
    app = RestoreApp([])
    app.theme = theme

    async def script(pilot):
        picture = Spectrogram()
        await app.screen.mount(picture)
        await pilot.pause(0.2)
        rows = np.concatenate([np.full((100, 10), 12.0), np.full((100, 10), -12.0)]).astype(np.float32)
        picture.show_picture(rows, 44100, kind="difference")
        await pilot.pause(0.2)
        colors = set()
        for y in range(picture.size.height - 1):
            for segment in picture.render_line(y):
                if segment.style and segment.style.color and set(segment.text) & set("▀█▓▒░"):
                    colors.add(segment.style.color.get_truecolor())
        strong = [c for c in colors if max(c) - min(c) > 60]
        assert any(c.blue > c.red for c in strong) and any(c.red > c.blue for c in strong)

    drive(app, script)
