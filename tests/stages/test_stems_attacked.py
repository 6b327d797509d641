"""What may go wrong with stems: names that are not there, switching off, full disks, strange songs, damaged files."""

from __future__ import annotations

import errno
import itertools

import numpy as np
import pytest
import soundfile

from engine.audio import encode
from engine.errors import UsageError
from engine.planning import recipes
from engine.planning.plan import build
from engine.planning.task import State
from engine.run.events import Progress, TaskDone, TaskFailed, TaskStarted
from tests.stages.test_stems import STEMS, _db, _read, _run, _session, _song
from tests.stages.test_stems import models as models  # noqa: PLC0414

SIX = """
format = 1
[variants.04_stems]
chain = ["decode", { stage = "separate", model = "htdemucs_6s" }]
[variants.05_stems_enhanced]
from = ["04_stems"]
chain = [{ each = { %s } }]
[variants.06_remixed]
from = ["05_stems_enhanced"]
chain = ["remix"]
"""


def _events(session):
    events = []
    session.subscribe(events.append)
    _run(session)
    return events


@pytest.mark.parametrize(
    ("each", "problem"),
    [
        ('violin = ["restore"]', "no stem 'violin'"),
        ('Vocals = ["restore"]', r"no stem 'Vocals' \(did you mean 'vocals'\?\)"),
        ('mix = ["restore"]', "no stem 'mix'"),
        ('residual = ["restore"]', "no stem 'residual'"),
        ('"" = ["restore"]', "no stem ''"),
        ('vocals = [{ each = { drums = ["restore"] } }]', r"each\.vocals\[0\]"),
        ('vocals = "restore"', r"each\.vocals must be a list"),
        ('vocals = ["remix"]', r"each\.vocals\[0\]: remix takes stems, and there is one signal"),
        ('vocals = ["collect"]', "there is no stage 'collect'"),
    ],
)
def test_what_a_six_stem_recipe_says_wrong_is_told_with_its_place(each, problem):
    with pytest.raises(UsageError, match=problem) as told:
        build(recipes.parse(SIX % each, "r", "r"))
    assert "05_stems_enhanced" in str(told.value)


def test_what_is_together_again_cannot_be_remixed():
    text = SIX.replace('chain = ["remix"]', 'chain = ["remix", "remix"]') % 'vocals = ["restore"]'
    with pytest.raises(UsageError, match=r"06_remixed.chain\[1\]: remix takes stems, and there is one signal"):
        build(recipes.parse(text, "r", "r"))


def test_a_stem_that_this_separator_does_not_make_is_passed_over(tmp_path, models):
    """A recipe is for every separator: what is said of a stem that is not there changes nothing."""
    _song(tmp_path / "lib" / "a.wav", seconds=3)
    text = STEMS.replace('each = { vocals = ["lowpass"], drums = ["restore"] }', 'each = { guitar = ["restore"] }')
    assert _run(_session(tmp_path, text, variants=["05"])).done == 1
    for name in ("vocals", "accompaniment", "residual"):
        passed = tmp_path / "out" / "05_stems_enhanced" / "a" / f"{name}.enhanced.flac"
        assert np.array_equal(_read(passed), _read(tmp_path / "out" / "04_stems" / "a" / f"{name}.flac"))


def test_one_stems_chain_switched_off_in_mid_run_leaves_the_others_whole(tmp_path, models):
    """Switched off while its step is under way: the variant is not published, what starts from it still comes."""
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    assert _run(_session(tmp_path, out="whole")).done == 1
    session = _session(tmp_path)

    def switch_off(event):
        if isinstance(event, TaskStarted) and event.stage == "lowpass":
            session.control.skip_variant("a.wav", "05_stems_enhanced")

    session.subscribe(switch_off)
    events = _events(session)
    assert not [event for event in events if isinstance(event, TaskFailed)]
    assert not list((tmp_path / "out").glob("05_stems_enhanced/**/*.flac"))
    remix = "06_remixed/a.remix.flac"
    assert (tmp_path / "out" / remix).read_bytes() == (tmp_path / "whole" / remix).read_bytes()


