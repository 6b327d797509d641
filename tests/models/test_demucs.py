"""Demucs through its own package, from tiny random checkpoints in the published file format."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("demucs", reason="needs the extra 'ai'")

from engine.errors import NotPossibleError  # noqa: E402
from engine.models import demucs  # noqa: E402
from engine.models.runtime import device as devices  # noqa: E402
from tests.models.checkpoints import tiny_demucs  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    devices.unload_all()
    yield tmp_path
    devices.unload_all()


AUDIO = np.float32(0.1) * np.random.default_rng(0).standard_normal((4 * 44100, 2)).astype(np.float32)


def test_a_song_is_taken_apart(folder):
    assert "models get htdemucs" in demucs.why_not_possible("htdemucs")
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename)
    assert not demucs.why_not_possible("htdemucs") and len(demucs.fingerprint("htdemucs")) == 64
    segments = []
    stems = demucs.separate(AUDIO, "htdemucs", "cpu", print, lambda: segments.append(1))
    assert list(stems) == ["drums", "bass", "other", "vocals"] and len(segments) >= 2
    assert all(stem.shape == AUDIO.shape and stem.dtype == np.float32 for stem in stems.values())
    again = demucs.separate(AUDIO, "htdemucs", "cpu", print)
    assert all(np.array_equal(stems[name], again[name]) for name in stems)  # no random shifts


def test_six_stems_and_four_models(folder):
    names = ("drums", "bass", "other", "vocals", "guitar", "piano")
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs_6s"][0].filename, names)
    assert tuple(demucs.separate(AUDIO[:44100], "htdemucs_6s", "cpu", print)) == names
    for number, file in enumerate(demucs.WEIGHTS["htdemucs_ft"]):
        assert ("models get" in demucs.why_not_possible("htdemucs_ft")) is True, number
        tiny_demucs(folder / file.filename)
    assert list(demucs.separate(AUDIO[:44100], "htdemucs_ft", "cpu", print)) == ["drums", "bass", "other", "vocals"]


def test_leaving_in_the_middle_leaves(folder):
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename)

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        demucs.separate(AUDIO, "htdemucs", "cpu", print, stop)


def test_a_file_that_names_another_class_is_refused(folder):
    from safetensors.torch import load_file, save_file

    path = tiny_demucs(folder / "x.safetensors")
    demucs.check(path)
    state = load_file(path)
    for facts in (
        {"klass": "subprocess.Popen", "args": json.dumps([["touch", str(folder / "was-here")]]), "kwargs": "{}"},
        {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": '{"sources": ["a"], "channels": 4}'},
        {},
    ):
        save_file(state, path, facts)
        with pytest.raises(NotPossibleError, match="not a model of Demucs"):
            demucs.check(path)
    assert not (folder / "was-here").exists()
    path.write_bytes(b"junk")
    with pytest.raises(NotPossibleError):
        demucs.check(path)
