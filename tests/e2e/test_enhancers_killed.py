"""Killed in every stage that the recipe ``stems`` has not: the same bytes, also through a plug-in."""

from __future__ import annotations

import hashlib
import os
import signal

import pytest
import soundfile

from engine.commands.demo import compose
from tests.e2e.test_stems import _came, _headless, _Log
from tests.stages.test_plugin import HOST
from tests.voices import RATE, melody, sung

STAGES = ("tighten", "pitch", "bass", "eq", "width", "compress", "plugin")  # the others are in test_stems
RECIPE = """
format = 1
[variants.11_all]
chain = ["decode", "transients", "tighten", "pitch", "bass", "deess", { stage = "eq", tilt_db = -1 },
    { stage = "width", high = 1.3 }, "compress", { stage = "plugin", path = "PLUGIN" }, "master"]
suffix = ""
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A song that is off its pitch and with a top that hisses, a plug-in, and the recipe."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "nice.vst3").mkdir()
    (folder / "pedalboard.py").write_text(HOST)
    (folder / "r.toml").write_text(RECIPE.replace("PLUGIN", str(folder / "nice.vst3")))
    audio = compose(20.0) * 0.5
    voice = sung(melody([(57 + n % 5, 0.8) for n in range(25)], off=35.0, vibrato=20.0))[: len(audio)]
    audio[: len(voice)] += voice[:, None]
    soundfile.write(folder / "Song.flac", audio, RATE, subtype="PCM_24")
    return folder


def _start(place, out):
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    return _headless({**os.environ, "PYTHONPATH": path}, place / "Song.flac", out, place / "r.toml")


def _digest(out):
    return hashlib.sha256((out / "11_all" / "Song.flac").read_bytes()).hexdigest()


@pytest.mark.slow
def test_killed_in_every_stage_of_the_enhancers(place, tmp_path):
    assert _start(place, tmp_path / "whole").wait() == 0
    out = tmp_path / "out"
    for stage in STAGES:
        log = _Log(out)
        child = _start(place, out)
        _came(log, rf"log : {stage}\b", lambda child=child: child.poll() is None)
        child.kill()
        assert child.wait() == -signal.SIGKILL, stage
    assert _start(place, out).wait() == 0
    assert _digest(out) == _digest(tmp_path / "whole")
    assert [p for p in out.rglob("*") if p.suffix in (".tmp", ".chunk")] == []