def test_a_disk_that_fills_up_between_the_stems_costs_that_task_and_nothing_is_half_there(
    tmp_path, models, monkeypatch
):
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    assert _run(_session(tmp_path, out="whole")).done == 1
    original, asked = encode.need_room, itertools.count()

    def full(folder, size):
        if "04_stems" in folder.parts and next(asked) > 0:  # there is room for the first of them alone
            raise OSError(errno.ENOSPC, "No space left on device")
        original(folder, size)

    with monkeypatch.context() as patch:
        patch.setattr(encode, "need_room", full)
        events = _events(session := _session(tmp_path))
    (failed,) = [e for e in events if isinstance(e, TaskFailed) and e.task == "04_stems"]
    assert "full" in failed.reason
    assert session.states()[0].states["04_stems"] is not State.DONE
    assert not list((tmp_path / "out").rglob("*.tmp"))
    again = _events(_session(tmp_path))
    assert [e for e in again if isinstance(e, Progress) and e.stage == "separate" and not e.reused] == []
    whole = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").glob("0*/**/*.flac")}
    made = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").glob("0*/**/*.flac")}
    assert made == whole


@pytest.mark.parametrize(
    ("seconds", "rate", "channels", "level"),
    [(1.0, 44100, 2, 0.3), (0.02, 44100, 2, 0.3), (3.0, 8000, 1, 0.3), (3.0, 44100, 2, 0.0), (2.0, 96000, 2, 0.3)],
    ids=["a second", "a moment", "8 kHz mono", "silence", "96 kHz"],
)
def test_strange_songs_come_apart_and_together_again(tmp_path, models, seconds, rate, channels, level):
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels)) * 0.02
    audio = level * (np.sin(2 * np.pi * 300 * time)[:, None] + noise)
    (tmp_path / "lib").mkdir()
    soundfile.write(tmp_path / "lib" / "a.wav", audio, rate, subtype="PCM_16")
    session = _session(tmp_path)
    assert _run(session).failed == 0, session.outcome
    out = tmp_path / "out"
    mix = _read(out / "01_baseline" / "a.flac")
    stems = [_read(path) for path in (out / "04_stems" / "a").iterdir()]
    assert all(stem.shape == mix.shape for stem in stems) and np.isfinite(mix).all()
    missed = mix - sum(stems)
    assert _db(missed) < -110 if level == 0 else _db(missed) - _db(mix) < -90
    if level == 0:
        assert max(np.abs(stem).max() for stem in stems) <= 2 / (1 << 23)  # dither and nothing else


@pytest.mark.parametrize("stopped", ["07_a", "08_b"])
def test_two_variants_share_one_separation_and_stopping_one_leaves_the_other(tmp_path, models, stopped):
    text = (
        STEMS.partition("[variants.04")[0]
        + "\n".join(
            f'[variants.{name}]\nchain = ["decode", {{ stage = "separate", model = "spleeter-2stems" }}, '
            f'{{ each = {{ vocals = [{{ stage = "lowpass", margin_hz = {hz} }}] }} }}, "remix"]'
            for name, hz in (("07_a", 1000), ("08_b", 2000))
        )
        + "\n"
    )
    _song(tmp_path / "lib" / "a.wav", seconds=14)
    session = _session(tmp_path, text)
    assert [t.stage.name for t in session.tasks].count("separate") == 1

    def skip(event):
        if isinstance(event, Progress) and event.stage == "separate":
            session.control.skip_variant("a.wav", stopped)

    session.subscribe(skip)
    events = _events(session)
    other = {"07_a": "08_b", "08_b": "07_a"}[stopped]
    assert [e for e in events if isinstance(e, TaskFailed)] == []
    done = [e for e in events if isinstance(e, TaskDone)]
    assert [e.stage for e in done].count("separate") == 1 and other in {e.task for e in done}
    assert stopped not in {e.task for e in done}
    again = _events(_session(tmp_path, text))
    assert stopped in {e.task for e in again if isinstance(e, TaskDone)}


def test_a_damaged_stem_is_made_again_before_it_is_used(tmp_path, models):
    """Of the same size, so that it is seen only when it is read."""
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    _run(_session(tmp_path))
    stem = tmp_path / "out" / "04_stems" / "a" / "vocals.flac"
    remix = tmp_path / "out" / "06_remixed" / "a.remix.flac"
    good, remixed = stem.read_bytes(), remix.read_bytes()
    broken = bytearray(good)
    broken[len(good) // 2 : len(good) // 2 + 400] = bytes(400)
    stem.write_bytes(broken)
    for path in (remix, tmp_path / "out" / "05_stems_enhanced" / "a" / "vocals.enhanced.flac"):
        path.unlink()
    assert _run(_session(tmp_path)).failed == 0
    assert stem.read_bytes() == good and remix.read_bytes() == remixed
