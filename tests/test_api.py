"""The engine from Python: what the page about it shows works, and what is wrong is told in a sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.errors import SongError, UsageError
from engine.library.state_index import index_path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
RATE = 44100


@pytest.fixture
def tone():
    time = np.arange(RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * 440 * time)[:, np.newaxis] * [1.0, 0.5]).astype(np.float32)


def test_the_examples_of_the_page_run(tmp_path, demo_mp3, monkeypatch, capsys):
    shutil.copy(demo_mp3, tmp_path / "Song.mp3")
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(example, names)
    restored = names["restored"]
    assert set(restored.variants) == {"01_baseline", "11_offline"} and not restored.problems
    assert restored.variants["11_offline"].files["mix"].is_file()
    assert names["audio"].dtype == np.float32 and names["audio"].shape == (restored.analysis.frames, 2)
    assert names["sound"].audio.shape == names["audio"].shape and names["sound"].rate == names["rate"]
    loudness = [20 * np.log10(np.sqrt(np.mean(np.square(a)))) for a in (names["quieter"].audio, names["audio"])]
    assert loudness[0] < loudness[1] - 1, "-23 LUFS is quieter"
    told = capsys.readouterr().out
    assert "SongDone" in told and "no stage" in told


def test_a_second_call_makes_nothing_again(tmp_path, demo_mp3):
    shutil.copy(demo_mp3, tmp_path / "Song.mp3")
    first = engine.restore(tmp_path / "Song.mp3", recipe="offline", variants=["01"], out=tmp_path / "out")
    events = []
    second = engine.restore(
        tmp_path / "Song.mp3", recipe="offline", variants=["01"], out=tmp_path / "out", progress=events.append
    )
    assert second.variants == first.variants
    assert not [event for event in events if type(event).__name__ == "TaskStarted"]


def test_a_stage_that_changes_nothing_gives_back_the_samples_in_24_bits(tone):
    loud = tone * 5  # clips without the gain that is taken back
    for audio in (tone, loud):
        given = engine.apply_stage("eq", audio, RATE).audio
        assert given.shape == audio.shape
        assert np.abs(given - audio).max() < 4 * max(1.0, np.abs(audio).max()) / 2**23


def test_mono_may_be_one_dimensional_and_nothing_is_left_behind(tone, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(index_path(tmp_path).parent.glob("*"))
    assert engine.apply_stage("eq", tone[:, 0], RATE).audio.shape == (len(tone), 1)
    assert not list(tmp_path.iterdir())
    assert set(index_path(tmp_path).parent.glob("*")) == before


@pytest.mark.parametrize(
    ("stage", "audio", "rate", "parameters", "words"),
    [
        ("nonsense", np.zeros(100), RATE, {}, "no stage"),
        ("share", np.zeros(100), RATE, {}, "several signals"),
        ("decode", np.zeros(100), RATE, {}, "no stage"),
        ("remix", np.zeros(100), RATE, {}, "several signals"),
        ("eq", np.zeros(100), RATE, {"tilt": "much"}, "such parameter|must be"),
        ("eq", np.zeros((0, 2)), RATE, {}, "frames, channels"),
        ("eq", np.zeros((10, 20)), RATE, {}, "frames, channels"),
        ("eq", np.full(100, np.nan), RATE, {}, "finite"),
        ("eq", np.zeros(100), 0, {}, "rate"),
        ("eq", np.zeros(100), 44100.5, {}, "rate"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(stage, audio, rate, parameters, words):
    with pytest.raises(UsageError, match=words):
        engine.apply_stage(stage, audio, rate, **parameters)


def test_a_song_that_is_none_and_one_that_is_not_there(tmp_path):
    (tmp_path / "Text.mp3").write_text("not music\n" * 50)
    with pytest.raises(SongError):
        engine.restore(tmp_path / "Text.mp3", recipe="offline", out=tmp_path / "out")
    with pytest.raises(UsageError):
        engine.restore(tmp_path / "Nowhere.mp3", recipe="offline")
    with pytest.raises(UsageError, match="folder"):
        engine.restore(tmp_path, recipe="offline")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, engine; sys.exit(bool({'numpy', 'scipy', 'torch', 'engine.api'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
