"""A library whose names are as bad as names can be, with a few variants that take no time."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from engine.run.session import Session
from tests.conftest import another_song, execute

RECIPE = """
format = 1
title = "quick"
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.02_low]
chain = ["decode", { stage = "lowpass", cutoff_hz = 5000 }]
[variants.07_mastered]
chain = ["decode", { stage = "master", loudness_lufs = -30.0 }]
"""
#: As files (a name may hold any bytes) and as they are shown.
NAMES = {
    "x</script><img src=q onerror=document.title=1>.mp3": "x</script><img src=q onerror=document.title=1>.mp3",
    "\"quotes' &amp; %41%2F#frag?query=1 [b]$(x)`.mp3": "\"quotes' &amp; %41%2F#frag?query=1 [b]$(x)`.mp3",
    '=HYPERLINK("http:evil")\u202e3pm.exe.mp3': '=HYPERLINK("http:evil")\\u202e3pm.exe.mp3',
    "@SUM(1+1) \\u0041 \\ 日本 é.mp3": "@SUM(1+1) \\u0041 \\ 日本 é.mp3",
    os.fsdecode(b"caf\xe9 <!--.mp3"): "caf\\udce9 <!--.mp3",
}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory, demo_mp3):
    """``session`` of five songs and ``store`` with their results, all made."""
    if os.name == "nt":
        pytest.skip("Windows knows no such names")
    folder = tmp_path_factory.mktemp("hostile")
    for name in NAMES:
        path = folder / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        another_song(demo_mp3, path)
    (folder / "quick.toml").write_text(RECIPE)
    session = Session([folder / "music"], folder / "out", str(folder / "quick.toml"), device="cpu")
    execute(session)
    return SimpleNamespace(session=session, store=session.store, folder=folder, songs=session.songs)
