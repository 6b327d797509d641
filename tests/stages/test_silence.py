"""Silent stretches are not sent to a model, and nobody hears a difference."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from engine.models import spleeter
from engine.models.restorer import synthesis
from engine.models.spleeter.separation import Separator
from engine.run.session import Session
from engine.stages import base
from tests.conftest import write_mp3
from tests.models.tf_checkpoints import spleeter_variables

RECIPE = """
format = 1
[variants.04_stems]
chain = ["decode", { stage = "separate", model = "spleeter-2stems" }]
suffix = ""
[variants.11_offline]
chain = ["decode", { stage = "restore", engine = "learned" }]
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Four seconds of sound, a minute of hiss below 16 bits, four of sound."""
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    np.savez(tmp_path / "models" / spleeter.WEIGHTS["spleeter-2stems"].filename, **spleeter_variables(2))
    rng = np.random.default_rng(0)
    ends = [0.1 * rng.standard_normal((44100 * 4, 2)) for _ in range(2)]
    song = np.concatenate([ends[0], 3e-6 * rng.standard_normal((44100 * 60, 2)), ends[1]])
    (tmp_path / "lib").mkdir()
    write_mp3(tmp_path / "lib" / "song.mp3", song.astype(np.float32), level=0.5)
    return tmp_path / "lib"


def run(library, out, monkeypatch):
    """Samples by place, and how often a network was asked."""
    calls = []
    heard, masks = synthesis.Restorer.__call__, Separator.masks
    with monkeypatch.context() as patch:
        patch.setattr(
            synthesis.Restorer, "__call__", lambda self, *rest: (calls.append("restore"), heard(self, *rest))[1]
        )
        patch.setattr(Separator, "masks", lambda self, *rest: (calls.append("separate"), masks(self, *rest))[1])
        recipe = library.parent / "r.toml"
        recipe.write_text(RECIPE)
        session = Session([library], out, str(recipe))
        session.start(jobs=1).join()
    assert session.outcome.done == 1
    files = {p.relative_to(out).as_posix(): soundfile.read(p, dtype="float32")[0] for p in out.rglob("*.flac")}
    return files, calls


def test_silence_is_not_sent_to_a_model(library, tmp_path, monkeypatch):
    made, calls = run(library, tmp_path / "out", monkeypatch)
    monkeypatch.setattr(base, "is_silent", lambda window: False)
    always, all_calls = run(library, tmp_path / "always", monkeypatch)
    assert (calls.count("restore"), all_calls.count("restore")) == (2, 3)  # of 30 s, the middle one is silent
    assert 0 < calls.count("separate") <= all_calls.count("separate") // 2
    assert made.keys() == always.keys()
    assert max(float(np.abs(made[name] - always[name]).max()) for name in made) < 10 ** (-90 / 20)
    stems = sum(made[name] for name in made if name.startswith("04_stems"))
    baseline = made["11_offline/song.offline.flac"][44100 * 20 : 44100 * 50]
    assert np.abs(stems[44100 * 20 : 44100 * 50] - baseline).max() < 1e-6
