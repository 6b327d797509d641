"""Libraries: what lies in the output folder and beside it, names of songs, trees, and texts on their way to a screen."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path, PurePath
from random import Random
from typing import Any

import msgspec
from rich.console import Console
from rich.theme import Theme

from engine import __version__
from engine.analysis import tried
from engine.analysis.song import SongAnalysis, analyze
from engine.analysis.tried import Line, SelfTest
from engine.commands import dry_run, prune
from engine.commands.export import export
from engine.commands.headless import _LineView, _TerminalView
from engine.compare import report
from engine.compare.batch import Comparison, Entry, Version
from engine.compare.figures import Figures
from engine.files import is_below
from engine.library import state_index
from engine.library.layout import Layout, key_of, numbered, same_place
from engine.library.state_file import write_checked
from engine.library.state_index import index_path
from engine.library.verdicts import change_verdict
from engine.machine import measurements
from engine.names import FORBIDDEN, is_device
from engine.player.listening_sets import of_song
from engine.run import events
from engine.run.session import Session
from engine.text import fit, printable, short_path, spreadsheet_cell
from tests.conftest import another_song, execute
from tests.hostile.kinds import home, kind, shown
from tests.hostile.mutations import altered, damaged, id3v2
from tests.hostile.songs import frame_bytes_of, good
from tests.hostile.texts import BITS, file_name, text
from tui.model import DashboardModel
from tui.screens.pages import DetailPage
from tui.settings import load_settings

_RECIPE = """
format = 1
title = "quick"
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.02_low]
chain = ["decode", { stage = "lowpass", cutoff_hz = 5000 }]
"""
_FIGURES = replace(Figures(*[None] * len(fields(Figures))), octaves=())
_STYLES = Theme(dict.fromkeys(("primary", "accent", "success", "warning", "error", "faint"), ""))


@cache
def _finished() -> Path:
    """A library of two songs with all that the program keeps of one; copied for each case."""
    folder = home() / "library"
    (folder / "music").mkdir(parents=True)
    mp3 = folder / "demo.mp3"
    mp3.write_bytes(good(".mp3"))
    for name in ("One.mp3", "[red]\x1b[2J\u202e Two.mp3"):
        another_song(mp3, folder / "music" / name)
    (folder / "quick.toml").write_text(_RECIPE)
    session = _session(folder)
    execute(session)
    for song in session.songs:
        listening = session.store.places.listening(song.key)
        listening.mkdir(parents=True, exist_ok=True)
        change_verdict(listening, favourite="02_low", note="n")
        write_checked(
            listening / "mix.json",
            {"format": 1, "mixes": {"06_remixed": {"vocals": {"db": 1.0, "pan": 0.0, "muted": False}}}},
        )
        write_checked(
            session.store.places.album(song.key),
            {"format": 1, "size": 1, "modified": 1, "album": "0" * 32, "blocks": [[-100, 5]]},
        )
        session.store.switch_off(song.key, ["07_mastered"])
        session.store.remember_outcome(song, session.tasks[0], "failed", "why")
    export(session.store, session.songs, folder / "exported")
    list(Comparison(session.store).entries([session.where(song) for song in session.songs], 1))
    return folder.rename(home() / "finished")  # moved, so that a copy is at its place and not beside it


def _session(folder: Path) -> Session:
    return Session([folder / "music"], folder / "out", str(folder / "quick.toml"), device="cpu")


def _copied(folder: Path) -> Path:
    copy = folder / "library"
    shutil.copytree(_finished(), copy, copy_function=os.link)
    return copy


def _looked_at(folder: Path, thorough: bool) -> str:
    """All that is shown of a library, as it is shown."""
    session = _session(folder)
    model = DashboardModel(session)
    said = []
    for view in model.songs:
        model.load(model.read(view.song))
        said += [view.name, *(task.text + task.ruined for task in view.tasks.values())]
        said.append(_rendered(DetailPage(model, view).body()))
        listened = of_song(session.store, session.where(view.song), session.tasks)
        said += [listened.title, *(candidate.title for candidate in listened.candidates)]
    said.append(_printed(lambda: dry_run.show(session, force=False, as_json=False)))
    _printed(lambda: dry_run.show(session, force=False, as_json=True))
    said += prune.preview(session.store, session.songs, prune.Rule()).in_words()
    if thorough:
        for each in export(session.store, session.songs, folder / "exported").problems:
            said.append(each)
        entries = list(Comparison(session.store).entries([session.where(song) for song in session.songs], 1))
        said += _report(entries, session)
        end = execute(_session(folder))[-1]
        if not isinstance(end, events.BatchDone) or end.error:
            return f"the run ended with {end}"
    return shown(*said)


def _rendered(body: Any, width: int = 80) -> str:
    """What a page shows, as lines."""
    out = io.StringIO()
    Console(file=out, width=width, theme=_STYLES, color_system=None, force_terminal=False).print(body)
    return out.getvalue()


def _printed(work: Any) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        work()
    return out.getvalue()


def _report(entries: list[Entry], session: Session) -> list[str]:
    """The texts of a report's table; its page and JSON are made too, and nothing in them ends what they stand in."""
    html = report.write(session.store, entries).read_text("utf-8")
    return [_outside_of_data(html), *(cell for row in report.rows(entries) for cell in row)]


