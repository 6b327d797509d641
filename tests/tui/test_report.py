"""The report in the dashboard: made in the background, told on a page, written for a browser."""

from __future__ import annotations

import soundfile

from engine.commands.report import show
from engine.compare.batch import Comparison
from tests.tui.conftest import opened, screen_text, until
from tui.app import RestoreApp
from tui.screens.report import ReportPage


def test_the_report_tells_of_all_songs_and_of_the_selected_one(songs, quick, drive, monkeypatch):
    (songs / "Artist" / "two [b]bold.mp3").write_text("no music")
    app = RestoreApp([songs], recipe=quick)
    asked: list[str] = []
    monkeypatch.setattr(app, "open_url", asked.append)

    async def script(pilot):
        await opened(pilot, 3)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ReportPage) and "Generated is not" in screen_text(app))
        shown = screen_text(app)
        assert "2 songs compared" in shown and "One.mp3" in shown and "11_offline" in shown
        assert "two [b]bold.mp3" in shown and "see and hear it" in shown.lower()
        for figure in ("generated (%)", "holes filled (%)", "clicks (/min)"):
            rows = [line for line in shown.splitlines() if figure in line]
            assert len(rows) == 2, figure  # the medians, and the song's own
        monkeypatch.setenv("DISPLAY", ":0")
        await pilot.press("enter")
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setattr("tui.screens.report.sys.platform", "linux")
        await pilot.press("enter")
        await until(pilot, lambda: any("There is no desktop here" in n.message for n in app._notifications))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ReportPage))

    drive(app, script, size=(100, 60))
    page = app.session.store.places.report("report.html")
    assert asked == [page.as_uri()] and page.is_file()


def test_leaving_stops_the_comparison_and_a_folder_that_takes_nothing_is_told(songs, quick, drive, monkeypatch):
    app = RestoreApp([songs], recipe=quick)
    comparisons: list[Comparison] = []

    def full(store, entries, originals):
        raise OSError(28, "No space left on device")

    def entries(self, given, jobs=0):
        comparisons.append(self)
        yield from ()

    async def script(pilot):
        await opened(pilot, 2)
        monkeypatch.setattr("engine.compare.batch.Comparison.entries", entries)
        monkeypatch.setattr("engine.compare.report.write", full)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ReportPage) and "is full" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, comparisons[0].stop.is_set)

    drive(app, script)


def test_a_report_against_originals_stays_one(songs, quick, drive, tmp_path):
    originals = tmp_path / "originals"
    originals.mkdir()
    for song in songs.rglob("*.mp3"):  # of the same length, which is all that matters here
        samples, rate = soundfile.read(song)
        soundfile.write(originals / f"{song.stem}.flac", samples, rate)
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert show(app.session, originals) == 0
        page = app.session.store.places.report("report.html")
        first = page.read_bytes()
        assert b"lsd" in first.lower() or b"original" in first
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ReportPage) and "Generated is not" in screen_text(app))
        assert page.read_bytes() == first, "with all that it told of the originals"
        await pilot.press("escape")
        originals.rename(tmp_path / "unplugged")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, ReportPage) and "Generated is not" in screen_text(app))
        assert "not there now" in " ".join(screen_text(app).split())  # wherever the line is broken
        assert page.read_bytes() == first
        await pilot.press("escape")
        assert show(app.session, None) == 0 and page.read_bytes() != first, "who asks for none gets none"

    drive(app, script, size=(100, 60))
