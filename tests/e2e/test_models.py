"""All models, tiny, from the Hub's stand-in to finished variants: the installed program, killed and started again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("huggingface_hub", reason="needs the extra 'ai'")

from engine.commands.demo import compose
from tests.conftest import MUSIC, mp3restore, write_mp3
from tests.models.checkpoints import tiny_apollo, tiny_audiosr
from tests.models.hub_server import hub
from tests.models.test_hifigan_bwe import checkpoint as tiny_hifigan_bwe

RECIPE = """
format = 1
[defaults.audiosr]
steps = 2
sampler = "dpm++"
[variants.01_baseline]
chain = ["decode"]
[variants.02_audiosr_direct]
chain = ["decode", "audiosr"]
[variants.03_audiosr_lp]
chain = ["decode", "lowpass", "audiosr"]
[variants.08_hifigan_bwe]
chain = ["decode", "hifigan-bwe"]
[variants.10_full_chain]
chain = ["decode", "denoise", "audiosr"]
[variants.12_apollo]
chain = ["decode", "apollo"]
"""
ALL = ("01", "02", "03", "08", "10", "12")
KILLED = ("01", "02", "10", "12")  # in these, whose samplers and chunks are those of the others


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What the program is started with: a folder of models that came from the Hub's stand-in."""
    folder = tmp_path_factory.mktemp("models")
    found = {
        **os.environ, "MP3RESTORE_MODELS": str(folder / "models"), "HF_HOME": str(folder / "hf"),
        "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    for key, make in (("audiosr-basic", tiny_audiosr), ("apollo", tiny_apollo)):
        with hub({"pytorch_model.bin": make(folder / "x.bin").read_bytes()}) as server:
            done = mp3restore("models", "get", key, env={**found, "HF_ENDPOINT": server.url})
            assert done.returncode == 0, done.stderr
    bwe = tiny_hifigan_bwe(folder / "bwe.pt")
    assert mp3restore("models", "get", "hifigan-bwe", "--from", str(bwe), env=found).returncode == 0
    return found


def songs(folder: Path) -> Path:
    """A real song where one is at hand, cut to eleven seconds (two chunks); else a piece of our own."""
    folder.mkdir()
    audio, rate = np.tile(compose(6.0), (2, 1))[: 11 * 44100], 44100
    found = sorted(MUSIC.rglob("*.flac")) if MUSIC.is_dir() else []
    if found:
        audio, rate = soundfile.read(found[0], frames=11 * 48000, dtype="float32", always_2d=True)
        audio = audio[: 11 * rate]
    write_mp3(folder / "Song.mp3", audio, rate, level=0.8)
    return folder


def start(environment, library, recipe, out, variants=ALL):
    command = [sys.executable, "-m", "engine", "--no-tui", "--recipe", str(recipe), "--variants", ",".join(variants)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--json", str(library)], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def events(process):
    for line in process.stdout:
        yield json.loads(line)


@pytest.mark.slow
def test_every_variant_is_made_and_being_killed_changes_nothing(environment, tmp_path):
    library, recipe = songs(tmp_path / "lib"), tmp_path / "all.toml"
    recipe.write_text(RECIPE)
    undisturbed = start(environment, library, recipe, tmp_path / "whole")
    told = list(events(undisturbed))
    assert undisturbed.wait() == 0
    done = {event["variant"] for event in told if event["event"] == "TaskDone"}
    assert {"02_audiosr_direct", "03_audiosr_lp", "08_hifigan_bwe", "10_full_chain", "12_apollo"} <= done
    # Killed twice: within the sampler of a second chunk, and within that of another variant.
    for variant, most in (("02_audiosr_direct", 0.6), ("10_full_chain", 0.1)):
        process = start(environment, library, recipe, tmp_path / "killed", KILLED)
        for event in events(process):
            within = event["event"] == "Progress" and event["stage"] == "audiosr" and not event["chunk"]
            if within and event["variant"] == variant and event["fraction"] > most:
                process.kill()
                break
        assert process.wait() != 0, variant
    last = start(environment, library, recipe, tmp_path / "killed", KILLED)
    again = list(events(last))
    assert last.wait() == 0 and not [
        e for e in again if e["event"] == "TaskDone" and e["variant"] == "02_audiosr_direct"
    ]

    def digests(out):
        return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*.flac")}

    whole, killed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert len(whole) == len(ALL) and len(killed) == len(KILLED) and killed.items() <= whole.items()
    leftovers = [p.name for p in (tmp_path / "killed").rglob("*") if p.suffix in (".tmp", ".chunk")]
    assert leftovers == []


def test_a_model_that_vanishes_costs_its_variant_alone(environment, tmp_path):
    library = tmp_path / "lib"
    library.mkdir()
    write_mp3(library / "Song.mp3", compose(4.0))
    recipe = tmp_path / "all.toml"
    recipe.write_text(RECIPE)
    broken = tmp_path / "models"
    broken.mkdir()
    (broken / "apollo.bin").write_bytes(b"half of a download")
    process = start({**environment, "MP3RESTORE_MODELS": str(broken)}, library, recipe, tmp_path / "out")
    assert process.wait() == 2  # named, but not possible: said before any work
    command = [
        sys.executable,
        "-m",
        "engine",
        "--no-tui",
        "--recipe",
        str(recipe),
        "--out",
        str(tmp_path / "out"),
        str(library),
    ]
    began = time.monotonic()
    result = subprocess.run(
        command, env={**environment, "MP3RESTORE_MODELS": str(broken)}, capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 1 and "apollo.bin is a text file: get the file of weights itself." in result.stdout
    assert (tmp_path / "out/01_baseline/Song.baseline.flac").is_file() and time.monotonic() - began < 120
    assert "Traceback" not in result.stdout + result.stderr