@cache
def _empty_page() -> str:
    return report.html([], Path("a/b"))


def _outside_of_data(page: str) -> str:
    """An escape (which is found) where a text became part of a page; else nothing."""
    return "" if all(page.count(sign) == _empty_page().count(sign) for sign in "<>&") else "\x1b is in the page"


@kind(700)
def state_of_a_library(draw: Random, folder: Path) -> str:
    """Markers, records, analyses, favourites, mixes, exports: altered with a right checksum, or damaged."""
    copy = _copied(folder)
    places = [p for p in copy.rglob("*") if p.is_file() and (p.suffix == ".json" or p.name in (".sounds", ".lock"))]
    places += list(copy.rglob("*.log"))
    for path in draw.sample(sorted(places), draw.choice((1, 1, 2, 6))):
        whole = path.read_bytes()
        path.unlink()  # a link to the one that is copied
        try:
            data = json.loads(whole)
        except ValueError:
            data = None
        checked = isinstance(data, dict) and data.pop("check", None) is not None
        if data is None or draw.random() < 0.25:
            path.write_bytes(draw.choice((damaged(draw, whole), text(draw, 50).encode("utf-8", "surrogatepass"))))
            continue
        changed = altered(draw, data)
        if checked and isinstance(changed, dict):
            write_checked(path, changed)
        else:
            path.write_text(json.dumps(changed))
    return _looked_at(copy, thorough=draw.random() < 0.1)


@kind(300)
def index_of_a_library(draw: Random, folder: Path) -> str:
    """The SQLite index: damaged, of other tables, and rows with right checksums that hold anything."""
    copy = _copied(folder)
    state_index._SETTLED = 0  # the files of a test are young
    session = _session(copy)
    for song in session.songs:
        session.song_plan(song)
    session.store.index.keep()
    path = index_path(session.store.out)
    whole = path.read_bytes()
    try:
        which = draw.randrange(3)
        if which == 0:
            path.write_bytes(damaged(draw, whole, 4096))
        elif which == 1:
            path.write_bytes(
                draw.choice(
                    (b"", b"SQLite format 3\0" + draw.randbytes(5000), text(draw, 50).encode("utf-8", "replace"))
                )
            )
        else:
            database = sqlite3.connect(path)
            with database:
                for name, packed in database.execute("SELECT name, files FROM folders").fetchall():
                    files = msgspec.msgpack.decode(packed[state_index._CHECK_BYTES :])
                    for entry in files.values():
                        inner = msgspec.msgpack.decode(entry[1])
                        entry[1] = draw.choice((damaged(draw, entry[1]), _packed(altered(draw, inner))))
                    made = _packed(
                        files if draw.random() < 0.8 else altered(draw, {k: list(v) for k, v in files.items()})
                    )
                    row = draw.choice((state_index._check(made) + made, made, "x", draw.randrange(99), None))
                    with contextlib.suppress(sqlite3.IntegrityError):
                        database.execute("UPDATE folders SET files = ? WHERE name = ?", (row, name))
            database.close()
        return _looked_at(copy, thorough=False)
    finally:
        path.unlink(missing_ok=True)


