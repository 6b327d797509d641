"""Songs with names that mean something to a file system, or to us, are songs like others."""

from __future__ import annotations

import os
import shutil

import pytest

from engine.run.session import Session
from tests.conftest import another_song, execute, mp3restore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows does not allow such names")
FAST = ("--no-tui", "--variants", "01,11")


def flacs(out):
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*.flac"))


@pytest.mark.parametrize("name", ["...mp3", "..mp3", "....mp3", ".. .mp3"])
def test_dots_alone_lead_nowhere(songs, tmp_path, name):
    out = tmp_path / "out"
    assert mp3restore(*FAST, "--out", out, songs).returncode == 0
    (out / "11_offline" / "precious.txt").write_text("mine")
    before = flacs(out)
    strange = shutil.copy(songs / "Two.mp3", songs / name)
    done = mp3restore(*FAST, "--out", out, strange)
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr
    assert (out / "11_offline" / "precious.txt").exists()
    assert set(before) < set(flacs(out)) and len(flacs(out)) == len(before) + 2
    again = mp3restore(*FAST, "--out", out, strange)
    assert again.returncode == 0 and "1 were up to date" in again.stdout


def test_songs_that_are_called_as_our_files_are(tmp_path, demo_mp3):
    library, out = tmp_path / "lib", tmp_path / "out"
    names = [
        "Case.mp3", "Case/song.json.mp3", "Case/11_offline.done.json.mp3", "Case.log/x.mp3", "Case.offline.flac/x.mp3",
        "Case/11_offline/x.mp3", "case.mp3", "_done/x.mp3", "_chunks/Case/x.mp3", "Case/result.flac.mp3",
    ]  # fmt: skip
    for name in names:
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        another_song(demo_mp3, library / name)
    events = execute(Session([library], out, "offline", ["01", "11"]))
    assert events[-1].failed == 0 and events[-1].done == len(names)
    assert len(flacs(out)) == 2 * len(names)
    assert execute(Session([library], out, "offline", ["01", "11"]))[-1].up_to_date == len(names)
