"""The worst songs under the worst names, through the program's real entry points."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.conftest import mp3restore
from tests.hostile.songs import SONGS, good
from tests.hostile.texts import file_name, unsafe

_RECIPE = """
format = 1
title = "quick"
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.02_low]
chain = ["decode", { stage = "lowpass", cutoff_hz = 5000 }]
"""
_KINDS = [name for name in SONGS if name != "bombs"]


def library(folder: Path, count: int) -> Path:
    """``count`` songs in ``folder/music``, of every kind, named and arranged as badly as can be."""
    music = folder / "music"
    music.mkdir(parents=True)
    places = [music]
    for number, name in zip(range(count), itertools.cycle(_KINDS), strict=False):
        draw = Random(f"entries/{number}")
        if draw.random() < 0.3:
            places.append(draw.choice(places) / file_name(draw, ""))
            try:
                places[-1].mkdir()
            except OSError:
                places.pop()
        with tempfile.TemporaryDirectory() as made:
            path = SONGS[name](draw, Path(made))
            place = draw.choice(places) / file_name(draw, path.suffix)
            try:
                place.write_bytes(path.read_bytes())
            except OSError:  # the whole path is too long, or it is a folder already
                (music / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    (music / "good.mp3").write_bytes(good(".mp3"))
    (music / "circle").symlink_to(music)
    (folder / "quick.toml").write_text(_RECIPE)
    return music


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is asked of the library in ``folder``, and the arguments for it; later ones build on earlier ones."""
    music, out = str(folder / "music"), ["--out", str(folder / "out")]
    recipe = ["--recipe", str(folder / "quick.toml")]
    yield "what would be done", ["--dry-run", *recipe, *out, music]
    yield "restored", ["--no-tui", *recipe, *out, music]
    yield "again, as JSON", ["--no-tui", "--json", *recipe, *out, music]
    yield "analysed", ["analyze", music]
    yield "analysed, as JSON", ["analyze", "--json", music]
    yield "report", ["report", *out, music]
    yield "chosen", ["choose", *out, music]
    yield "exported", ["export", *out, "--to", str(folder / "exported"), music]
    yield "exported as MP3", ["export", *out, "--format", "mp3", "--to", str(folder / "as-mp3"), music]
    yield "what would be pruned", ["prune", "--dry-run", "--keep", "01", *out, music]
    yield "pruned", ["prune", "--delete", "--yes", "--keep", "01", *out, music]


def refused() -> Iterator[list[str]]:
    """Arguments that are no songs."""
    for bad in (
        "\x1b[2J\x07",
        "\u202e",
        "[red]",
        "a\rb",
        "--\x1b]0;x\x07",
        "--recipe=\x1b[31m\x08",
        "NUL",
        "",
        "\udcff",
        "x" * 5000,
    ):
        yield ["--no-tui", bad]
    yield ["--no-tui", "--recipe", "\x9b\u2066[/]", "."]
    yield ["prune", "--keep", "\x9b\u2066[/]", "."]
    yield ["export", "--to", "x", "--format", "\x9b\u2066", "."]


def wrong_with(folder: Path, arguments: list[str]) -> str:
    """What is wrong with what the program says and does; empty: nothing."""
    environment = {
        **os.environ,
        **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(folder)),
    }
    done = mp3restore(*arguments, env=environment, errors="surrogateescape")
    said = done.stdout + done.stderr
    if done.returncode not in (0, 1, 2) or "Traceback" in said:
        return f"code {done.returncode}: {said[-1500:]}"
    if bad := unsafe(said):
        return f"{bad} on a screen: {next(line for line in said.splitlines() if unsafe(line))[:300]!r}"
    return ""


def favour(folder: Path) -> None:
    """Make the second variant of every song its favourite."""
    from engine.library.verdicts import change_verdict
    from engine.run.session import Session

    session = Session([folder / "music"], folder / "out", str(folder / "quick.toml"), device="cpu")
    for song in session.songs:
        place = session.store.places.listening(session.where(song).key)
        place.mkdir(parents=True, exist_ok=True)
        change_verdict(place, favourite="02_low")


def all_entries(folder: Path, count: int, refusals: int | None = None) -> Iterator[tuple[str, str]]:
    """What was asked of ``count`` songs, and what is wrong with what came of it, one after the other.

    ``refusals``: so many times arguments that are no songs (None: all that there are).
    """
    library(folder, count)
    for name, arguments in commands(folder):
        if name == "exported":
            favour(folder)
        yield name, wrong_with(folder, arguments)
    for arguments in itertools.islice(refused(), refusals):
        yield f"refused: {arguments!r:.60}", wrong_with(folder, arguments)
