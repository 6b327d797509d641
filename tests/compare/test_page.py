"""The page in a real Chromium: keys are pressed, sound files really switch, and nothing leaves the folder."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import pytest

pytest.importorskip("fcntl", reason="speaks to the browser through pipes that Windows has not")
from engine.compare import report
from engine.compare.batch import Comparison
from tests.compare.chromium import PROGRAM, Chromium
from tests.compare.conftest import NAMES

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs Chromium (apt install chromium)")

EVIL = "</script><script>document.title='owned'</script><img src=q onerror=\"document.title='owned'\">"
PLAYERS = """[...document.querySelectorAll('audio')].map(
    (a) => ({at: a.currentTime, volume: a.volume, paused: a.paused, error: a.error && a.error.message}))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def library(hostile, tmp_path_factory):
    """A copy of the results with a report of five songs, whose page's path and entries are given."""
    store = type(hostile.store)(shutil.copytree(hostile.store.out, tmp_path_factory.mktemp("page") / "out"))
    entries = list(Comparison(store).entries(hostile.songs))
    bad = replace(entries[0].versions[1], lost=EVIL)
    entries[0] = replace(entries[0], versions=(entries[0].versions[0], bad, entries[0].versions[2]), favourite="02_low")
    return report.write(store, entries), entries, store


@pytest.fixture
def page(browser, library):
    """The page of five songs, freshly opened."""
    browser.requests.clear(), browser.said.clear()
    browser.open(library[0])
    return browser


def heard(page) -> int:
    """Which of the players is loud."""
    volumes = [player["volume"] for player in page.value(PLAYERS)]
    assert sorted(volumes)[-2] < 1e-4
    return volumes.index(max(volumes))


def test_names_are_shown_as_they_are_and_nothing_in_them_runs(page, library):
    shown = page.value("[...document.querySelectorAll('.row bdi')].map((name) => name.textContent)")
    assert sorted(shown) == sorted(NAMES.values())
    page.press("PageDown")
    assert page.value("document.querySelector('#name').textContent") == library[1][0].name
    assert page.value("document.querySelector('#versions .bad').textContent") == EVIL
    assert (
        page.value("document.querySelectorAll('script, img:not(.picture img), iframe, b').length") == 2
    )  # our own two
    assert page.value("document.title") == f"{library[2].out.parent.name}: mp3restore report"
    assert page.said == []


def test_all_sounds_and_pictures_are_found_whatever_their_names_and_nothing_else_is_asked_for(page, library):
    for _ in NAMES:
        page.press("PageDown")
        page.press("2")
        page.press(" ")
        page.until("[...document.querySelectorAll('audio')].every((a) => a.error || a.readyState >= 2)")
        assert [player["error"] for player in page.value(PLAYERS)] == [None] * 3
        page.until("[...document.querySelectorAll('.picture img')].every((i) => i.complete)")
        assert page.value("[...document.querySelectorAll('.picture img')].map((i) => i.naturalWidth)") == [480, 480]
    folder = library[2].out.as_uri()
    assert len(page.requests) > 20 and [url for url in page.requests if not url.startswith(f"{folder}/")] == []
    assert page.said == []


def test_keys_toggle_between_sounds_at_the_same_place_equally_loud(page, library):
    page.press("PageDown")
    page.press(" ")
    page.until(f"({PLAYERS}).every((p) => p.at > 0.4)")
    loudness = [version.figures.loudness for version in library[1][0].versions]
    before = page.value(PLAYERS)
    assert heard(page) == 0 and not any(player["paused"] for player in before)
    for key, place in (("2", 1), ("3", 2), ("Tab", 1), ("Tab", 2), ("ArrowUp", 1), ("1", 0), ("9", 0)):
        old = page.value(PLAYERS)
        page.press(key)
        new = page.value(PLAYERS)
        assert heard(page) == place, key
        gain = min(loudness) - loudness[place]
        assert new[place]["volume"] == pytest.approx(10 ** (gain / 20), rel=0.02)
        places = [player["at"] for player in new]
        assert max(places) - min(places) < 0.05, key  # they run in step
        assert 0 <= new[place]["at"] - max(player["at"] for player in old) + 0.05 < 0.5, key  # and go on from there
    page.press("m")
    assert page.value(PLAYERS)[0]["volume"] == 1.0 and heard(page) == 0
    page.press(" ")
    stopped = page.value(PLAYERS)
    assert all(player["paused"] for player in stopped)
    time.sleep(0.2)
    assert page.value(PLAYERS) == stopped


