"""The listen screen and blind tests, driven by keys; with a software sound card where one can be had."""

from __future__ import annotations

import json
import tempfile
import time

import numpy as np
import pytest
import soundfile

from engine.library.layout import LISTENING
from engine.library.verdicts import read_verdict
from engine.player.blind import Kind
from engine.player.listening_sets import of_paths
from engine.run.session import Session
from tests.conftest import execute
from tests.player.soundcard import has_gap
from tests.tui.conftest import opened, screen_text, until
from tui.app import Listening, RestoreApp
from tui.screens.blind import BlindScreen
from tui.screens.blind_setup import BlindSetup
from tui.screens.dialogs import Choice, TextDialog
from tui.screens.listen import ListenScreen
from tui.screens.mixer import MixerScreen
from tui.widgets.spectrogram import Spectrogram
from tui.widgets.waveform import Waveform


@pytest.fixture
def restored(songs, quick):
    """A library with both variants of both songs."""
    execute(Session([songs], recipe=quick))
    return songs


async def listening(pilot):
    """Wait until the listen screen has loaded everything; gives it."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, ListenScreen) and app.screen.player is not None)
    await until(pilot, lambda: not app.screen.player.loading)
    await pilot.pause(0.3)
    return app.screen


async def listen_to_second(pilot):
    await opened(pilot, 2)
    await pilot.press("end", "l")
    return await listening(pilot)


def test_variants_are_listed_toggled_and_judged(drive, restored, quick):
    app = RestoreApp([restored], recipe=quick)
    store = {}

    async def script(pilot):
        screen = await listen_to_second(pilot)
        store["out"] = app.session.store.out
        await until(pilot, lambda: "20k" in screen_text(app))  # the spectrogram's axis
        text = screen_text(app)
        for words in (
            "Two.mp3",
            "Plain decode",
            "Offline restorer",
            "Plain decode → Offline",
            "generated above",
            "LUFS",
            "levels matched",
            "corr",
        ):
            assert words in text, words
        assert screen.player.current == "11_offline"
        await pilot.press("1")
        assert screen.player.current == "01_baseline"
        await pilot.press("tab")
        assert screen.player.current == "11_offline"
        await pilot.press("tab")
        assert screen.player.current == "01_baseline"
        await pilot.press("down")
        assert screen.player.current == "11_offline"
        await pilot.press("f", "n")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press(*"airy", "enter")
        await until(pilot, lambda: app.screen is screen)
        await pilot.pause(0.3)
        assert "★" in screen_text(app) and "airy" in screen_text(app)
        await pilot.press("m", "minus", "minus")
        await pilot.pause(0.2)
        assert "levels as they are" in screen_text(app) and "vol -3 dB" in screen_text(app)
        await pilot.press("pageup")
        await until(pilot, lambda: "Artist/One.mp3" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.home)
        assert "★" in screen_text(app)
        assert app.settings.volume == -3.0
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press("enter")
        await until(pilot, (store["out"].parent / "Favourites/Two.flac").exists)

    drive(app, script)
    verdict = read_verdict(store["out"] / LISTENING / "Two")
    assert verdict.favourite == "11_offline" and verdict.note == "airy"


def test_views_loops_and_the_mouse(drive, restored, quick):
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        player = screen.player
        await pilot.press("right")
        await until(pilot, lambda: player.position == 5 * player.rate)
        await pilot.press("shift+left", "shift+left", "shift+left")
        await until(pilot, lambda: player.position == 2 * player.rate)
        await pilot.press("i")
        await pilot.press("shift+right", "shift+right")
        await until(pilot, lambda: player.position == 4 * player.rate)
        await pilot.press("o")
        assert player.region == (2 * player.rate, 4 * player.rate) and player.looping
        await pilot.press("left_square_bracket", "right_curly_bracket")
        assert player.region == (2 * player.rate - player.rate // 100, 4 * player.rate + player.rate // 100)
        await pilot.pause(0.2)
        assert "↻ 0:01.99–0:04.01" in screen_text(app)
        await pilot.press("z", "l")
        await pilot.pause(0.3)
        assert not player.looping and screen._in_view[0] > player.rate
        await pilot.press("c")
        assert player.region is None
        await pilot.press("tab", "s")
        await until(pilot, lambda: screen.query_one("#picture-other").display)
        await until(pilot, lambda: screen.query_one("#picture-other", Spectrogram)._picture is not None)
        await pilot.press("s")
        await until(pilot, lambda: "against" in screen_text(app))
        await pilot.press("s", "g")
        await until(pilot, lambda: screen.query_one("#picture", Spectrogram)._log)
        wave = screen.query_one(Waveform)
        await pilot.click(Waveform, offset=(wave.size.width // 2, 3))
        await until(pilot, lambda: abs(player.position - player.frames / 2) < player.frames / 40)
        await pilot.mouse_down(Waveform, offset=(11, 3))
        await pilot.mouse_up(Waveform, offset=(41, 3))
        await until(pilot, lambda: player.region is not None and player.looping)
        assert player.region[0] / player.frames == pytest.approx(10 / wave.size.width, abs=0.03)

    drive(app, script)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 60)])
def test_every_size_shows_all_parts(drive, restored, quick, size):
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        await pilot.pause(0.5)
        for name in ("#variants-heard", "#meters", "#picture", "#waveform", "#transport"):
            region = screen.query_one(name).region
            assert region.width >= 20 and region.height >= 1 and region.right <= size[0] and region.bottom <= size[1], (
                name
            )
        assert "1 Plain" in screen_text(app)

    drive(app, script, size)


def test_files_are_played_without_a_run_and_hostile_names_are_literal(drive, tmp_path, piece):
    folder = tmp_path / "any"
    folder.mkdir()
    for name in ("[red]x[b] {a}.wav", "esc\x1b[31m.wav", "日本.wav"):
        soundfile.write(folder / name, piece[:44100], 44100)
    app = RestoreApp([], listening=Listening(of_paths([folder])))

    async def script(pilot):
        screen = await listening(pilot)
        await pilot.pause(0.5)
        text = screen_text(app)
        assert "[red]x[b] {a}.wav" in text and "esc\\x1b[31m.wav" in text and "日本.wav" in text and "\x1b" not in text
        await pilot.press("3", "s", "s")
        await pilot.pause(0.5)
        assert screen.player.current.endswith("日本.wav")
        await pilot.press("escape")
        await pilot.pause(0.5)
        assert not app.is_running or app._exit

    drive(app, script)


def test_stems_are_muted_and_soloed(drive, tmp_path):
    for name, hz in (("vocals", 440), ("drums", 110)):
        wave = 0.2 * np.sin(2 * np.pi * hz * np.arange(44100) / 44100)
        soundfile.write(tmp_path / f"{name}.wav", np.stack([wave, wave], axis=1), 44100)
    app = RestoreApp([], listening=Listening(of_paths([tmp_path / "vocals.wav", tmp_path / "drums.wav"])))

    async def script(pilot):
        screen = await listening(pilot)
        player = screen.player
        assert player.current == "stems" and len(player.mix_of("stems")) == 2
        assert player.levels_of("stems").loudness() > player.levels_of(player.keys[1]).loudness()
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, MixerScreen))
        await pilot.press("m")
        assert len(player.mix_of("stems")) == 1 and player.stems_of("stems")[0].strip.muted
        await pilot.press("m", "right", "s")
        assert player.stems_of("stems")[1].strip.solo and len(player.mix_of("stems")) == 1
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        await until(pilot, lambda: "heard mixed: only drums" in screen_text(app))

    drive(app, script)


# --- blind tests ------------------------------------------------------------------------------------------


async def begin_test(pilot, screen, *keys):
    """From the listen screen into the trials of a test; ``keys`` change its set-up."""
    app = pilot.app
    output = screen.player._output
    output.device_name = output.device_name or "a card"  # the screen asks for sound before it begins
    await pilot.press("b")
    await until(pilot, lambda: isinstance(app.screen, BlindSetup))
    await pilot.press(*keys, "enter")
    await until(pilot, lambda: isinstance(app.screen, BlindScreen))
    test = app.screen
    output.device_name = output.device_name or "a card"
    return test


def test_abx_from_training_to_the_result(drive, restored, quick):
    app = RestoreApp([restored], recipe=quick)
    found = {}

    async def script(pilot):
        screen = await listen_to_second(pilot)
        found["folder"] = app.session.store.out / LISTENING / "Two"
        blind = await begin_test(pilot, screen, "left", "left", "left", "left", "left", "left")
        text = screen_text(app)
        assert "does not count" in text and "A is Plain decode" in text and "10 trials" in text
        await pilot.press("x", "left")
        assert "X was " in screen_text(app)
        await pilot.press("enter")
        assert blind.phase == "trials"
        for number in range(10):
            test = blind.test
            text = screen_text(app)
            assert f"Trial {number + 1} of 10" in text
            for hidden in ("Plain", "Offline", "LUFS", "baseline", "correct", "p ="):
                assert hidden not in text
            await pilot.press("b", "x", "right")
            right = test.current.candidate("X") == test.current.candidate("B")
            await pilot.press("right" if right else "left")
            await pilot.press("enter")
            if blind.phase == "break":
                assert "minute of silence" in screen_text(app) and number == 7
                await pilot.press("enter")
        await pilot.pause(0.3)
        text = screen_text(app)
        assert "10 of 10, p < 0.001: you do hear a difference" in text and "A was Plain decode" in text
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)

    drive(app, script)
    (file,) = found["folder"].glob("abx-*.json")
    log = json.loads(file.read_text())
    assert log["finished"] and len(log["trials"]) == 10 and log["result"]["correct"] == 10
    assert set(log["sha256"]) == {"01_baseline", "11_offline"} and all(len(h) == 64 for h in log["sha256"].values())
    assert log["trials"][0]["switches"] >= 2 and log["region_seconds"][1] > log["region_seconds"][0]


def test_nothing_on_the_screen_tells_what_x_is(drive, restored, quick):
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        blind = await begin_test(pilot, screen)
        await pilot.press("enter")
        trial = blind.test.current
        seen, sent = [], []
        output = screen.player._output
        send = output.send
        output.send = lambda do, **facts: (sent.append((do, set(facts), time.monotonic())), send(do, **facts))
        for behind in trial.candidate("A"), trial.candidate("B"):
            trial._behind["X"] = behind
            await pilot.press("a")
            sent.clear()
            await pilot.press("x")
            await pilot.pause(0.2)
            seen.append((screen_text(app), [(do, facts) for do, facts, _ in sent]))
            assert screen.player.current == behind
            assert screen.player.mix_of(behind) == screen.player.mix_of(
                trial.candidate("A" if behind == trial.candidate("A") else "B")
            )
        assert seen[0] == seen[1]
        await pilot.press("escape")
        await pilot.pause(0.2)
        await pilot.press("2")
        await until(pilot, lambda: app.screen is screen)

    drive(app, script)
    (file,) = (app.session.store.out / LISTENING / "Two").glob("abx-*.json")
    assert not json.loads(file.read_text())["finished"]  # left early: logged, and given no score


def test_preference_lets_leaving_it_alone_win(drive, restored, quick):
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        blind = await begin_test(pilot, screen, "home", "space", "end")
        assert blind.test.kind is Kind.PREFERENCE and "names hidden" in screen_text(app)
        assert "Plain" not in screen_text(app)
        await pilot.press("enter")
        while blind.phase != "outcome":
            if blind.phase == "break":
                await pilot.press("enter")
                continue
            plain = blind.test.current.candidate("1") == "01_baseline"
            await pilot.press("2", "left" if plain else "right", "enter")
        await pilot.pause(0.3)
        assert "16 of 16 for Plain decode, p < 0.001: you do prefer it." in screen_text(app)

    drive(app, script)


def test_abx_of_two_files_begins_at_once_and_needs_sound(drive, tmp_path, piece):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", piece[:88200], 44100)
    sets = of_paths([tmp_path / "a.wav", tmp_path / "b.wav"])
    keys = tuple(c.key for c in sets[0].candidates)
    app = RestoreApp([], listening=Listening(sets, keys, 12))

    async def script(pilot):
        await until(pilot, lambda: isinstance(app.screen, BlindSetup))
        assert "12" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, BlindScreen))
        app.screen._player._output.device_name = ""
        await pilot.press("enter")
        assert app.screen.phase == "training"

    drive(app, script)


# --- with sound -------------------------------------------------------------------------------------------


def test_keys_are_heard(drive, sound_card, tmp_path):
    """Space plays, a number toggles at the same position: recorded from the card."""
    rate = 48000
    tracks = [
        0.1 * np.random.default_rng(n).standard_normal((8 * rate, 2)).clip(-4, 4).astype(np.float32) for n in range(2)
    ]
    tracks[1] *= np.float32(0.5)
    for name, audio in zip("ab", tracks, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", audio, rate, subtype="FLOAT")
    app = RestoreApp([], listening=Listening(of_paths([tmp_path / "a.wav", tmp_path / "b.wav"])))
    heard = []

    async def script(pilot):
        screen = await listening(pilot)
        player = screen.player
        await until(pilot, lambda: player.device_name)
        await pilot.press("1")
        with sound_card.recording() as recordings:
            await pilot.press("space")
            await until(pilot, lambda: player.position > 1.5 * rate)
            await pilot.press("2")
            await until(pilot, lambda: player.position > 3 * rate)
            heard.append(int(player._output.status[6]))
            await pilot.press("space")
            await until(pilot, lambda: not player.playing)
            assert "▶" not in screen_text(app).splitlines()[-2]
        heard.append(recordings[0])
        heard.append({key: 10 ** (gain / 20) for key, gain in player.gains().items()})

    drive(app, script)
    switched, recorded, gains = heard
    if has_gap(recorded):
        pytest.skip("the machine stalled while it recorded")
    low, high = (gains[str(tmp_path / f"{name}.wav")] for name in "ab")
    assert high / low == pytest.approx(2, rel=0.01)  # levels are matched
    probe = tracks[0][2000:2200] * low
    places = np.flatnonzero(np.abs(recorded[:, 0] - probe[0, 0]) < 1e-6)
    start = next(p for p in places if np.allclose(recorded[p : p + 200], probe, atol=1e-5)) - 2000
    assert np.allclose(recorded[start + 1000 : start + switched], tracks[0][1000:switched] * low, atol=1e-5)
    after = slice(switched + 480, switched + rate // 2)
    assert np.allclose(recorded[start + after.start : start + after.stop], tracks[1][after] * high, atol=1e-5)


def test_where_no_samples_can_be_kept_it_is_said_and_the_dashboard_goes_on(drive, songs, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("l")
        await until(pilot, lambda: any("cannot be listened to" in n.message for n in app._notifications))
        assert "The folder for samples is not there" in screen_text(app)
        await pilot.press("q")
        await until(pilot, lambda: app.screen is app.home)

    drive(app, script)
