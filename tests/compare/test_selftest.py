"""The self-test, end to end on music of our own, and what it says of variants that help and harm."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import soundfile

from engine.analysis import tried
from engine.analysis.tried import Line
from engine.audio.decode import read_facts
from engine.commands.selftest import told
from engine.compare.selftest import encode_mp3, originals, prepare
from engine.errors import UsageError
from tests.conftest import mp3restore

RECIPE = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.11_offline]
chain = ["decode", { stage = "restore", engine = "learned" }]
suffix = ".offline"
[variants.20_dull]
chain = ["decode", { stage = "lowpass", margin_hz = 6000 }]
suffix = ".dull"
[variants.07_mastered]
from = ["01_baseline"]
chain = ["master"]
suffix = ".master"
"""


@pytest.fixture
def lossless(tmp_path, piece):
    """A folder with a FLAC, a WAV, an MP3 and what only has the name of music."""
    folder = tmp_path / "My music"
    folder.mkdir()
    soundfile.write(folder / "één [x].flac", piece, 44100, subtype="PCM_24")
    soundfile.write(folder / "two.wav", np.roll(piece, 44100, axis=0)[:, :1], 44100)
    (folder / "three.flac").write_text("no music")
    encode_mp3(folder / "four.mp3", piece, 44100, "128")
    return folder


def test_it_tells_what_helps_and_what_harms_on_own_music(lossless, tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "c"), "XDG_DATA_HOME": str(tmp_path / "d")}
    done = mp3restore(
        "selftest", lossless, "--bitrates", "64", "--recipe", tmp_path / "r.toml", "--seconds", "5", env=home
    )
    assert done.returncode == 0, done.stderr
    assert "three.flac was left out" in done.stdout and "four" not in done.stdout
    lines = {line.variant: line for line in tried.read(next((tmp_path / "d").rglob("selftest.json"))).lines}
    assert all(line.songs == 2 and line.coding == "64" for line in lines.values())
    assert lines["01_baseline"].verdict == "no change"
    assert lines["11_offline"].verdict == "helps" and "11_offline comes nearer to the original at 64" in done.stdout
    assert lines["20_dull"].verdict == "harms" and "20_dull goes farther from it at 64" in done.stdout
    assert lines["07_mastered"].made == pytest.approx(lines["01_baseline"].plain, rel=0.05)  # its loudness is no harm
    assert not list((tmp_path / "c").rglob("*.mp3"))  # nothing is left


def test_what_cannot_be_tested_is_said(lossless, tmp_path):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    encode_mp3(nothing / "a.mp3", np.zeros((44100, 2), np.float32), 44100, "64")
    told = mp3restore("selftest", nothing)
    assert told.returncode == 2 and "There is no lossless music" in told.stderr
    assert mp3restore("selftest", lossless, "--bitrates", "77").returncode == 2
    with pytest.raises(UsageError, match="does not exist"):
        originals([tmp_path / "gone"], 3)


def test_songs_are_spread_over_the_collection(tmp_path, piece):
    for number in range(9):
        soundfile.write(tmp_path / f"{number}.flac", piece[:100], 44100)
    assert [path.stem for path in originals([tmp_path], 3)] == ["0", "4", "8"]


@pytest.mark.parametrize(
    ("coding", "least", "most"), [("64", 64, 64), ("320", 320, 320), ("V5", 90, 180), ("V0", 190, 320)]
)
def test_codings_are_what_they_say(tmp_path, piece, coding, least, most):
    encode_mp3(tmp_path / "a.mp3", piece, 44100, coding)
    facts = read_facts(tmp_path / "a.mp3")
    assert least <= facts.bitrate / 1000 <= most
    assert facts.frames == len(piece)  # nothing before and behind


def test_odd_originals_cost_themselves(tmp_path):
    dice = np.random.default_rng(1)
    odd = {
        "high": (96000 * 6, 2, 96000),
        "low": (8000 * 6, 1, 8000),
        "wide": (44100 * 6, 6, 44100),
        "short": (9, 2, 44100),
    }
    for name, (frames, channels, rate) in odd.items():
        soundfile.write(tmp_path / f"{name}.flac", dice.normal(0, 0.1, (frames, channels)), rate)
    soundfile.write(tmp_path / "nan.wav", np.full((44100 * 3, 2), np.nan), 44100, subtype="FLOAT")
    problems = prepare(sorted(tmp_path.glob("*.*")), tmp_path / "work", ["128"], 5)
    assert sorted(problem.split(" was left out")[0].rsplit(os.sep, 1)[-1] for problem in problems) == [
        "nan.wav", "short.flac",
    ]  # fmt: skip
    assert len(list((tmp_path / "work" / "songs" / "128").glob("*.mp3"))) == 3


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"format": 1, "recipe": 3}', '{"format": 1, "recipe": "a", "lines": 1}']
)
def test_a_broken_report_is_none(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    assert tried.read(tmp_path / "r.json") is None


def test_a_report_comes_back(tmp_path):
    line = Line("128", "11_offline", 10, 2.0, 1.0, 0, -0.1)
    tried.keep(tmp_path / "d" / "r.json", "offline", [line])
    assert tried.read(tmp_path / "d" / "r.json").lines == (line,)


@pytest.mark.parametrize(
    ("made", "farther", "verdict"),
    [
        (1.0, 0, "helps"),
        (1.0, 1, "helps"),
        (1.0, 2, "mixed"),
        (2.0, 0, "no change"),
        (2.0, 3, "mixed"),
        (2.1, 0, "harms"),
    ],
)
def test_a_variant_helps_only_where_it_harms_hardly_any_song(made, farther, verdict):
    line = Line("128", "x", 10, 2.0, made, farther, 0.0)
    assert line.verdict == verdict
    assert any(line.variant in sentence for sentence in told([line])) == (verdict in ("helps", "harms"))


def test_json_is_for_scripts(lossless, tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "c"), "XDG_DATA_HOME": str(tmp_path / "d")}
    done = mp3restore(
        "selftest", lossless / "two.wav", "--bitrates", "320", "--recipe", tmp_path / "r.toml", "--seconds", "5",
        "--variants", "01", "--json", env=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout[done.stdout.index("\n[") :])
    assert [(line["coding"], line["variant"], line["verdict"]) for line in report] == [
        ("320", "01_baseline", "no change")
    ]
