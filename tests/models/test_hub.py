"""Models from the Hub: the program as a user starts it, against a server on this machine that stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("huggingface_hub", reason="needs the extra 'ai'")

from tests.conftest import mp3restore
from tests.models.checkpoints import tiny_apollo, tiny_audiosr
from tests.models.hub_server import hub


@pytest.fixture
def get(tmp_path):
    """``get(server, *arguments)`` runs ``mp3restore models get``; ``get.env`` is its environment."""

    def run(server, *arguments, **extra):
        run.env = {
            **os.environ, "HF_ENDPOINT": server.url if server is not None else "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path / "hf"), "MP3RESTORE_MODELS": str(tmp_path / "models"), "HF_HUB_OFFLINE": "0", **extra,
        }  # fmt: skip
        return mp3restore("models", "get", *arguments, env=run.env)

    return run


def test_audiosr_comes_in_pieces_is_checked_and_made_compact(tmp_path, get):
    payload = tiny_audiosr(tmp_path / "x.bin").read_bytes()
    with hub({"pytorch_model.bin": payload}) as server:
        server.cuts = [4_000_000, 3_000_000]
        done = get(server, "audiosr-basic")
        assert done.returncode == 0, done.stderr
    asked = [request for request in server.asked if request[0] == "GET" and "resolve" in request[1]]
    assert "/74a47f49061a1e788e968cc43ad45c0b6243f37d/" in asked[-1][1]  # the pinned revision
    assert [ranged for _, _, ranged in asked] == [None, "bytes=4000000-", "bytes=7000000-"]
    kept = tmp_path / "models/audiosr-basic.safetensors"
    assert str(kept) in done.stdout and kept.stat().st_size < len(payload)
    assert not list(kept.parent.glob("*.part")) and not list(kept.parent.glob("*.making"))
    assert mp3restore("models", "verify", "audiosr-basic", env=get.env).stdout == "audiosr-basic: verified\n"
    assert mp3restore("models", "remove", "audiosr-basic", env=get.env).stdout == "audiosr-basic: removed\n"
    assert not kept.exists()


def test_what_other_programs_have_in_the_cache_of_the_hub_is_used(tmp_path, get):
    from huggingface_hub import hf_hub_download

    payloads = {"pytorch_model.bin": tiny_audiosr(tmp_path / "x.bin").read_bytes()}
    with hub(payloads) as server:
        for repo, revision in (
            ("haoheliu/audiosr_basic", "74a47f49061a1e788e968cc43ad45c0b6243f37d"),
            ("JusperLee/Apollo", None),
        ):
            hf_hub_download(
                repo, "pytorch_model.bin", revision=revision, endpoint=server.url, cache_dir=tmp_path / "hf/hub"
            )
            server.files["pytorch_model.bin"] = tiny_apollo(tmp_path / "x.bin").read_bytes()
    done = get(None, "audiosr-basic", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    states = mp3restore("models", "list", env=get.env).stdout
    assert "verified" in states.split("apollo: ")[1].split("\n")[0]  # as it lies there, without a copy
    assert not (tmp_path / "models/apollo.bin").exists()
    assert get(None, "apollo", HF_HUB_OFFLINE="1").returncode == 0
    blob = next(path for path in (tmp_path / "hf").glob("hub/models--JusperLee--Apollo/blobs/*") if path.is_file())
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    assert mp3restore("models", "verify", "apollo", env=get.env).stdout == "apollo: damaged\n"
    with hub({"pytorch_model.bin": tiny_apollo(tmp_path / "x.bin").read_bytes()}) as server:
        assert get(server, "apollo").returncode == 0
    assert mp3restore("models", "verify", "apollo", env=get.env).stdout == "apollo: verified\n"


def test_a_download_that_was_killed_goes_on_where_it_was(tmp_path, get):
    payload = tiny_apollo(tmp_path / "x.bin").read_bytes()
    part = tmp_path / "models/apollo.bin.part"
    with hub({"pytorch_model.bin": payload}) as server:
        get(None, "deepfilternet3")  # for the environment
        server.cuts, server.hold = [150_000], 30.0  # then nothing more comes, and the connection stays
        command = [sys.executable, "-m", "engine", "models", "get", "apollo"]
        process = subprocess.Popen(
            command, cwd=Path(__file__).resolve().parents[2], env={**get.env, "HF_ENDPOINT": server.url},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 60_000) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait()
        came = part.stat().st_size
        assert 60_000 < came <= 150_000
        assert "missing" in mp3restore("models", "verify", "apollo", env=get.env).stdout
        server.hold = 0.0
        server.ended.set()
        done = get(server, "apollo")
    assert server.asked[-1][2] == f"bytes={came}-"
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/apollo.bin").read_bytes() == payload and not part.exists()


def test_wrong_hashes_missing_files_and_no_network_are_one_sentence(tmp_path, get):
    payload = tiny_apollo(tmp_path / "x.bin").read_bytes()
    with hub({"pytorch_model.bin": payload}) as server:
        server.hashes = {"pytorch_model.bin": "0" * 64}
        wrong = get(server, "apollo")
        assert wrong.returncode == 2 and "wrong hash and was thrown away" in wrong.stderr
        gone = get(server, "htdemucs")
        assert gone.returncode == 2 and "bring the file yourself" in gone.stderr
        server.hashes.clear()
        server.files["pytorch_model.bin"] = b"this is not a model" * 1000
        others = [get(server, name) for name in ("apollo", "audiosr-basic")]
        assert all(other.returncode == 2 and "What came was thrown away" in other.stderr for other in others)
    nowhere = get(None, "audiosr-speech")
    assert nowhere.returncode == 2 and "Check the network" in nowhere.stderr
    forbidden = get(None, "audiosr-speech", HF_HUB_OFFLINE="1")
    assert forbidden.returncode == 2 and "HF_HUB_OFFLINE forbids it" in forbidden.stderr
    for result in (wrong, gone, *others, nowhere, forbidden):
        assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not [path for path in (tmp_path / "models").iterdir() if not path.name.endswith(".json")]


def test_a_file_that_the_user_brings_is_taken(tmp_path, get):
    done = get(None, "audiosr-basic", "--half", "--from", str(tiny_audiosr(tmp_path / "mine.bin")))
    assert done.returncode == 0 and (tmp_path / "models/audiosr-basic.safetensors").stat().st_size < 10_000_000
    assert get(None, "apollo", "--from", str(tiny_apollo(tmp_path / "a.bin"))).returncode == 0
    assert (tmp_path / "models/apollo.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()
    wrong = get(None, "apollo", "--from", str(tmp_path / "mine.bin"))
    assert wrong.returncode == 2 and "mine.bin looks like AudioSR" in wrong.stderr
    missing = get(None, "apollo", "--from", str(tmp_path / "nothing.bin"))
    assert missing.returncode == 2 and "is not there" in missing.stderr
