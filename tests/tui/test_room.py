"""The dashboard tells what a run will take on the disk before it is started."""

from __future__ import annotations

from engine.run import room
from tests.tui.conftest import opened, screen_text, until
from tui.app import RestoreApp
from tui.screens.dialogs import Choice


def test_the_dashboard_tells_it_before_the_start_and_asks_where_it_does_not_fit(songs, quick, drive, monkeypatch):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: "Takes ≈" in screen_text(app))
        whole = app.library.needs().kept
        await pilot.press("space")
        assert 0 < app.library.needs().kept < whole, "of the marked song alone"
        monkeypatch.setattr(room, "free_disk", lambda folder: 1000)
        await pilot.press("asterisk", "s")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert "does not fit" in screen_text(app)
        await pilot.press("1")
        await until(pilot, lambda: "Does not fit" in screen_text(app))
        assert not app.session.running
        monkeypatch.setattr(room, "free_disk", lambda folder: 10**12)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert app.library.needs().kept == 0 and "Takes" not in screen_text(app)

    drive(app, script)