def _packed(data: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(data)
    except (ValueError, OverflowError, TypeError):
        return b"\xc1"


@kind(300)
def settings_json(draw: Random, folder: Path) -> str:
    """Settings, measured figures and the listener's own self-test."""
    config, cache_ = home() / "mp3restore" / "settings.json", measurements.path()
    own = SelfTest(
        "offline", __version__, tuple(Line(coding, "11_offline", 9, 1.0, 0.5, 0, 0.1) for coding in ("128", "V5"))
    )
    for path, whole in (
        (config, asdict(load_settings())),
        (cache_, {"a": 1.0, "b": 2}),
        (tried.place(), {"format": 1, **asdict(own)}),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = altered(draw, {**whole, "recent": [text(draw)]})
        path.write_bytes(
            damaged(draw, json.dumps(changed).encode()) if draw.random() < 0.4 else json.dumps(changed).encode()
        )
    try:
        load_settings()
        found, own = measurements.recall("a"), tried.last()
        if own is not None:
            own.like(_an_analysis())
        return "" if found is None or 0 <= found < 1e13 else f"{found} is believed"
    finally:
        for path in (config, cache_, tried.place()):
            path.unlink()


@cache
def _an_analysis() -> SongAnalysis:
    return analyze(_finished() / "music" / "One.mp3")


def _a_part(name: str) -> str:
    """As a file system gives it: of any bytes but two."""
    return name.replace("\0", "").replace("/", "_").replace("\ud800", "\udc80") or "x"


@kind(1500)
def names(draw: Random, folder: Path) -> str:
    """Names of songs and folders: `..`, devices, dots and spaces at the end, too long, undecodable, escapes."""
    some = (*BITS, text(draw), "..", "CON", "nul.flac", "x.json", "song.json", "_done", ".lock")
    parts = [_a_part(draw.choice(some)) for _ in range(draw.choice((1, 2, 4)))]
    relative = PurePath(*parts[:-1], parts[-1] + ".mp3")
    layout = Layout(folder / "out")
    for windows in (False, True):
        key = numbered(key_of(relative, windows=windows), draw.choice((2, 99_999)))
        for where in (layout.result(key, "01_baseline", ".x" * 10), layout.record(key), layout.marker(key, "11_offline"), layout.log(key),
                      layout.listening(key), layout.stem(key, "04_stems", "vocals", ".x")):  # fmt: skip
            if not is_below(where, layout.out):
                return f"{relative!r} leads to {where!r}"
            if any(len(os.fsencode(part)) > 255 for part in where.relative_to(layout.out).parts):
                return f"{relative!r} is too long at {where!r}"
        if windows:
            for part in key.parts:
                if is_device(part) or part != part.rstrip(". ") or set(part) & FORBIDDEN or min(part) < " ":
                    return f"{relative!r} has a name that Windows takes otherwise: {part!r}"
        same_place(key)
    shown_name = str(relative)
    width = draw.choice((1, 2, 14, 80))
    return shown(
        printable(shown_name),
        fit(printable(shown_name), width, keep_end=True),
        short_path(folder / relative),
        spreadsheet_cell(shown_name),
    )


@kind(150)
def trees(draw: Random, folder: Path) -> str:
    """Folders with hostile names, links in circles and out of the tree, pipes, sockets, no permission, no bottom."""
    music = folder / "music"
    music.mkdir()
    here = [music]
    for _ in range(draw.choice((3, 12, 40))):
        path = draw.choice(here) / file_name(draw, draw.choice((".mp3", ".mp3", ".flac", "", ".MP3", ".toml")))
        with contextlib.suppress(OSError):
            match draw.randrange(9):
                case 0 | 1 | 2:
                    path.write_bytes(good(".mp3")[:3000])
                case 3 | 4:
                    path.mkdir()
                    here.append(path)
                case 5:
                    path.symlink_to(draw.choice((path, music, "..", "/", "/proc/self/root", draw.choice(here))))
                case 6:
                    os.mkfifo(path)
                case 7:
                    path.hardlink_to(draw.choice([music, *sorted(music.iterdir())]))
                case _:
                    path.mkdir(0)
    deep = music
    for _ in range(draw.choice((0, 0, 300))):
        deep = deep / "deeper"
        with contextlib.suppress(OSError):
            deep.mkdir()
    (music / "one.mp3").write_bytes(good(".mp3"))
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        session = Session([music], folder / "out", str(_finished() / "quick.toml"), device="cpu")
        if draw.random() < 0.1:
            execute(session)
        model = DashboardModel(session)
        for view in model.songs[:5]:
            model.load(model.read(view.song))
            out.write(_rendered(DetailPage(model, view).body()))
        dry_run.show(session, force=False, as_json=False)
    outside = [p for p in session.songs if not str(p.path).startswith(str(music))]
    return f"{outside} are songs" if outside else shown(out.getvalue(), told.getvalue())


@kind(700)
def texts_on_a_screen(draw: Random, folder: Path) -> str:
    """Tags, errors and names in the details, the report, the table and the lines of a run."""

    (folder / "music").mkdir()
    path = folder / "music" / file_name(draw, ".mp3")
    path.write_bytes(id3v2(draw) + frame_bytes_of(good(".mp3"))[:3000])
    session = Session([folder / "music"], folder / "out", str(_finished() / "quick.toml"), device="cpu")
    model = DashboardModel(session)
    view = model.songs[0]
    song, some = view.song.id, text(draw)
    happened = [
        events.BatchStarted(1, 1, str(session.store.out)), events.SongStarted(song, 0, 1, 1.0, False), events.SongWarning(song, some),
        events.SongLeft(song, some), events.SongDone(song, (), (some,), (), 1.0, "failed"),
        events.BatchDone(0, 1, 0, False, 1.0, error=some),
    ]  # fmt: skip
    said = []
    for shows in (_LineView, _TerminalView):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            seen = shows(session)
            for event in happened:
                seen.show(event)
            seen.close()
        said.append(out.getvalue())
    for event in happened:
        model.receive(event)
    model.drain()
    said += [line.text for line in model.log]
    said.append(_rendered(DetailPage(model, view).body()))
    entry = Entry(
        printable(song),
        favourite=printable(some),
        problem=printable(some),
        versions=(Version(some, _a_part(some), _FIGURES, some, some, some),),
    )
    said.append(_outside_of_data(report.html([entry], folder / text(draw).replace("/", "") / "out")))
    said += [cell for row in report.rows([entry]) for cell in row]
    return shown(*said)
