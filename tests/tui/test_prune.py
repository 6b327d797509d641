"""Making room in the dashboard: a preview, a question, and a sign for what went."""

from __future__ import annotations

from engine.library.verdicts import change_verdict
from tests.tui.conftest import opened, screen_text, until
from tui.app import RestoreApp
from tui.screens.dialogs import Choice


def test_the_dashboard_shows_what_would_go_asks_and_marks_what_went(songs, quick, drive):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        await pilot.press("P")
        await pilot.pause(0.3)
        assert not isinstance(app.screen, Choice), "no song has a favourite"
        change_verdict(app.session.store.places.listening(app.session.songs[0].key), favourite="11_offline")
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        shown = screen_text(app)
        assert "1 file of 1 song can go" in shown and "no favourite" in shown and "trash" in shown
        await pilot.press("2")  # for good
        view = app.library.songs[0]
        await until(pilot, lambda: view.tasks["01_baseline"].state == "pruned")
        assert "◇" in screen_text(app) and view.progress == 1.0 and view.tasks["11_offline"].state == "done"
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert view.tasks["01_baseline"].state == "pruned"

    drive(app, script)
    assert len(list(app.session.store.out.glob("0*/**/*.flac"))) == 1
