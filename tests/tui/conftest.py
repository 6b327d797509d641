"""The dashboard in a home of its own, driven by Textual's Pilot."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from engine.run.events import Progress
from tui.app import RestoreApp

QUICK = 'format = 1\ntitle = "Quick"\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.11_offline]\nchain = ["decode", "restore"]\n'


@pytest.fixture
def quick(tmp_path):
    """A recipe without the slow denoiser."""
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    return str(path)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Settings, themes and recipes of nobody."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.fixture
def drive():
    """``drive(app, script, size)``: run an app and a coroutine that gets its pilot."""

    def run(app, script, size=(120, 36)):
        async def main():
            async with app.run_test(size=size) as pilot:
                await script(pilot)
                if app.session is not None and app.session.running:
                    app.session.stop()
                    await until(pilot, lambda: not app.session.running)

        asyncio.run(main())

    return run


async def until(pilot, condition, seconds=60.0):
    """Wait for ``condition``; fail when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await pilot.pause(0.05)
    await pilot.pause(0.1)


async def opened(pilot, count):
    """Wait until the library with ``count`` songs is loaded."""
    app: RestoreApp = pilot.app
    await until(pilot, lambda: app.library is not None and len(app.library.songs) == count)
    await pilot.pause(0.3)


def screen_text(app) -> str:
    """What is on the screen, as plain lines."""
    width, height = app.size
    lines = []
    for strip in app.screen._compositor.render_strips():
        lines.append(strip.text)
    assert len(lines) == height
    return "\n".join(line[:width] for line in lines)


class Gate:
    """Holds the engine's thread where it reports a chunk, so that no test races against the work.

    A test that presses "skip" while the engine works would otherwise lose on a machine where one is slow
    and the other is not.
    """

    def __init__(self, session, stage=""):
        self.chunks = 0
        self._open = threading.Event()
        self._stage = stage
        session.subscribe(self._receive)

    def _receive(self, event):
        if isinstance(event, Progress) and event.chunk and event.stage.startswith(self._stage):
            self.chunks += 1
            self._open.wait(60)

    def open(self):
        self._open.set()

    def close(self):
        self._open.clear()
