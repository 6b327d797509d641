"""State on disk is not trusted: what was altered counts as absent, costs at most its song, and heals."""

from __future__ import annotations

import json
import os
import random
import shutil

import numpy as np
import pytest
import soundfile

from engine import stages
from engine.audio.chunks import ChunkGeometry
from engine.library.chunk_cache import ChunkCache
from engine.library.verdicts import Verdict, read_verdict
from engine.planning.task import State
from engine.run.events import BatchDone, TaskDone, TaskFailed
from engine.run.session import Session
from engine.stages.base import ChunkedStage, Params, Signal
from tests.conftest import execute

VARIANTS = ("01", "11", "07")
FINGERPRINT = "0123456789abcdef" * 4


def session_of(songs, variants=VARIANTS):
    return Session([songs], songs.parent / "out", variants=variants)


def made(events):
    assert [e for e in events if isinstance(e, TaskFailed)] == []
    return [(e.song, e.task) for e in events if isinstance(e, TaskDone)]


def results(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.flac")}


def altered(data: bytes, dice: random.Random) -> bytes:
    """``data`` with a bit flipped, bytes lost or added, or a part of it written over."""
    at = dice.randrange(len(data))
    match dice.randrange(5):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data + bytes(dice.randrange(1, 9))
        case 3:
            return data[:at] + dice.randbytes(4) + data[at + 4 :]
        case _:
            return data[:at] + data[at + 4 :] + data[at : at + 4]


def test_no_altered_chunk_is_taken(tmp_path):
    dice, shape = random.Random(5), (500, 2)
    cache = ChunkCache(tmp_path, FINGERPRINT)
    chunk = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    cache.save(0, chunk)
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    good = path.read_bytes()
    for _ in range(600):
        bad = altered(good, dice)
        path.write_bytes(bad)
        assert bad == good or cache.load(0, shape) is None
    path.write_bytes(good)
    assert np.array_equal(cache.load(0, shape), chunk)
    assert cache.load(0, (1000, 1)) is None


def test_a_chunk_in_anothers_place_is_not_taken(tmp_path):
    cache = ChunkCache(tmp_path / "a", FINGERPRINT)
    cache.save(0, np.ones((10, 2), np.float32))
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    shutil.copy(path, path.with_stem("000001"))
    assert cache.load(1, (10, 2)) is None
    other = ChunkCache(tmp_path / "b", FINGERPRINT[:16] + "0" * 48)
    shutil.copytree(path.parent, tmp_path / "b" / FINGERPRINT[:16])
    assert other.load(0, (10, 2)) is None and cache.load(0, (10, 2)) is not None


def test_chunks_are_not_looked_for_in_folders_of_other_songs(tmp_path):
    """A song named like a task has its place inside the task's folder."""
    other = ChunkCache(tmp_path / "Song" / "11_offline" / "01_baseline", FINGERPRINT)
    other.save(0, np.ones((10, 2), np.float32))
    ChunkCache(tmp_path / "Song" / "11_offline", FINGERPRINT)
    assert other.load(0, (10, 2)) is not None


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo_mp3):
    """A library of one song with everything done, and a copy of all of it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "lib").mkdir()
    shutil.copy2(demo_mp3, folder / "lib" / "Two.mp3")
    execute(session_of(folder / "lib"))
    shutil.copytree(folder, folder / "kept")
    return folder


@pytest.fixture
def library(finished):
    yield finished / "lib"
    for name in ("lib", "out"):
        shutil.rmtree(finished / name)
        shutil.copytree(finished / "kept" / name, finished / name)


def change(data, path, value):
    """Set the value at ``path`` (keys and indices) in nested JSON."""
    for key in path[:-1]:
        data = data[key]
    assert data[path[-1]] != value
    data[path[-1]] = value


CHANGES = [
    ("song.json", ("identity",), "0" * 64),
    ("song.json", ("sound",), "0" * 64),
    ("song.json", ("analysis", "rate"), 48000),
    ("song.json", ("analysis", "frames"), 1000),
    ("song.json", ("analysis", "cutoff", "hz"), 12000.0),
    ("song.json", ("analysis", "peak"), 6.0),
    ("11_offline.done.json", ("rate",), 48000),
    ("11_offline.done.json", ("gain",), -6.0),
    ("11_offline.done.json", ("frames",), 1000),
    ("11_offline.done.json", ("outputs", 0, "sha256"), "0" * 64),
    ("01_baseline.done.json", ("gain",), -3.0),
    ("01_baseline.done.json", ("channels",), 1),
]


@pytest.mark.parametrize(("file", "path", "value"), CHANGES, ids=lambda v: str(v)[:30])
def test_a_changed_figure_is_found_and_made_good(library, file, path, value):
    out = library.parent / "out"
    before = results(out)
    state = out / "_done/Two" / file
    data = json.loads(state.read_text())
    change(data, path, value)
    state.write_text(json.dumps(data))
    assert State.DONE not in set(session_of(library).states()[0].states.values()) or "song" not in file
    master = out / "07_mastered/Two.master.flac"
    master.unlink()  # so that what is wrong would be used
    made(execute(session_of(library)))
    assert results(out) == before
    assert made(execute(session_of(library))) == []


def hostile(tmp_path):
    """Contents of a state file that readers have fallen over."""
    valid = {
        "format": 1, "source": "/nowhere", "size": 1, "modified": 1, "sha256": "0" * 64, "analysis_version": 1,
        "analysis": None,
    }  # fmt: skip
    marker = {
        "format": 1, "program": "0.1.0", "task": "01_baseline", "recipe": {}, "fingerprint": "0" * 64, "inputs": [],
        "outputs": [], "rate": 44100, "channels": 2, "frames": 1, "gain": 0.0, "note": "", "device": "cpu",
        "seconds": 1.0, "warnings": [],
    }  # fmt: skip
    yield b"[" * 100_000
    yield b'{"a":' * 100_000
    yield b'{"format": 1, "analysis": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield b""
    yield b"\x00" * 5000
    yield b"\xff\xfe{}"
    yield b"null"
    for key, value in [
        ("source", "x" * 5000), ("source", "/" + "x/" * 2500), ("source", "a\0b"), ("source", 5), ("source", None),
        ("source", "/root/secret/song.mp3"), ("size", "1"), ("size", 10**400), ("sha256", 7), ("sha256", "0" * 63),
        ("sha256", "\n" * 64), ("analysis", []), ("analysis", {"mpeg": 1}), ("modified", 1e999), ("format", True),
        ("format", [1]), ("format", 99),
    ]:  # fmt: skip
        yield json.dumps({**valid, key: value}).encode()
    for key, value in [
        ("outputs", 5), ("outputs", [[]]), ("outputs", [{"path": "../../x", "size": 1, "sha256": "0" * 64}]),
        ("outputs", [{"path": "/etc/passwd", "size": 1, "sha256": "0" * 64}]), ("rate", 0), ("rate", "44100"),
        ("gain", float("nan")), ("gain", float("inf")), ("frames", -1), ("frames", 10**30), ("channels", True),
        ("recipe", []), ("warnings", "text"), ("inputs", [1]), ("fingerprint", None),
    ]:  # fmt: skip
        yield json.dumps({**marker, key: value}).encode()
    yield b'{"format": 1, "size": ' + b"9" * 5000 + b"}"


def test_no_state_file_stops_a_session_or_a_run(library):
    out = library.parent / "out"
    before = results(out)
    folder = out / "_done/Two"
    good = {p: p.read_bytes() for p in folder.iterdir()}
    for content in hostile(library.parent):
        for path in good:
            path.write_bytes(content)
        session = session_of(library)
        assert State.DONE not in session.states()[0].states.values()
        assert len(session.store.markers(session.songs[0])) <= 1
        (out / "_listening/Two").mkdir(parents=True, exist_ok=True)
        (out / "_listening/Two/verdict.json").write_bytes(content)
        assert read_verdict(out / "_listening/Two") == Verdict()
    assert made(execute(session_of(library))) == [("Two.mp3", v) for v in ("01_baseline", "11_offline", "07_mastered")]
    assert results(out) == before
    assert made(execute(session_of(library))) == []


def test_a_state_file_that_is_a_folder_costs_its_song_alone(songs):
    execute(session_of(songs, ("01",)))
    state = songs.parent / "out/_done/Two/song.json"
    state.unlink()
    state.mkdir()
    events = execute(session_of(songs, ("01",)))
    assert [e.up_to_date for e in events if isinstance(e, BatchDone)] == [1]


def test_a_result_that_was_damaged_is_made_again_before_it_is_used(library):
    out = library.parent / "out"
    before = results(out)
    plain = out / "01_baseline/Two.flac"
    data = bytearray(plain.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    plain.write_bytes(data)
    (out / "11_offline/Two.offline.flac").unlink()
    assert made(execute(session_of(library))) == [("Two.mp3", "01_baseline"), ("Two.mp3", "11_offline")]
    assert results(out) == before
    assert made(execute(session_of(library))) == []


def test_a_touched_source_is_up_to_date_in_the_table_too(library):
    os.utime(library / "Two.mp3", (1, 1))
    assert set(session_of(library).states()[0].states.values()) == {State.DONE}  # by its sound, before any run
    assert made(execute(session_of(library))) == []
    plan = session_of(library).states()[0]
    assert set(plan.states.values()) == {State.DONE} and plan.analysis is not None


TWO_OF_ONE_STEP = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.21_a]
chain = ["decode", "lowpass", { stage = "master", loudness_lufs = -20.0 }]
[variants.22_b]
chain = ["decode", "lowpass", { stage = "master", loudness_lufs = -18.0 }]
"""


