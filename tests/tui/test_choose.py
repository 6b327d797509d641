"""Choosing for the whole library, in the dashboard."""

from __future__ import annotations

from engine.library.verdicts import read_verdict
from engine.player.choosing import keep_comparison, read_comparisons
from tests.tui.conftest import until
from tests.tui.test_dashboard import opened, screen_text
from tests.tui.test_listen import restored  # noqa: F401
from tui.app import RestoreApp
from tui.screens.choose import ChooseScreen


async def begin(pilot, app):
    await opened(pilot, 2)
    await pilot.press("C")
    await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and app.screen.phase not in ("reading", "opening"))
    await pilot.pause(0.2)
    return app.screen


def kept(app):
    folders = [app.session.store.places.listening(song.key) for song in app.session.songs]
    return [pair for folder in folders for pair in read_comparisons(folder)]


def test_comparisons_are_blind_kept_at_once_and_end_in_a_proposal(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await begin(pilot, app)
        assert screen.phase == "asking"
        text = screen_text(app)
        assert "Which is better?" in text and "offline" not in text.lower() and "baseline" not in text
        pair, player = screen.question.pair, screen.player
        assert player.current == pair[0] and player.match and player.looping
        await pilot.press("2")
        assert player.current == pair[1]
        await pilot.press("right")
        await until(pilot, lambda: screen.phase != "opening")
        assert kept(app) == [(pair[1], pair[0])]
        await pilot.press("down")  # no difference in the other song
        await until(pilot, lambda: screen.phase == "proposal")
        await pilot.pause(0.2)
        assert "No preference found" in screen_text(app)
        await pilot.press("enter", "a")  # there is nothing to choose
        assert app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.home)

    drive(app, script, (80, 24))


def test_the_proposal_is_made_favourites_that_say_so(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        places = [app.session.store.places.listening(song.key) for song in app.session.songs]
        for _ in range(12):
            keep_comparison(places[0], "11_offline", "01_baseline")
        screen = await begin(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: screen.phase == "proposal")
        await pilot.pause(0.2)
        text = screen_text(app)
        assert "11_offline" in text and "that you have not judged" in text
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.home)
        await pilot.pause(0.3)
        assert [read_verdict(place).is_proposed for place in places] == [True, True]
        assert "☆" in screen_text(app) and "★" not in screen_text(app)

    drive(app, script)


def test_a_library_without_variants_says_so(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await begin(pilot, app)
        assert "No song is ready to be compared" in screen_text(app)
        await pilot.press("q")
        await until(pilot, lambda: app.screen is app.home)

    drive(app, script)


def test_leaving_while_a_song_opens_closes_the_player(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        screen = app.screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.home)
        await until(pilot, lambda: screen._player is None or not screen._player._folder.path.exists())

    drive(app, script)
