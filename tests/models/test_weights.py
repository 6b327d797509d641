"""Getting weights: broken connections, wrong files, no network, damage; from a server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from engine.errors import NotPossibleError, UsageError
from engine.models.runtime import weights
from engine.models.runtime.cards import card, cards
from engine.models.runtime.weights import Weights
from tests.conftest import mp3restore

PAYLOAD = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server():
    """``server.cuts``: how many bytes each of the next connections gives before it breaks off."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            ranged = self.headers.get("Range")
            self.server.asked.append(ranged)
            if self.server.code:
                self.send_error(self.server.code)
                return
            start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged and self.server.ranges else 0
            body = self.server.payload[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
            self.wfile.write(body[:cut])
            if cut < len(body):
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.payload, server.cuts, server.asked, server.code, server.ranges = PAYLOAD, [], [], 0, True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def file(server):
    return Weights("m", "m.pt", f"http://127.0.0.1:{server.server_port}/m.pt", len(PAYLOAD))


def fine(path):
    pass


def test_a_download_is_verified_and_remembered(file, folder):
    seen = []
    path = weights.get(file, fine, progress=lambda done, of: seen.append((done, of)))
    assert path == folder / "m.pt" and path.read_bytes() == PAYLOAD and seen[-1] == (300_000, 300_000)
    assert json.loads((folder / "m.pt.json").read_text())["sha256"] == hashlib.sha256(PAYLOAD).hexdigest()
    assert weights.verify(file) == "verified" and not list(folder.glob("*.part"))
    path.write_bytes(PAYLOAD[:-1] + b"x")
    assert weights.verify(file) == "damaged"
    assert weights.get(file, fine).read_bytes() == PAYLOAD  # what is damaged is fetched again
    assert weights.remove(file) and weights.verify(file) == "missing" and not weights.remove(file)


def test_broken_connections_are_taken_up_where_they_broke(server, file):
    server.cuts = [100_000, 50_000]
    assert weights.get(file, fine).read_bytes() == PAYLOAD
    assert server.asked[0] is None and all(a.startswith("bytes=") for a in server.asked[1:])


def test_a_server_without_ranges_begins_anew(server, file):
    server.cuts, server.ranges = [100_000], False
    assert weights.get(file, fine).read_bytes() == PAYLOAD


def test_what_came_before_giving_up_is_kept_for_the_next_time(server, file, folder):
    server.cuts = [60_000] + [0] * 10
    with pytest.raises(UsageError, match=r"could not be downloaded.*put the file into"):
        weights.get(file, fine)
    assert weights.find(file) is None and 0 < (folder / "m.pt.part").stat().st_size <= 60_000
    server.cuts = []
    assert weights.get(file, fine).read_bytes() == PAYLOAD and server.asked[-1].startswith("bytes=")


def test_wrong_hashes_and_wrong_files_never_become_a_model(server, file, folder):
    with pytest.raises(UsageError, match="wrong hash"):
        weights.get(dataclasses.replace(file, sha256="0" * 64), fine)

    def refuses(path):
        raise NotPossibleError("no")

    with pytest.raises(UsageError, match="What came was thrown away"):
        weights.get(file, refuses)
    server.code = 404
    with pytest.raises(UsageError, match="404"):
        weights.get(file, fine)
    assert weights.find(file) is None and not list(folder.glob("*.part"))


def test_no_network_and_no_room_are_one_sentence(file, monkeypatch):
    with pytest.raises(UsageError, match="Check the network"):
        weights.get(dataclasses.replace(file, url="http://127.0.0.1:9/m.pt"), fine)
    with pytest.raises(UsageError, match="no room"):
        weights.get(dataclasses.replace(file, size=1 << 60), fine)


def test_stopping_keeps_what_came(file, folder):
    stop = threading.Event()
    with pytest.raises(UsageError, match="goes on from here"):
        weights.get(file, fine, progress=lambda *_: stop.set(), cancelled=stop)
    assert (folder / "m.pt.part").stat().st_size > 0
    assert weights.get(file, fine).read_bytes() == PAYLOAD


def test_models_on_the_command_line(folder):
    listed = mp3restore("models", "list", "--json")
    facts = {m["key"]: m for m in json.loads(listed.stdout)}
    assert set(facts) == {c.key for c in cards()} and facts["hifigan-bwe"]["state"] == "missing"
    assert "speech" in facts["hifigan-bwe"]["trained_on"]
    assert "speech" in mp3restore("models", "list").stdout
    assert mp3restore("models", "path").stdout.strip() == str(folder)
    assert mp3restore("models", "verify", "hifigan-bwe").stdout == "hifigan-bwe: missing\n"
    assert mp3restore("models", "remove", "hifigan-bwe").stdout == "hifigan-bwe: was not here\n"
    wrong = mp3restore("models", "get", "nothing")
    assert wrong.returncode == 2 and "There is no model 'nothing'" in wrong.stderr
    assert not card("DeepFilterNet3").files