@pytest.fixture
def never_the_same(monkeypatch):
    """A step that comes out a little different whenever it is made, as networks on a GPU may."""
    lowpass = type(stages.STAGES["lowpass"])
    run, count = lowpass.run, [0]

    def differs(self, context, params):
        rendered = run(self, context, params)
        count[0] += 1
        factor = np.float32(1 - 1e-4 * count[0])
        blocks = rendered.blocks
        object.__setattr__(rendered, "blocks", lambda: (block * factor for block in blocks()))
        return rendered

    monkeypatch.setattr(lowpass, "run", differs)


def test_a_step_made_again_leaves_finished_siblings_alone(songs, tmp_path, never_the_same):
    recipe = tmp_path / "r.toml"
    recipe.write_text(TWO_OF_ONE_STEP)

    def run():
        return made(execute(Session([songs / "Two.mp3"], tmp_path / "o", str(recipe))))

    run()
    other = (tmp_path / "o/22_b/Two.b.flac").read_bytes()
    (tmp_path / "o/21_a/Two.a.flac").unlink()
    step, variant = (task for _, task in run())
    assert step.startswith("step-") and variant == "21_a"
    assert (tmp_path / "o/22_b/Two.b.flac").read_bytes() == other
    assert run() == []


def test_a_lost_marker_of_a_step_costs_nothing(songs, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text(TWO_OF_ONE_STEP)
    execute(Session([songs / "Two.mp3"], tmp_path / "o", str(recipe)))
    for path in (tmp_path / "o/_done/Two").glob("step-*.done.json"):
        path.write_text("{")
    assert made(execute(Session([songs / "Two.mp3"], tmp_path / "o", str(recipe)))) == []


class _Grouped(ChunkedStage):
    """Works on as many chunks at once as there is ``room`` for; the result tells of the group's size."""

    def __init__(self, room):
        self.room, self.groups = room, []

    def geometry(self, signal):
        return ChunkGeometry(1000, 0, 0)

    def batch(self, context, params):
        return self.room

    def prepare(self, context, params):
        return self

    def together(self, windows, starts):
        self.groups.append(len(windows))
        return [window * 0 + len(windows) for window in windows]


class _Interrupted:
    """A context that leaves after so many chunks."""

    def __init__(self, folder, signal, after):
        self.cache, self.input, self.after = ChunkCache(folder, FINGERPRINT), signal, after
        self.analysis = type("Analysis", (), {"exact_mono": False})
        self.load_chunk, self.save_chunk, self.together = self.cache.load, self.cache.save, self.cache.together

    def checkpoint(self):
        pass

    def progress(self, done, of, *, reused=False):
        if done == self.after:
            raise InterruptedError


def test_groups_stay_what_they_were_when_less_memory_is_free_on_resuming(tmp_path):
    soundfile.write(tmp_path / "in.flac", np.full((9000, 1), 0.1), 44100)  # silence would not be worked on
    signal = Signal(tmp_path / "in.flac", 44100, 1, 9000, 0.0)
    with pytest.raises(InterruptedError):
        _Grouped(4).run(_Interrupted(tmp_path / "c", signal, 4), Params())
    resumed = _Grouped(2)
    rendered = resumed.run(_Interrupted(tmp_path / "c", signal, None), Params())
    whole = _Grouped(4).run(_Interrupted(tmp_path / "d", signal, None), Params())
    assert resumed.groups == [4, 1]
    first, second = (np.concatenate(list(r.blocks())) for r in (rendered, whole))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("left", [0.0, 0.5, 0.999])
def test_a_result_that_was_cut_off_is_made_again(songs, left):
    session = session_of(songs, ("01", "07"))
    execute(session)
    before = results(session.store.out)
    for path in session.store.out.rglob("*.flac"):
        data = path.read_bytes()
        path.write_bytes(data[: max(100, int(left * len(data)))])  # its head tells the same of the samples
    again = session_of(songs, ("01", "07"))
    assert all(s is not State.DONE for plan in again.states() for t, s in plan.states.items() if t[0] == "0")
    execute(again)
    assert results(session.store.out) == before
    assert made(execute(session_of(songs, ("01", "07")))) == []


def test_a_result_that_another_program_wrote_tags_into_stays_done(songs):
    session = session_of(songs, ("01",))
    execute(session)
    first, second = sorted(session.store.out.rglob("*.flac"))
    first.write_bytes(first.read_bytes() + b"TAG" + bytes(125))
    second.write_bytes(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + second.read_bytes())
    assert made(execute(session_of(songs, ("01",)))) == []
