"""Makes the pictures in this folder: ``python -m docs.screenshots`` (SVG, from the real dashboard on real work).

It restores a small library of the program's own demo song in a temporary folder, with settings of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = (
    "Nina Vale/Harbour Lights/01 Low Tide", "Nina Vale/Harbour Lights/02 Lanterns",
    "Nina Vale/Harbour Lights/03 Undertow", "Kōji Arai/夜の散歩/05 雨のあと",
    "The Amber Room/Live 1997/11 [encore] Slow Burn", "Old Tapes/side B (64k)", "Old Tapes/broken download",
    "Various/Ünïcode & more/été – 100%",
)  # fmt: skip

#: Which of them is shown in which theme.
SCREENS = {
    "ember": ("welcome", "library", "recipe", "models", "open"),
    "paper": ("library", "details", "doctor", "help"),
}


def make_library(folder: Path) -> Path:
    """Songs of all kinds, and one that is broken."""
    import numpy as np
    import soundfile
    import soxr

    from engine.commands.demo import RATE, compose

    piece = compose(24.0)
    for number, name in enumerate(NAMES):
        path = folder / f"{name}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        if "broken" in name:
            path.write_text("<html>404 not found</html>")
        elif "64k" in name:
            low = soxr.resample(piece, RATE, 24000)
            soundfile.write(path, low, 24000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.6)
        else:
            audio = np.tile(piece, (1 + number % 3, 1))
            soundfile.write(
                path, audio, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.54 + number * 0.03
            )
    return folder


async def shoot(library: Path, theme: str, size: tuple[int, int], names: dict[str, str]) -> None:
    """Walk through the screens in ``theme`` and save each that is named."""
    from tui.app import RestoreApp
    from tui.screens.pages import Page

    app = RestoreApp([], recipe="offline", jobs=2)  # auto would leave the better ones alone
    app.theme = theme

    def save(screen: str) -> None:
        if screen in names:
            (HERE / names[screen]).write_text(app.export_screenshot(title="mp3restore"), "utf-8")

    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.3)
        save("welcome")
        app.open_path(str(library))
        await pilot.pause(1.0)
        if "library" in names:
            await pilot.press("down", "down", "s")
            for _ in range(6000):
                await pilot.pause(0.1)
                done = app.library.counts()["done"] if app.library is not None else 0
                if done >= 3:
                    break
            await pilot.pause(3.0)
            save("library")
            await pilot.press("t")
            while app.session is not None and app.session.running:
                await pilot.pause(0.2)
            app.clear_notifications()
        for key, screen in (
            ("enter", "details"),
            ("e", "recipe"),
            ("M", "models"),
            ("D", "doctor"),
            ("question_mark", "help"),
            ("o", "open"),
        ):
            if screen in names:
                await pilot.press(key)
                await pilot.pause(1.0)
                while isinstance(app.screen, Page) and app.screen.is_waiting:
                    await pilot.pause(0.2)
                if screen == "recipe":
                    await pilot.press("end")
                    await pilot.pause(0.5)
                save(screen)
                await pilot.press("escape")
                await pilot.pause(0.3)
        await app.action_quit()


async def _listening(app: Any, pilot: Any) -> Any:
    """The player, once the listen screen has loaded everything."""
    from tui.screens.listen import ListenScreen

    while not isinstance(app.screen, ListenScreen) or app.screen.player is None or app.screen.player.loading:
        await pilot.pause(0.2)
    return app.screen.player


async def shoot_listening(library: Path, theme: str) -> None:
    """The listen screen and a blind test."""
    from tui.app import RestoreApp
    from tui.screens.blind import BlindScreen
    from tui.screens.blind_setup import BlindSetup

    app = RestoreApp([library], recipe="offline")
    app.theme = theme

    async with app.run_test(size=(120, 36)) as pilot:

        def save(screen: str) -> None:
            (HERE / f"{screen}-{theme}.svg").write_text(app.export_screenshot(title="mp3restore"), "utf-8")

        while app.library is None or not app.library.counts()["done"]:
            await pilot.pause(0.2)
        await pilot.press("home", "down", "down", "l")
        player = await _listening(app, pilot)
        player._output.device_name, player._output.problem = "Speakers", ""
        await pilot.press("right", "i", "right", "right", "o", "left", "3", "f")
        app.clear_notifications()
        await pilot.pause(2.0)
        if theme == "ember":
            save("listen")
        await pilot.press("1", "3", "s")
        await pilot.pause(2.0)
        app.clear_notifications()
        await pilot.pause(0.2)
        if theme == "paper":
            save("listen")
        await pilot.press("s")
        await pilot.pause(2.0)
        app.clear_notifications()
        await pilot.pause(0.2)
        if theme == "ember":
            save("difference")
        for key, screen in (("b", BlindSetup), ("enter", BlindScreen)):
            await pilot.press(key)
            while not isinstance(app.screen, screen):
                await pilot.pause(0.2)
        player._output.device_name, player._output.problem = "Speakers", ""
        await pilot.press("enter", "x", "right")
        await pilot.pause(0.5)
        if theme == "ember":
            save("blind")
        blind: Any = app.screen
        while blind.phase != "outcome":
            trial = blind.test.current
            heard = trial.candidate("X") == trial.candidate("A") or blind.test.place in (3, 9)
            await pilot.press("left" if heard else "right", "enter")
        await pilot.pause(0.3)
        if theme == "paper":
            save("blind-result")
        app.exit()


async def shoot_mixer(folder: Path) -> None:
    """The mixer, on stems of our own."""
    import numpy as np
    import soundfile

    from engine.commands.demo import RATE, compose
    from engine.player.listening_sets import of_paths
    from tui.app import Listening, RestoreApp
    from tui.screens.mixer import MixerScreen

    piece = compose(24.0)
    folder.mkdir()
    names = ("vocals", "drums", "bass", "other", "residual")
    for number, name in enumerate(names):
        swell = 0.6 + 0.4 * np.sin(np.arange(len(piece)) / RATE * (number + 1))[:, None]
        soundfile.write(folder / f"{name}.wav", piece * swell / (number + 2), RATE)
    app = RestoreApp([], listening=Listening(of_paths([folder / f"{name}.wav" for name in names])))
    app.theme = "ember"
    async with app.run_test(size=(120, 36)) as pilot:
        player = await _listening(app, pilot)
        await pilot.press("t")
        while not isinstance(app.screen, MixerScreen):
            await pilot.pause(0.2)
        player._output.device_name, player._output.problem = "Speakers", ""
        await pilot.press("up", "up", "up", "2", "m", "3", "down", "down", "less_than_sign", "less_than_sign", "4")
        await pilot.press("greater_than_sign", "greater_than_sign", "1", "colon")
        player._output.status = np.array(
            [9.0 * RATE, 1, 0, 0, time.monotonic(), 0, 0, player._seeks]
        )  # as if it played
        app.clear_notifications()
        await pilot.pause(1.0)
        (HERE / "mixer-ember.svg").write_text(app.export_screenshot(title="mp3restore"), "utf-8")
        app.exit()


def shoot_report(library: Path) -> None:
    """The report of a few songs, in a Chromium without a window (``apt install chromium``)."""
    import io

    from PIL import Image

    from engine.compare import report
    from engine.compare.batch import Comparison
    from engine.run.session import Session
    from tests.compare.chromium import Chromium

    session = Session([library], recipe="offline", device="cpu")
    session.start().join()
    plain = [song for song in session.songs if "Kōji" not in song.id]  # a machine without fonts would show boxes
    page = report.write(session.store, list(Comparison(session.store).entries(plain)))
    chromium = Chromium(library.parent / "chromium")
    try:
        chromium.open(page, scheme="dark")
        for key in ("PageDown", "PageDown", "3", "ArrowRight", "i", "ArrowRight", "o", "ArrowLeft"):
            chromium.press(key)
        time.sleep(1.0)
        picture = Image.open(io.BytesIO(chromium.picture())).convert("RGB").quantize(128)
        picture.save(HERE / "report-dark.png", optimize=True)
    finally:
        chromium.close()
        shutil.rmtree(library.parent / "chromium", ignore_errors=True)


def main() -> None:
    """All pictures; ``python -m docs.screenshots report``: those of the report alone."""
    home = Path(tempfile.gettempdir()) / "you"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    try:
        os.environ.update(HOME=str(home), XDG_CONFIG_HOME=str(home / "config"), XDG_STATE_HOME=str(home / "state"))
        (home / "config").mkdir()
        library = make_library(home / "Music")
        shoot_report(library)
        shutil.rmtree(home / "AI_Restored_Variants", ignore_errors=True)
        if sys.argv[1:] == ["report"]:
            return
        for theme, screens in SCREENS.items():
            asyncio.run(shoot(library, theme, (120, 36), {s: f"{s}-{theme}.svg" for s in screens}))
            asyncio.run(shoot_listening(library, theme))
            shutil.rmtree(home / "AI_Restored_Variants", ignore_errors=True)
        asyncio.run(shoot(library, "ember", (80, 24), {"library": "library-80x24.svg"}))
        asyncio.run(shoot_mixer(home / "Stems"))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
