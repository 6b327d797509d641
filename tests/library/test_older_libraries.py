"""A library that an older version made is finished: nothing is made again, and what is lost is made as before.

``before_the_graph`` was written by the last commit of 0.1.0 in which a variant was a chain with one signal
(``music``, ``out`` and the recipe ``chains.toml``): published variants in the middle of others, and steps on the way.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile

from engine.library.records import FORMAT
from engine.models import deepfilternet
from engine.planning.task import State
from engine.run.events import TaskDone
from engine.run.session import Session
from tests.conftest import execute

BEFORE = Path(__file__).parent / "before_the_graph"
NAMES = ("01", "03", "11", "07", *(() if deepfilternet.unavailable_reason() else ("09", "10")))


@pytest.fixture
def library(tmp_path):
    """A copy; its song as old as it was then, so that it need not be read again."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    record = json.loads((tmp_path / "out/_done/Artist/Song/song.json").read_text())
    os.utime(tmp_path / "music/Artist/Song.mp3", ns=(record["modified"], record["modified"]))
    return tmp_path


def _opened(library):
    return Session([library / "music"], library / "out", str(library / "chains.toml"), NAMES)


def _contents(library):
    return {p: p.read_bytes() for p in (library / "out").rglob("*.flac")}


def test_it_was_made_before_there_were_ports(library):
    markers = [json.loads(p.read_text()) for p in (library / "out").rglob("*.done.json")]
    assert len(markers) == 7 and all("port" not in output for m in markers for output in m["outputs"])
    assert any(m["task"].startswith("step-") for m in markers)


def test_all_is_done_before_anything_is_read(library):
    (plan,) = _opened(library).states()
    assert set(plan.states.values()) == {State.DONE}, plan.states


@pytest.mark.parametrize("touched", [False, True])
def test_nothing_is_made_again(library, touched):
    if touched:  # copied to another disk, say
        os.utime(library / "music/Artist/Song.mp3")
    before = _contents(library)
    assert _made(library) == []
    assert _contents(library) == before


def _made(library):
    session = _opened(library)
    return [event.task for event in execute(session) if isinstance(event, TaskDone)]


def test_a_variant_that_is_added_is_all_that_is_made(library):
    """It looks whether what it starts from is whole, and thereby learns its sound."""
    recipe = library / "chains.toml"
    recipe.write_text(recipe.read_text() + '[variants.20_more]\nfrom = ["11_offline"]\nchain = ["lowpass"]\n')
    session = Session([library / "music"], library / "out", str(recipe), (*NAMES, "20"))
    assert [event.task for event in execute(session) if isinstance(event, TaskDone)] == ["20_more"]
    assert _made(library) == []


def test_new_tags_are_brought_into_its_results_and_nothing_is_made(library):
    from mutagen.id3 import ID3, TIT2

    tags = ID3()
    tags.add(TIT2(encoding=3, text="Another title"))
    tags.save(library / "music/Artist/Song.mp3")
    execute(_opened(library))
    assert [mutagen.File(path)["TITLE"] for path in _contents(library)] == [["Another title"]] * 6
    assert _made(library) == []


def test_what_is_lost_is_made_with_what_builds_on_it(library):
    (path,) = (library / "out" / "11_offline" / "Artist").iterdir()
    before = soundfile.read(path)[0]
    path.unlink()
    assert set(_made(library)) == {"11_offline", "07_mastered"}
    assert np.allclose(soundfile.read(path)[0], before, atol=1e-6)
    marker = json.loads((library / "out/_done/Artist/Song/11_offline.done.json").read_text())
    assert marker["format"] == FORMAT and marker["outputs"][0]["port"] == "mix"
    assert _made(library) == []