def test_seeking_and_loops(page):
    page.press("PageDown")
    page.press("2")

    def moved(key, to, **options):
        page.press(key, **options)
        page.until(f"({PLAYERS}).every((p) => Math.abs(p.at - {to}) < 0.02)")

    moved("ArrowRight", 5)
    moved("ArrowLeft", 4, shift=True)
    moved(",", 3)
    page.press("i")
    moved("ArrowRight", 4, shift=True)
    page.press("o")
    assert "loop 0:03 to 0:04" in page.value("document.querySelector('#loop').textContent")
    moved("Home", 3)
    page.press(" ")
    wrapped = "(async () => { let last = 0; for (;;) { const at = document.querySelectorAll('audio')[1].currentTime; " \
              "if (at < last - 0.5) return [last, at]; last = at; await new Promise((r) => setTimeout(r, 10)); } })()"  # fmt: skip
    last, at = page.value(wrapped)
    assert 3.8 < last < 4.3 and 2.95 < at < 3.3
    page.press("q")
    assert page.value("document.querySelector('#song').hidden && !document.querySelector('#summary').hidden")
    assert all(player["paused"] for player in page.value(PLAYERS))


def test_the_policy_lets_nothing_in_and_nothing_out(page):
    broken = """(what) => new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective), {once: true});
        what(); setTimeout(() => done('nothing'), 3000); })"""
    tries = {
        "script-src-elem": "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s)",
        "script-src-attr": "document.body.setAttribute('onclick', 'window.owned = 1')",
        "img-src": "new Image().src = 'http://127.0.0.1:9/x.png'",
        "media-src": "new Audio('http://127.0.0.1:9/x.flac').load()",
        "connect-src": "fetch('http://127.0.0.1:9/').catch(() => 0)",
        "frame-src": "const f = document.createElement('iframe'); f.src = 'data:text/html,x'; document.body.append(f)",
        "style-src-elem": "const s = document.createElement('style'); s.textContent = 'b {}'; document.body.append(s)",
        "form-action": "const f = document.createElement('form'); f.action = 'http://127.0.0.1:9/'; document.body.append(f); f.submit()",
    }
    for directive, script in tries.items():
        assert page.value(f"({broken})(() => {{ {script} }})") == directive
    assert page.value("window.owned") is None


def test_light_dark_and_the_words_about_figures(page, browser, library):
    def background():
        return page.value("getComputedStyle(document.body).backgroundColor")

    light = background()
    assert "what is generated is not recovered" in page.value("document.querySelector('#honest').textContent")
    browser.open(library[0], scheme="dark")
    dark = background()
    assert light != dark
    page.value("document.querySelector('#theme').click()")
    assert background() == light


def test_a_song_that_could_not_be_compared_and_files_that_are_gone(browser, library, tmp_path):
    _, entries, store = library
    moved = type(store)(tmp_path / "out")
    gone = [replace(entries[0], versions=(), problem=EVIL), entries[1]]
    browser.open(report.write(moved, gone))
    browser.press("PageDown")
    assert browser.value("document.querySelector('#problem').textContent") == EVIL
    browser.press(" ")
    browser.press("PageDown")
    browser.press(" ")
    browser.until("document.querySelector('#status').textContent.includes('cannot be played')")
    assert browser.value("document.querySelector('#play').textContent") == "play"


def test_five_hundred_songs(browser, library):
    path, entries, store = library
    many = [replace(entries[n % 5], name=f"Album {n // 10:02d}/Song {n:03d}", favourite="") for n in range(500)]
    try:
        start = time.monotonic()
        browser.open(report.write(store, many))
        assert time.monotonic() - start < 10
        assert browser.value("document.querySelector('#counts').textContent") == "500 songs, 1500 files"
        assert browser.value("document.querySelectorAll('.row').length") < 80
        assert browser.value("document.querySelectorAll('#medians tr').length") == 4
        browser.value("document.querySelector('#list').scrollTop = 1e6")
        browser.until("[...document.querySelectorAll('.row')].some((r) => r.textContent.includes('Song 499'))")
        assert browser.value("document.querySelectorAll('.row').length") < 80
        browser.press("/")
        for letter in "song 123":
            browser.press(letter)
        browser.until("document.querySelectorAll('.row').length === 1")
        browser.press("Enter")
        assert browser.value("document.querySelector('#name').textContent") == "Album 12/Song 123"
        browser.press(" ")
        browser.until(f"({PLAYERS}).every((p) => p.at > 0.2)")
        browser.value(
            "const find = document.querySelector('#find'); find.value = ''; find.dispatchEvent(new Event('input'))"
        )
        for _ in range(30):
            browser.press("PageDown")
        assert browser.value("document.querySelector('#name').textContent") == "Album 15/Song 153"
        assert browser.value("document.querySelectorAll('audio').length") == 3
        assert browser.value("document.querySelector('.row[aria-selected=true]').textContent") == "Album 15/Song 153"
    finally:
        report.write(store, entries)
    assert path.exists()
