"""Toggling while the engine works on all cores: ``python -m benchmarks.listening [MINUTES] [SWITCHES]``.

A software sound card (PulseAudio) is recorded. Told are underruns, whether the recording is what was asked for
sample by sample, and how long it took from a key press to the first sample of the switch, beyond what the device
itself takes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from engine.audio.readers import Audio
from engine.commands.demo import RATE as DEMO_RATE
from engine.commands.demo import compose
from engine.player.listening_sets import of_files
from engine.player.player import Player
from engine.player.tracks import Candidate, Part
from engine.run.session import Session
from tests.player.soundcard import SoundCard, until, why_no_sound_card
from tui.app import Listening, RestoreApp
from tui.screens.listen import ListenScreen

RATE = 48000
SYNC = 2000
FADE = 480


def busy_engine(folder: Path, stop: threading.Event) -> Session:
    """The restorer and the master at work in this process, on every core, again and again."""
    music = folder / "Music"
    music.mkdir()
    piece = np.tile(compose(30.0), (4, 1))
    for number in range(os.cpu_count() or 2):
        soundfile.write(music / f"{number}.mp3", piece, DEMO_RATE, format="MP3")
    session = Session([music], folder / "out", variants=("11", "07"))

    def work() -> None:
        while not stop.is_set():
            session.start(jobs=os.cpu_count() or 2, force=True).join()

    threading.Thread(target=work, daemon=True).start()
    return session


def main() -> None:
    """Measure and print."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    switches = int(sys.argv[2]) if len(sys.argv) > 2 else round(20 * minutes)
    if why := why_no_sound_card():
        print(f"not measured: {why}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = SoundCard(folder, RATE)
        os.environ.update(card.environment)
        try:
            measure(folder, card, minutes, switches)
            waits = asyncio.run(measure_keys(folder, switches))
            print("key in the dashboard to switch, engine busy in the same process, device's own latency left out: ")
            print(f"  median {np.median(waits) * 1000:.1f} ms, 95 % {np.quantile(waits, 0.95) * 1000:.1f} ms, ", end="")
            print(f"most {max(waits) * 1000:.1f} ms")
        finally:
            card.unplug()


def measure(folder: Path, card: SoundCard, minutes: float, switches: int) -> None:
    """Play for ``minutes`` with ``switches`` toggles at random moments."""
    tracks = make_tracks(folder, round((minutes * 60 + 10) * RATE))
    player = Player()
    player.open([Candidate(str(n), str(n), (Part(str(n), folder / f"{n}.wav"),)) for n in range(3)])
    player.set_match(False)
    player.select("0")
    until(lambda: not player.loading and bool(player.device_name), 300)
    stop = threading.Event()
    session = busy_engine(folder, stop)
    time.sleep(3)
    with card.recording() as recordings:
        player.play()
        made, waits = toggle(player, minutes, switches)
        last = player.position
        player.pause()
        time.sleep(0.5)
    stop.set()
    session.stop()
    heard = recordings[0]
    heard = heard[int(np.argmax(np.abs(heard[:, 0]) > 0.9)) - SYNC :][:last]
    expected = what_was_asked_for(tracks, made)
    wrong = np.abs(heard[FADE:] - expected[FADE : len(heard)]).max(axis=1) > 1e-6
    print(f"{minutes:g} minutes, {len(made) - 1} switches, engine busy on {os.cpu_count()} cores")
    print(f"underruns {player.underruns}; frames that are not what was asked for: {wrong.sum()} of {len(heard)}")
    if wrong.any():
        print(f"the first at {(np.argmax(wrong) + FADE) / RATE:.2f} s")
    print(f"key to switch, device's own latency left out: median {np.median(waits) * 1000:.1f} ms, ", end="")
    print(f"99 % {np.quantile(waits, 0.99) * 1000:.1f} ms, most {max(waits) * 1000:.1f} ms")
    print(f"device: {player.device_latency * 1000:.0f} ms asked, {player._output.status[5] * 1000:.0f} ms at the end")
    player.close()


async def measure_keys(folder: Path, keys: int) -> list[float]:
    """Seconds from a key on the listen screen to its switch, as the output process rendered it."""
    os.environ.update(HOME=str(folder), XDG_CONFIG_HOME=str(folder), XDG_DATA_HOME=str(folder))
    files = [folder / f"short{n}.wav" for n in range(2)]
    for number, path in enumerate(files):
        noise = np.random.default_rng(number).standard_normal((60 * RATE, 2), np.float32) * np.float32(0.1)
        soundfile.write(path, noise, RATE, subtype="FLOAT")
    app = RestoreApp([], listening=Listening([of_files(files)]))
    waits: list[float] = []
    async with app.run_test(size=(160, 45)) as pilot:
        while not (isinstance(app.screen, ListenScreen) and app.screen.player and not app.screen.player.loading):
            await pilot.pause(0.1)
        player = app.screen.player
        await asyncio.sleep(2)
        player.set_region((0, 50 * RATE), looping=True)
        player.play()
        stop = threading.Event()
        (folder / "keys").mkdir()
        session = busy_engine(folder / "keys", stop)
        await asyncio.sleep(3)
        dice = np.random.default_rng(2)
        for _ in range(keys):
            seen = threading.Event()
            before = player._output.status[6]
            pressed = time.monotonic()
            threading.Thread(target=_watch, args=(player, before, seen, waits, pressed), daemon=True).start()
            app.simulate_key("1" if player.current == str(files[1]) else "2")
            while not seen.is_set():
                await asyncio.sleep(0.005)
            await asyncio.sleep(dice.uniform(0.05, 0.4))
        stop.set()
        session.stop()
    return waits


def _watch(player: Player, before: float, seen: threading.Event, waits: list[float], pressed: float) -> None:
    while player._output.status[6] == before:
        time.sleep(0.001)
    waits.append(time.monotonic() - pressed)
    seen.set()


def make_tracks(folder: Path, frames: int) -> list[Audio]:
    """Three tracks of noise, each with one sample that is known by its height."""
    tracks = []
    for number in range(3):
        audio = np.random.default_rng(number).standard_normal((frames, 2), np.float32) * np.float32(0.1)
        audio = audio.clip(-0.8, 0.8)
        audio[SYNC] = 0.95
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="FLOAT", format="RF64")
        tracks.append(audio)
    return tracks


