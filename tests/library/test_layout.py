"""No name of a song leads out of its place, and no two songs share a file, however they are called."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import OutsideError
from engine.library.layout import OWN_FOLDERS, Layout, key_of, numbered, same_place
from engine.library.scan import Found
from engine.library.store import Store
from engine.names import is_device

OUT = Path(os.path.abspath("/out"))
TASKS = ("01_baseline", "11_offline", "step-0123456789ab")
OURS = [
    "song.json", "SONG.JSON", "verdict.json", "11_offline.done.json", "result.flac", "Case.flac", "Case.offline.flac",
    "Case.log", "000000.npy", "000000.chunk", "together.json", ".lock", ".mp3restore-1-00112233.tmp", *OWN_FOLDERS,
    *TASKS, "0123456789abcdef",
]  # fmt: skip
HOSTILE = [
    ".", "..", "...", ".. ", " ..", ". .", " ", "CON", "nul", "Com1", "LPT¹", "con.txt", "aux .x", "C:", "C:\\x", "\\\\a\\b",
    "a\\..\\..\\b", "a.", "a", "A", "a ", "Case", "case", "é", "é", "ß", "SS", "x" * 250, "é" * 120, "\udcff\udc80",
    "\x1b[2J", "a\nb", "~", "-rf", "*", "a?", 'q"', "\u202e3pm", "ſong.jſon",
]  # fmt: skip

_names = st.one_of(
    st.sampled_from(OURS + HOSTILE),
    st.binary(min_size=1, max_size=250).map(lambda b: os.fsdecode(b.replace(b"/", b"_").replace(b"\0", b"_"))),
    st.text("ab.~ _", min_size=1, max_size=6),
)
_folders = st.lists(_names.filter(lambda n: n not in (".", "..")), max_size=3)
_relative = st.builds(
    lambda folders, stem, suffix: PurePosixPath(*folders, (stem[:240] if len(os.fsencode(stem)) > 240 else stem) + suffix),
    _folders, _names, st.sampled_from([".mp3", ".flac", ".MP3"]),
)  # fmt: skip


def files_of(key, suffix=".offline"):
    """Every file that a song may have in the output tree."""
    places = Layout(OUT)
    yield places.record(key)
    yield places.log(key)
    yield places.listening(key) / "verdict.json"
    yield places.listening(key) / "abx-20260101-000000-0a1b.json"
    for task in TASKS:
        yield places.marker(key, task)
        yield places.on_the_way(key, task, "mix")
        yield places.on_the_way(key, task, "vocals")
        for name in ("000000.npy", "000000.chunk", "together.json"):
            yield places.chunks(key, task) / "0123456789abcdef" / name
        yield places.result(key, task, suffix)


def folded(path: Path) -> str:
    return same_place(path.relative_to(OUT))


@settings(max_examples=1000, deadline=None)
@given(_relative, st.booleans())
@example(PurePosixPath("...mp3"), False)
@example(PurePosixPath("..mp3"), False)
@example(PurePosixPath(".mp3"), True)
@example(PurePosixPath("a/\udcff" + "x" * 240 + ".mp3"), False)
def test_a_key_stays_in_its_place(relative, windows):
    key = key_of(relative, windows=windows)
    assert len(key.parts) == len(relative.parts)
    for path in files_of(key):
        real = Path(os.path.normpath(path))
        assert real == path and path.is_relative_to(OUT) and len(path.parts) > len(OUT.parts) + 1
        assert len(os.fsencode(path.name)) <= 255
    for part in key.parts:
        assert part.strip(". ") and "\0" not in part and len(os.fsencode(part)) <= 255
        if windows:
            assert PureWindowsPath(part).parts == (part,) and not is_device(part)
            assert part == part.rstrip(". ") and not re.search(r'[<>:"/\\|?*\0-\x1f]', part)


@settings(max_examples=1000, deadline=None)
@given(st.lists(_relative, min_size=2, max_size=4, unique=True))
@example([PurePosixPath("Case.mp3"), PurePosixPath("Case/song.json.mp3")])
@example([PurePosixPath("Case.mp3"), PurePosixPath("Case.log/x.mp3")])
@example([PurePosixPath("Case.mp3"), PurePosixPath("Case.offline.flac/x.mp3")])
@example([PurePosixPath("Case.mp3"), PurePosixPath("Case/11_offline.mp3")])
@example([PurePosixPath("Case.mp3"), PurePosixPath("Case/11_offline/result.flac.mp3")])
@example([PurePosixPath("Case.mp3"), PurePosixPath("case.MP3")])
@example([PurePosixPath("a./x.mp3"), PurePosixPath("a/x.mp3")])
@example([PurePosixPath("song.json/x.mp3"), PurePosixPath("song.json~00000000/x.mp3")])
def test_no_two_songs_share_a_file_and_no_file_is_anothers_folder(songs):
    store = Store(OUT)
    keys = [store.claim(Found(Path("/music") / r, r)).key for r in songs]
    taken = [{folded(p) for p in files_of(key)} for key in keys]
    for one, other in itertools.permutations(taken, 2):
        assert not one & other
        above = {name.rpartition("/")[0] for name in one}
        while above - {""}:
            assert not above & other
            above = {name.rpartition("/")[0] for name in above}


@pytest.mark.parametrize(
    ("relative", "key"),
    [
        ("Artist/Album/01 Song.mp3", "Artist/Album/01 Song"),
        ("Ünïcödé 音楽 🎵/Näme.with.dots.MP3", "Ünïcödé 音楽 🎵/Näme.with.dots"),
        ("Song.flac.mp3", "Song.flac"),
        ("a?b: c*.mp3", "a?b: c*"),
        ("Aux.mp3", "Aux"),
        ("_done/11_offline.mp3", "_done/11_offline"),
        ("[2020] Vol. 1/Trailing .mp3", "[2020] Vol. 1/Trailing "),
        ("\udcff\udc80.mp3", "\udcff\udc80"),
        ("x" * 230 + ".mp3", "x" * 211 + "~17f5e6ed"),
    ],
)
def test_ordinary_names_keep_their_place(relative, key):
    """Finished libraries stay finished: these are the places of version 0.1."""
    assert key_of(PurePosixPath(relative), windows=False).as_posix() == key


def test_on_windows_what_it_forbids_is_replaced():
    assert key_of(PureWindowsPath("Vol 1\\Track .mp3"), windows=True).parts == ("Vol 1", "Track")
    strange = key_of(PureWindowsPath("C:\\a\\NUL.x.mp3"), windows=True)
    assert re.fullmatch("_NUL.x~[0-9a-f]{8}", strange.name) and not strange.is_absolute()


@settings(max_examples=300, deadline=None)
@given(_relative, st.integers(2, 99999))
def test_a_number_still_fits(relative, number):
    key = numbered(key_of(relative), number)
    assert key.name.endswith(f" ({number})")
    assert all(len(os.fsencode(p.name)) <= 255 for p in files_of(key, "." + "x" * 23))


@pytest.mark.parametrize("key", ["..", "../x", "a/../../x", "/etc/x", "a/\0"])
def test_a_key_from_elsewhere_that_leads_out_is_refused(key):
    with pytest.raises(OutsideError):
        list(files_of(PurePosixPath(key)))
