"""Demucs through its own package, from tiny random checkpoints in the published file format."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("demucs", reason="needs the extra 'ai'")

from engine.errors import NotPossibleError  # noqa: E402
from engine.models import demucs  # noqa: E402
from engine.models.runtime import device as devices  # noqa: E402
from engine.models.separators import SEPARATORS  # noqa: E402
from tests.models.checkpoints import tiny_demucs  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    devices.unload_all()
    yield tmp_path
    devices.unload_all()


AUDIO = np.float32(0.1) * np.random.default_rng(0).standard_normal((4 * 44100, 2)).astype(np.float32)
SHORT = AUDIO[: 2 * 44100]  # what the tiny networks take at a time


def test_a_song_is_taken_apart(folder):
    assert "models get htdemucs" in demucs.unavailable_reason("htdemucs")
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename)
    assert not demucs.unavailable_reason("htdemucs") and len(demucs.fingerprint("htdemucs")) == 64
    separator = SEPARATORS["htdemucs"]
    made, again = (separator.prepare(lambda: [AUDIO], "cpu", print)([SHORT])[0] for _ in range(2))
    assert made.shape == (len(SHORT) - 2 * separator.geometry.context, 2 * 4) and made.dtype == np.float32
    assert np.array_equal(made, again)  # no random shifts


def test_six_stems_and_four_models(folder):
    names = ("drums", "bass", "other", "vocals", "guitar", "piano")
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs_6s"][0].filename, names)
    assert set(SEPARATORS["htdemucs_6s"].stems) == set(names)
    (made,) = SEPARATORS["htdemucs_6s"].prepare(lambda: [AUDIO], "cpu", print)([SHORT])
    assert made.shape[1] == 2 * 6
    for number, file in enumerate(demucs.WEIGHTS["htdemucs_ft"]):
        assert ("models get" in demucs.unavailable_reason("htdemucs_ft")) is True, number
        tiny_demucs(folder / file.filename)
    assert not demucs.unavailable_reason("htdemucs_ft")


def test_a_model_is_loaded_without_pytorchs_compiler(folder):
    """Its import takes a second of the processor, as long as the rest of the start; the weights are the file's."""
    path = tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename, tenths=78)
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.models import demucs\n"
        "model = demucs.load(Path(sys.argv[1]), 'cpu')\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert all(value.device.type == 'cpu' for value in model.state_dict().values())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_file_that_names_another_class_is_refused(folder):
    from safetensors.torch import load_file, save_file

    path = tiny_demucs(folder / "x.safetensors")
    demucs.check(path)
    state = {name: tensor.clone() for name, tensor in load_file(path).items()}  # load_file maps the file
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
    with pytest.raises(NotPossibleError, match="a text file: get"):
        demucs.check(path)


def test_segment_by_segment_is_what_the_package_makes(folder):
    """The middle of a chunk is what the network makes of its segment, normalised as the song is."""
    from engine.models.demucs import separation

    tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename, tenths=78)
    separator = SEPARATORS["htdemucs"]
    assert not separator.unavailable_reason()
    geometry = separator.geometry
    song = np.concatenate([AUDIO] * 5)[: separation.SEGMENT]
    work = separator.prepare(lambda: [song[:50000], song[50000:]], "cpu", print)
    made = work([song, song[: separation.SEGMENT // 2]])
    assert made[0].shape == (geometry.size, 8) and made[0].dtype == np.float32
    assert len(made[1]) == separation.SEGMENT // 2 - 2 * geometry.context

    model = demucs.load(folder / demucs.WEIGHTS["htdemucs"][0].filename, "cpu")
    mono = song.mean(axis=1)
    mean, spread = mono.mean(), mono.std()
    with torch.inference_mode():
        expected = model(torch.from_numpy((song - mean) / spread).T[None])[0].numpy() * spread + mean
    middle = slice(geometry.context, len(song) - geometry.context)
    for n, stem in enumerate(separator.stems):
        wanted = expected[model.sources.index(stem)][:, middle].T
        assert np.abs(made[0][:, 2 * n : 2 * n + 2] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_of_the_fine_tuned_each_gives_its_own_stem(folder):
    for file in demucs.WEIGHTS["htdemucs_ft"]:
        tiny_demucs(folder / file.filename, tenths=78)
    separator = SEPARATORS["htdemucs_ft"]
    (made,) = separator.prepare(lambda: [AUDIO], "cpu", print)([AUDIO[:100000]])
    assert made.shape == (100000 - 2 * separator.geometry.context, 8) and np.isfinite(made).all()


def test_a_network_for_shorter_pieces_is_told(folder):
    tiny_demucs(folder / demucs.WEIGHTS["htdemucs"][0].filename)
    work = SEPARATORS["htdemucs"].prepare(lambda: [AUDIO], "cpu", print)
    with pytest.raises(NotPossibleError, match="shorter pieces"):
        work([np.concatenate([AUDIO, AUDIO])])
