"""How runs end, what is shared and wanted, what is remembered of failures, and what lost too much of its song."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from engine import stages
from engine.errors import UsageError
from engine.planning import plan, recipes
from engine.planning.task import State
from engine.run.control import Control
from engine.run.estimate import Estimate
from engine.run.events import (
    BatchDone,
    BatchStarted,
    Progress,
    SongDone,
    SongStarted,
    TaskDone,
    TaskFailed,
    TaskSkipped,
    TaskStarted,
)
from engine.run.session import Session
from engine.stages.base import Params, Rendered, Stage, parameter, read_blocks
from tests.conftest import execute, mp3restore

SHARED = """
format = 1
[variants.20_one]
chain = ["decode", "lowpass", { stage = "restore", top_hz = 18000 }]
[variants.21_two]
chain = ["decode", "lowpass", { stage = "restore", top_hz = 19000 }]
"""


def of(events, kind):
    return [e for e in events if isinstance(e, kind)]


def session_of(songs, text, tmp_path, **options):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    return Session([songs], tmp_path / "out", str(recipe), **options)


@pytest.fixture
def one(songs):
    return songs / "Two.mp3"


# --- C3: shared steps ---------------------------------------------------------------------------------------


def test_a_shared_step_serves_all_that_need_it():
    tasks = {t.id: t for t in plan.build(recipes.parse(SHARED, "r", "r"))}
    steps = [t for t in tasks.values() if not t.is_final]
    assert all(t.serves == {"20_one", "21_two"} for t in steps) and len(steps) == 2
    assert tasks["20_one"].serves == {"20_one"}


@pytest.mark.parametrize("gone", ["20_one", "21_two"])
def test_switching_one_off_leaves_the_other(one, tmp_path, gone):
    session = session_of(one, SHARED, tmp_path)
    session.off.add(("Two.mp3", gone))
    left = ({"20_one", "21_two"} - {gone}).pop()
    assert of(execute(session), SongDone)[0].made == (left,)
    assert of(execute(session), TaskDone) == []


def test_skipping_the_first_during_a_shared_step_leaves_the_other(one, tmp_path):
    session = session_of(one, SHARED, tmp_path)
    session.subscribe(
        lambda e: session.control.skip_variant(e.song, "20_one") if isinstance(e, TaskStarted) else None
    )  # fmt: skip
    events = execute(session)
    assert of(events, SongDone)[0].made == ("21_two",)
    assert [(e.task, e.reason) for e in of(events, TaskSkipped)] == [("20_one", "skipped by the user")]


def test_nothing_is_made_for_what_nobody_wants(one, tmp_path):
    session = session_of(one, SHARED, tmp_path)
    session.off.update({("Two.mp3", "20_one"), ("Two.mp3", "21_two")})
    assert of(execute(session), TaskStarted) == []


def test_the_failure_of_a_shared_step_is_told_for_each_variant_that_is_wanted(one, tmp_path, monkeypatch):
    def fails(self, context, params):
        raise RuntimeError("boom")

    monkeypatch.setattr(type(stages.STAGES["lowpass"]), "run", fails)
    session = session_of(one, SHARED, tmp_path)
    events = execute(session)
    assert [e.variant for e in of(events, TaskFailed)] == ["20_one", "21_two"] and not of(events, TaskSkipped)
    assert len({e.task for e in of(events, TaskFailed)}) == 1
    session.off.add(("Two.mp3", "20_one"))
    assert [e.variant for e in of(execute(session), TaskFailed)] == ["21_two"]


def test_a_variant_made_for_another_only_is_published_later_with_the_same_bytes(one, tmp_path):
    session = Session([one], tmp_path / "out", variants=("11", "07"))
    session.off.add(("Two.mp3", "11_offline"))
    execute(session)
    assert not (tmp_path / "out/11_offline").exists() and not (tmp_path / "out/_chunks").exists()
    again = Session([one], tmp_path / "out", variants=("11", "07"))
    assert again.states()[0].states["11_offline"] is State.TODO
    assert [e.task for e in of(execute(again), TaskDone)] == ["11_offline"]  # the master is still made from it
    assert set(again.states()[0].states.values()) == {State.DONE}


def test_steps_that_lead_to_nothing_here_are_not_made(monkeypatch):
    monkeypatch.setattr("engine.models.audiosr.unavailable_reason", lambda model: "not here")
    text = (
        'format = 1\n[variants.03_x]\nchain = ["decode", "lowpass", "audiosr"]\n[variants.01_b]\nchain = ["decode"]\n'
    )
    made = [t.stage.name for t in plan.build(recipes.parse(text, "r", "r")) if not t.impossible]
    assert made == ["decode"]


# --- C4: events carry the task ------------------------------------------------------------------------------

TWICE = """
format = 1
[variants.30_twice]
chain = ["decode", { stage = "lowpass", margin_hz = 100 }, { stage = "lowpass", margin_hz = 900 }, "restore"]
"""


def test_events_carry_the_task(one, tmp_path):
    session = session_of(one, TWICE, tmp_path)
    events = execute(session)
    ids = [t.id for t in session.tasks]
    assert [e.task for e in of(events, TaskStarted)] == [e.task for e in of(events, TaskDone)] == ids
    assert len(set(ids)) == 4 and {e.task for e in of(events, Progress)} <= set(ids)
    assert {e.variant for e in of(events, TaskDone)} == {"30_twice"}


# --- C5: every way out ends in one BatchDone ----------------------------------------------------------------


def only_end(events):
    ends = of(events, BatchDone)
    assert len(ends) == 1 and events[-1] is ends[0]
    return ends[0]


def test_a_device_that_is_not_there_ends_the_run_with_a_sentence(songs, monkeypatch):
    session = Session([songs], songs.parent / "out", variants=("01",))
    monkeypatch.setattr(type(session.tasks[0].stage), "neural", True)

    def missing(wanted):
        raise UsageError("There is no GPU here: leave --device out.")

    monkeypatch.setattr("engine.models.runtime.device.choose", missing)
    end = only_end(execute(session))
    assert end.error == "There is no GPU here: leave --device out." and not session.running
    monkeypatch.undo()
    assert only_end(execute(session)).error == ""  # the folder was let go


@pytest.mark.parametrize("where", ["run", "release", "estimate"])
def test_what_nobody_expected_ends_the_run_with_a_sentence(songs, monkeypatch, where):
    from filelock import FileLock

    from engine.run.runner import Runner

    def boom(*_, **__):
        raise ZeroDivisionError("boom")

    session = Session([songs], songs.parent / "out", variants=("01",))
    target = {"run": (Runner, "run"), "release": (FileLock, "release"), "estimate": (Estimate, "plan")}[where]
    with monkeypatch.context() as patch:
        patch.setattr(*target, boom)
        events = execute(session, jobs=2)
    end = only_end(events)
    assert "ZeroDivisionError: boom" in end.error and not session.running
    assert session.outcome is end
    assert not [t for t in threading.enumerate() if t.name.startswith("engine")]


def test_a_subscriber_that_raises_costs_neither_the_run_nor_the_others(songs):
    session = Session([songs], songs.parent / "out", variants=("01",))

    def falls_over(event):
        raise KeyError("oh")

    session.subscribe(falls_over)
    end = only_end(execute(session))
    assert end.done == 2 and "KeyError" in end.error


def test_what_goes_wrong_outside_of_a_song_costs_that_song(songs, monkeypatch):
    from engine.run.song_run import SongRun

    original = SongRun.run

    def run(self):
        if self._song.id == "Two.mp3":
            raise MemoryError("no room")
        return original(self)

    monkeypatch.setattr(SongRun, "run", run)
    events = execute(Session([songs], songs.parent / "out", variants=("01",)))
    end = only_end(events)
    assert (end.done, end.failed) == (1, 1) and {e.song: e.outcome for e in of(events, SongDone)} == {
        "Two.mp3": "failed", "Artist/One.mp3": "done",
    }  # fmt: skip


def test_headless_tells_the_error_and_exits_with_it(songs, monkeypatch, capsys):
    from engine.commands import headless
    from engine.run.runner import Runner

    monkeypatch.setattr(Runner, "run", lambda self: 1 / 0)
    session = Session([songs], songs.parent / "out", variants=("01",))
    assert headless.run(session, jobs=1, force=False, as_json=False) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


# --- C10: failures are remembered ---------------------------------------------------------------------------


def test_what_failed_is_known_again_until_the_recipe_or_the_file_changes(songs, monkeypatch, tmp_path):
    def fails(self, context, params):
        raise RuntimeError("boom")

    (songs / "bad.mp3").write_text("no music")
    with monkeypatch.context() as patch:
        patch.setattr(type(stages.STAGES["restore"]), "run", fails)
        execute(Session([songs], songs.parent / "out", variants=("01", "11", "07")))
    plans = {p.song.id: p for p in Session([songs], songs.parent / "out", variants=("01", "11", "07")).states()}
    known = plans["Two.mp3"].outcomes
    assert known["11_offline"].kind == "failed" and "boom" in known["11_offline"].reason
    assert known["07_mastered"].kind == "skipped" and known["07_mastered"].reason == "11_offline is missing"
    assert "no MP3 audio" in plans["bad.mp3"].outcome.reason and plans["Two.mp3"].outcome is None
    other = tmp_path / "other.toml"
    other.write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
        '[variants.11_offline]\nchain = ["decode", { stage = "restore", top_hz = 18000 }]\n'
    )
    changed = {p.song.id: p for p in Session([songs], songs.parent / "out", str(other)).states()}
    assert changed["Two.mp3"].outcomes == {}
    (songs / "bad.mp3").write_text("still no music")
    events = execute(session := Session([songs], songs.parent / "out", variants=("01", "11", "07")))
    assert {e.song: e.retried for e in of(events, SongStarted)} == {
        "Two.mp3": True, "Artist/One.mp3": True, "bad.mp3": False,
    }  # fmt: skip
    plans = {p.song.id: p for p in session.states()}
    assert plans["Two.mp3"].outcomes == {} and "no MP3 audio" in plans["bad.mp3"].outcome.reason


def test_an_altered_memory_of_a_failure_counts_as_absent(songs):
    (songs / "bad.mp3").write_text("no music")
    execute(session := Session([songs], songs.parent / "out", variants=("01",)))
    (path,) = (songs.parent / "out/_done/bad").glob("failed.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "reason": "something else"}))
    assert {p.song.id: p.outcome for p in session.states()}["bad.mp3"] is None


def test_the_command_line_says_that_it_tries_again(songs):
    (songs / "bad.mp3").write_text("no music")
    out = ("--out", songs.parent / "o", "--variants", "01")
    first = mp3restore("--no-tui", *out, songs)
    assert first.returncode == 1 and "The next run tries them again." in first.stdout
    dry = mp3restore("--dry-run", *out, songs)
    assert "failed" in dry.stdout and "tries again" in dry.stdout
    second = mp3restore("--no-tui", *out, songs)
    assert "bad.mp3 (not finished the last time, tried again)" in second.stdout


# --- C11, C12 -----------------------------------------------------------------------------------------------


def test_a_song_that_is_skipped_is_counted_and_remembered(songs):
    session = Session([songs], songs.parent / "out", variants=("01", "11"))
    session.subscribe(lambda e: session.control.skip_song("Two.mp3") if isinstance(e, BatchStarted) else None)
    events = execute(session)
    assert only_end(events).skipped == 1 and only_end(events).done == 1
    assert {e.song: e.outcome for e in of(events, SongDone)}["Two.mp3"] == "skipped"
    assert {e.task for e in of(events, TaskSkipped)} == {"01_baseline", "11_offline"}
    plans = {p.song.id: p for p in Session([songs], songs.parent / "out", variants=("01", "11")).states()}
    assert plans["Two.mp3"].outcome.kind == "skipped"


def test_songs_can_be_added_to_a_run_and_none_is_worked_on_twice_at_once(songs, monkeypatch):
    session = Session([songs], songs.parent / "out", variants=("01",))
    failed, gate = threading.Event(), threading.Event()
    original = stages.STAGES["decode"].run

    def run(self, context, params):
        if context.source.name == "One.mp3":
            gate.wait(60)
        elif not failed.is_set():
            raise RuntimeError("boom")
        return original(context, params)

    monkeypatch.setattr(type(stages.STAGES["decode"]), "run", run)
    events = []
    session.subscribe(events.append)
    session.subscribe(lambda e: failed.set() if isinstance(e, SongDone) and e.failed else None)
    thread = session.start(jobs=2)
    assert failed.wait(60)
    assert session.add([s for s in session.songs if s.id == "Two.mp3"])
    gate.set()
    thread.join()
    assert only_end(events).done == 2 and not session.add(session.songs)


def test_paused_time_says_nothing_of_the_speed(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    control = Control()
    estimate = Estimate(control.idle)
    estimate.plan("a", 100.0)
    now[0] += 10
    estimate.advance("a", 10.0)
    assert estimate.time_left() == pytest.approx(90.0)
    control.pause()
    waiting = threading.Thread(target=control.checkpoint, args=("a",))
    waiting.start()
    while control._held_since is None:
        waiting.join(0.01)
    now[0] += 5000
    assert estimate.time_left() == pytest.approx(90.0)
    control.resume()
    waiting.join()
    assert estimate.time_left() == pytest.approx(90.0)
    now[0] += 10
    assert estimate.time_left() == pytest.approx(180.0)


def test_help_lists_the_options_of_a_run_and_a_folder_can_be_analysed(songs):
    told = mp3restore("--help").stdout
    assert all(option in told for option in ("--no-tui", "--out", "--recipe", "--dry-run", "--jobs", "analyze"))
    done = mp3restore("analyze", "--json", songs)
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 2
    (songs.parent / "empty").mkdir()
    assert "There are no songs" in mp3restore("analyze", songs.parent / "empty").stderr


def test_the_command_to_go_on_is_whole(songs):
    from engine.commands import headless

    out = songs.parent / "my results"
    session = Session([songs], out, "offline", ["01", "11"], "cpu")
    assert headless.command(session, "--no-tui") == (
        f"mp3restore --no-tui --out '{out}' --recipe offline --variants 01,11 --device cpu {songs}"
    )


# --- D2: the ruin guard -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RuinParams(Params):
    gain_db: float = parameter(0.0, "gain", low=-60.0, high=10.0)
    low_hz: float = parameter(0.0, "band that is taken out", low=0.0, high=24000.0)
    high_hz: float = parameter(0.0, "band that is taken out", low=0.0, high=24000.0)


class Ruin(Stage):
    """Makes a song quieter, and takes a band out of it."""

    name = "ruin"
    title = "Ruin"
    Parameters = RuinParams

    def run(self, context, params):
        signal = context.input
        audio = np.concatenate(list(read_blocks(signal)))
        spectrum = np.fft.rfft(audio, axis=0)
        at = np.fft.rfftfreq(len(audio), 1 / signal.rate)
        spectrum[(at >= params.low_hz) & (at < params.high_hz)] = 0
        made = np.fft.irfft(spectrum, len(audio), axis=0).astype(np.float32) * np.float32(10 ** (params.gain_db / 20))
        return Rendered(signal.rate, signal.channels, signal.frames, lambda: iter([made]))


@pytest.fixture
def ruin(monkeypatch):
    monkeypatch.setitem(stages.STAGES, "ruin", Ruin())


GUARDED = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.40_ruined]
chain = ["decode", {{ stage = "ruin", {} }}]
[variants.07_mastered]
from = ["40_ruined", "01_baseline"]
chain = ["master"]
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gain_db = -12.0", "12 dB quieter"),
        ("gain_db = -2.0", ""),
        ("low_hz = 900.0, high_hz = 3000.0", "next to nothing is left from"),
        ("low_hz = 400.0, high_hz = 24000.0", "half of the spectrum and more is gone"),
        ("low_hz = 17600.0, high_hz = 24000.0", ""),
    ],
)
def test_what_lost_much_of_the_song_is_marked_and_not_mastered(one, tmp_path, ruin, how, words):
    session = session_of(one, GUARDED.format(how), tmp_path)
    events = execute(session)
    done = {e.task: e for e in of(events, TaskDone)}
    assert words in done["40_ruined"].ruined and bool(words) == bool(done["40_ruined"].ruined)
    out = tmp_path / "out"
    tags = FLAC(out / "40_ruined/Two.ruined.flac")
    assert tags.get("MP3RESTORE_WARNING", [""]) == [done["40_ruined"].ruined]
    master = FLAC(out / "07_mastered/Two.mastered.flac")
    assert ("ruin(" in master["MP3RESTORE_CHAIN"][0]) == (not words)
    assert "MP3RESTORE_WARNING" not in master and not done["07_mastered"].ruined and not done["01_baseline"].ruined
    again = session_of(one, GUARDED.format(how), tmp_path)
    assert set(again.states()[0].states.values()) == {State.DONE} and of(execute(again), TaskDone) == []
    assert any(bool(c.warning) == bool(words) for c in _candidates(again) if c.key == "40_ruined")


def _candidates(session):
    from engine.player.listening_sets import of_song

    return of_song(session.store, session.songs[0], session.tasks).candidates


def test_a_source_that_is_good_again_is_mastered_again(one, tmp_path, ruin):
    execute(session_of(one, GUARDED.format("gain_db = -20.0"), tmp_path))
    session = session_of(one, GUARDED.format("gain_db = -1.0"), tmp_path)
    assert session.states()[0].states["07_mastered"] is State.STALE
    execute(session)
    chain = FLAC(tmp_path / "out/07_mastered/Two.mastered.flac")["MP3RESTORE_CHAIN"][0]
    assert "ruin(" in chain and set(session.states()[0].states.values()) == {State.DONE}


def test_where_every_source_lost_too_much_there_is_no_master(one, tmp_path, ruin):
    text = GUARDED.format("gain_db = -20.0").replace('"40_ruined", "01_baseline"', '"40_ruined"')
    events = execute(session_of(one, text, tmp_path))
    assert [(e.task, "lost too much" in e.reason) for e in of(events, TaskSkipped)] == [("07_mastered", True)]
    assert not of(events, TaskFailed)


def test_the_next_best_is_made_where_it_was_not_asked_for(one, tmp_path, ruin):
    text = GUARDED.format("gain_db = -20.0").replace(
        "[variants.07_mastered]", '[variants.11_offline]\nchain = ["decode", "restore"]\n[variants.07_mastered]'
    ).replace('"40_ruined", "01_baseline"', '"40_ruined", "11_offline"')  # fmt: skip
    session = session_of(one, text, tmp_path, variants=["07"])
    execute(session)
    assert "restore(" in FLAC(tmp_path / "out/07_mastered/Two.mastered.flac")["MP3RESTORE_CHAIN"][0]
    assert of(execute(session), TaskDone) == []


def test_markers_without_the_new_fields_stay_valid(one, tmp_path):
    session = Session([one], tmp_path / "out", variants=("01", "11", "07"))
    execute(session)
    from engine.library.state_file import read_checked, write_checked

    for path in (tmp_path / "out/_done").rglob("*.done.json"):
        data = read_checked(path, 0)
        assert data.pop("bands") is not None and data.pop("ruined") == ""
        write_checked(path, data)
    assert set(session.states()[0].states.values()) == {State.DONE}
    (tmp_path / "out/11_offline/Two.offline.flac").unlink()
    assert [e.ruined for e in of(execute(session), TaskDone)] == [""]


def test_the_denoiser_on_a_full_mix_is_off_and_says_why():
    from importlib import resources

    having_it = [name for name in recipes.shipped() if "09_denoised" in recipes.load(name).variants]
    assert having_it
    for name in having_it:
        text = resources.files("engine.planning.recipes").joinpath(f"{name}.toml").read_text("utf-8")
        assert not recipes.load(name).variants["09_denoised"].enabled and "-29 LUFS" in text


def test_real_songs_are_not_called_ruined(music, tmp_path):
    source = sorted(music.rglob("*.mp3"))[0]
    audio, rate = soundfile.read(source, frames=44100 * 20)
    soundfile.write(tmp_path / "Real.mp3", audio, rate, format="MP3")
    events = execute(Session([tmp_path / "Real.mp3"], tmp_path / "out", variants=("01", "11", "07")))
    assert len(of(events, TaskDone)) == 3 and not any(e.ruined for e in of(events, TaskDone))
