"""Looking for damaged results in the dashboard, and having them made again."""

from __future__ import annotations

from tests.tui.conftest import opened, screen_text, until
from tui.app import RestoreApp
from tui.screens.verify import VerifyPage


def test_the_dashboard_finds_a_damaged_result_and_makes_it_again(songs, quick, drive):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        path = next(app.session.store.out.glob("11_*/**/*.flac"))
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2] + b"damage" + before[len(before) // 2 + 6 :])
        await pilot.press("V")
        await until(pilot, lambda: isinstance(app.screen, VerifyPage) and not app.screen.is_waiting)
        await until(pilot, lambda: "1 damaged" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: any(v.tasks["11_offline"].state == "todo" for v in app.library.songs))
        await pilot.press("escape", "s")
        await until(pilot, lambda: path.read_bytes() == before)

    drive(app, script)