def toggle(player: Player, minutes: float, switches: int) -> tuple[list[tuple[int, int]], list[float]]:
    """Press keys at random moments; gives (frame, track) of each switch, and how long each took in seconds."""
    dice = np.random.default_rng(1)
    began = time.monotonic()
    waits: list[float] = []
    made = [(0, 0)]
    for moment in np.sort(dice.uniform(1, minutes * 60, switches)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        key = (made[-1][1] + 1 + int(dice.integers(2))) % 3
        before = player._output.status[6]
        pressed = time.monotonic()
        player.select(str(key))
        until(lambda before=before: player._output.status[6] != before)  # type: ignore[misc]
        waits.append(time.monotonic() - pressed)
        made.append((int(player._output.status[6]), key))
        time.sleep(0.02)
    time.sleep(0.5)
    return made, waits


def what_was_asked_for(tracks: list[Audio], made: list[tuple[int, int]]) -> Audio:
    """The tracks, switched by raised cosines of 10 ms."""
    expected = tracks[0].copy()
    weight = (np.sin(np.pi / 2 * np.arange(1, FADE + 1) / FADE) ** 2).astype(np.float32)[:, None]
    for (_, old), (at, new) in itertools.pairwise(made):
        expected[at + FADE :] = tracks[new][at + FADE :]
        part = slice(at, at + FADE)
        expected[part] = tracks[old][part] * (1 - weight) + tracks[new][part] * weight
    return expected


if __name__ == "__main__":
    main()
