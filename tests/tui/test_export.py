"""Exporting favourites in the dashboard: as what, and where to."""

from __future__ import annotations

import soundfile
from mutagen.flac import FLAC

from engine.audio.player_formats import ENDINGS
from engine.library.verdicts import change_verdict
from tests.tui.conftest import opened, screen_text, until
from tui.app import AS_THEY_ARE, EXPORTS, RestoreApp
from tui.screens.dialogs import Choice, TextDialog


def test_the_format_is_chosen_by_a_key_and_what_is_encoded_is_told(songs, quick, drive):
    app = RestoreApp([songs], recipe=quick)
    target = songs.parent / "Favourites"

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        await pilot.press("X")
        await pilot.pause(0.3)
        assert not isinstance(app.screen, Choice), "nothing to export yet"
        for song in app.session.songs:
            change_verdict(app.session.store.places.listening(song.key), favourite="11_offline")
        app.library.look_at_favourites()
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        shown = screen_text(app)
        assert "2 favourites" in shown and "ALAC" in shown and "Opus" in shown and "MP3 (V0)" in shown
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press("enter")
        await until(pilot, (target / "Two.flac").exists)
        await until(pilot, lambda: any("2 favourites in" in n.message for n in app._notifications))
        assert not any("exported:" in n.message for n in app._notifications), "how far it is, is over"

    drive(app, script)
    assert {soundfile.info(path).subtype for path in target.rglob("*.flac")} == {"PCM_16"}
    assert "replaygain_track_gain" in FLAC(target / "Two.flac")


def test_every_format_that_there_is_can_be_chosen():
    assert EXPORTS.keys() == {AS_THEY_ARE, *ENDINGS}
