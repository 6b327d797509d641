"""Files dropped onto a terminal arrive as text of many kinds."""

from __future__ import annotations

import pytest
from textual.events import Paste

from tests.tui.conftest import until
from tui.app import RestoreApp
from tui.dropped import dropped_paths, looks_dropped
from tui.screens.open_dialog import OpenDialog


@pytest.mark.parametrize(
    "text",
    [
        "file:///C:/My%20Music/A%26B%20100%25", "file:///c:/x", "'C:\\My Music'", '"C:\\My Music"', "C:/Music", "file://nas/x", "\\\\nas\\x",
        "~/Music", "/home/a\\ b", "& 'C:\\a'", "FILE:///x", "file:/x",
    ],
)  # fmt: skip
def test_paths_are_known(text):
    assert looks_dropped(text) and looks_dropped(f" {text}\n")


@pytest.mark.parametrize("text", ["hello", "s", "", "http://x/y", "a/b", "C:", "10:30"])
def test_other_text_is_not(text):
    assert not looks_dropped(text)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("file:///C:/My%20Music/A%26B%20100%25", ["C:\\My Music\\A&B 100%"]),
        ("file://localhost/C|/x", ["C:\\x"]),
        ("file://nas/music/a%20b", ["\\\\nas\\music\\a b"]),
        ("file:///D:/%C3%A9.mp3", ["D:\\é.mp3"]),
        ('"C:\\My Music"', ["C:\\My Music"]),
        ("& 'C:\\My Music'", ["C:\\My Music"]),
        ("C:\\My Music\\100%20", ["C:\\My Music\\100%20"]),
        ('"C:\\a b" C:\\c', ["C:\\a b", "C:\\c"]),
    ],
)
def test_windows(text, paths):
    assert dropped_paths(text, windows=True, exists=set(paths).__contains__) == paths
    assert dropped_paths(text.replace("My", "No"), windows=True, exists=lambda _: False)  # told as it is meant


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("file:///home/a%20b/c%23.mp3", ["/home/a b/c#.mp3"]),
        ("file:/x", ["/x"]),
        ("file://myhost/home/x", ["/home/x"]),
        ("file:///x%FF", ["/x\udcff"]),
        ("/home/a\\ b\\ \\(c\\)", ["/home/a b (c)"]),
        ("'/home/it'\\''s'", ["/home/it's"]),
        ("/home/my music", ["/home/my music"]),
        ("/home/100%20", ["/home/100%20"]),
        ("/odd\\ name", ["/odd\\ name"]),
        ("'/a b' /c\\ d", ["/a b", "/c d"]),
        ("file:///a%20b\r\nfile:///c\n", ["/a b", "/c"]),
        ("/it's", ["/it's"]),
    ],
)
def test_posix(text, paths):
    assert dropped_paths(text, windows=False, exists=set(paths).__contains__) == paths


def test_what_is_not_there_is_named_without_its_quotes():
    assert dropped_paths("'/no such'", windows=False, exists=lambda _: False) == ["/no such"]


def test_an_address_with_percent_signs_is_opened(songs, drive):
    folder = songs.rename(songs.with_name("my lib #1"))
    app = RestoreApp([])

    async def script(pilot):
        app.screen.post_message(Paste(folder.as_uri()))
        await until(pilot, lambda: app.session is not None)
        assert len(app.session.songs) == 2

    drive(app, script)


def test_the_dialog_takes_an_address_too(songs, drive):
    folder = songs.rename(songs.with_name("my lib #1"))
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        app.screen.query_one("#path").value = folder.as_uri()
        await pilot.press("enter")
        await until(pilot, lambda: app.session is not None)
        assert len(app.session.songs) == 2

    drive(app, script)
