"""A library of the worst songs, through the program's real entry points, and in the dashboard at 80 columns."""

from __future__ import annotations

import os

import pytest

from tests.hostile.entries import all_entries, library
from tests.hostile.texts import unsafe
from tests.tui.conftest import drive, home, opened, screen_text, until  # noqa: F401 -- fixtures
from tui.app import RestoreApp

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows does not allow such names")


@pytest.mark.slow
def test_every_command_survives_the_worst_songs(tmp_path):
    tried = dict(all_entries(tmp_path, 6, refusals=3))
    assert len(tried) == 14 and not any(tried.values()), {name: wrong for name, wrong in tried.items() if wrong}


@pytest.mark.slow
def test_the_dashboard_shows_the_worst_songs_literally(drive, tmp_path):  # noqa: F811
    count = 6
    music = library(tmp_path, count)
    app = RestoreApp([music], tmp_path / "out", str(tmp_path / "quick.toml"))
    seen = []

    async def script(pilot):
        await until(pilot, lambda: app.library is not None)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        for _ in range(len(app.library.songs)):
            seen.append(screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: not getattr(app.screen, "is_waiting", False))
            seen.append(screen_text(app))
            await pilot.press("escape", "down")
        for key in ("l", "R", "P", "X", "g", "slash", "e", "question_mark"):
            await pilot.press(key)
            await pilot.pause(0.2)
            seen.append(screen_text(app))
            await pilot.press("escape")
            await pilot.pause(0.1)

    drive(app, script, (80, 24))
    assert len(seen) > 2 * count
    for text in seen:
        assert not unsafe(text), text
        assert "Traceback" not in text
