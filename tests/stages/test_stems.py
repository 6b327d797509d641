"""Stems through the graph: taken apart, treated, brought together, killed in the middle, and always adding up."""

from __future__ import annotations

import json
import os
import shutil
import threading

import numpy as np
import pytest
import soundfile

from engine.errors import OutputError, UsageError
from engine.library.chunk_cache import ChunkCache
from engine.library.store import Store
from engine.models import demucs, spleeter
from engine.planning import recipes
from engine.planning.plan import build
from engine.planning.task import State
from engine.run import publish
from engine.run.events import Progress, TaskDone, TaskFailed
from engine.run.session import Session
from tests.models.checkpoints import tiny_demucs
from tests.models.tf_checkpoints import spleeter_variables

STEMS = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.04_stems]
chain = ["decode", { stage = "separate", model = "spleeter-2stems" }]
suffix = ""
[variants.05_stems_enhanced]
from = ["04_stems"]
chain = [{ each = { vocals = ["lowpass"], drums = ["restore"] } }]
suffix = ".enhanced"
[variants.06_remixed]
from = ["05_stems_enhanced", "04_stems"]
chain = ["remix"]
suffix = ".remix"
[variants.07_mastered]
from = ["06_remixed", "01_baseline"]
chain = ["master"]
suffix = ".master"
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(folder))
    np.savez(folder / spleeter.WEIGHTS["spleeter-2stems"].filename, **spleeter_variables(2))
    return folder


def _song(path, seconds=14.0, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 44100)) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * time))
    audio = np.stack([tone] * channels, axis=1) + 0.02 * rng.standard_normal((len(time), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.astype(np.float32), 44100, subtype="PCM_16")


def _session(tmp_path, text=STEMS, out="out", variants=()):
    recipe = tmp_path / "stems.toml"
    recipe.write_text(text)
    return Session([tmp_path / "lib"], tmp_path / out, str(recipe), variants)


def _run(session):
    session.start(jobs=1).join()
    return session.outcome


def _read(path):
    return soundfile.read(path, dtype="float64", always_2d=True)[0]


def _db(audio):
    return 10 * np.log10(float((audio**2).mean()) + 1e-20)


def test_a_song_goes_through_its_stems_to_the_master(tmp_path, models):
    _song(tmp_path / "lib" / "a.wav")
    session = _session(tmp_path)
    outcome = _run(session)
    assert (outcome.done, outcome.failed) == (1, 0)
    out = tmp_path / "out"
    stems = {p.name: p for p in (out / "04_stems" / "a").iterdir()}
    assert set(stems) == {"vocals.flac", "accompaniment.flac", "residual.flac"}
    enhanced = {p.name: p for p in (out / "05_stems_enhanced" / "a").iterdir()}
    assert set(enhanced) == {"vocals.enhanced.flac", "accompaniment.enhanced.flac", "residual.enhanced.flac"}
    mix = _read(out / "01_baseline" / "a.flac")
    assert _db(mix - sum(map(_read, stems.values()))) - _db(mix) < -90
    passed = (_read(stems["accompaniment.flac"]), _read(enhanced["accompaniment.enhanced.flac"]))
    assert np.array_equal(*passed)  # nothing was said of it: not even dither is added
    tags = soundfile.SoundFile(enhanced["vocals.enhanced.flac"])
    assert tags.frames == len(mix)
    import mutagen

    found = mutagen.File(enhanced["vocals.enhanced.flac"])
    assert found["MP3RESTORE_STEM"] == ["vocals"] and "lowpass(" in found["MP3RESTORE_CHAIN"][0]
    assert "lowpass(" not in mutagen.File(enhanced["residual.enhanced.flac"])["MP3RESTORE_CHAIN"][0]
    chain = mutagen.File(out / "06_remixed" / "a.remix.flac")["MP3RESTORE_CHAIN"][0]
    assert chain.startswith("decode(") and "[vocals: lowpass(" in chain and chain.count("separate(") == 1
    assert all(s is State.DONE for s in _session(tmp_path).states()[0].states.values())
    assert _run(_session(tmp_path)).up_to_date == 1
    assert not list((out / "_chunks").rglob("*.flac"))


def test_a_remix_of_what_was_not_touched_is_the_song(tmp_path, models):
    _song(tmp_path / "lib" / "a.wav")
    passing = STEMS.replace('each = { vocals = ["lowpass"], drums = ["restore"] }', 'each = { drums = ["restore"] }')
    assert _run(_session(tmp_path, passing)).done == 1
    mix = _read(tmp_path / "out" / "01_baseline" / "a.flac")
    assert _db(mix - _read(tmp_path / "out" / "06_remixed" / "a.remix.flac")) - _db(mix) < -90


@pytest.mark.parametrize("channels", [1, 2])
def test_songs_of_one_channel_and_equal_ones_stay_so(tmp_path, models, channels):
    time = np.arange(44100 * 3) / 44100
    audio = np.repeat(0.3 * np.sin(2 * np.pi * 300 * time)[:, None], channels, axis=1)
    (tmp_path / "lib").mkdir()
    soundfile.write(tmp_path / "lib" / "mono.wav", audio, 44100)
    assert _run(_session(tmp_path, variants=["06"])).done == 1
    for path in (tmp_path / "out").glob("0[46]*/**/*.flac"):
        found = _read(path)
        assert found.shape == audio.shape and (found == found[:, :1]).all(), path


def test_stopped_in_every_stage_and_resumed_gives_the_same_bytes(tmp_path, models):
    _song(tmp_path / "lib" / "a.wav", seconds=26)
    assert _run(_session(tmp_path, out="whole")).done == 1
    stops, stage = 0, iter(("decode", "separate", "lowpass", "collect", "remix", "master"))
    for name in stage:
        session = _session(tmp_path)

        def stop(event, name=name, session=session):
            if isinstance(event, Progress | TaskDone) and event.stage == name:
                session.stop()

        session.subscribe(stop)
        stops += _run(session).stopped
    assert stops >= 3
    _run(_session(tmp_path))
    whole = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").glob("0*/**/*.flac")}
    again = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").glob("0*/**/*.flac")}
    assert whole.keys() == again.keys() and len(whole) == 9
    assert [name for name in whole if whole[name] != again[name]] == []


def test_stems_are_written_side_by_side(tmp_path, models, monkeypatch):
    """The first two meet while both are being written; each chunk is read once for a stem and once for the rest."""
    _song(tmp_path / "lib" / "a.wav")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    meeting, write, load = threading.Barrier(2), publish.write_flac, ChunkCache.load
    met, loads = [], []

    def meets(path, *rest, **more):
        if path.name in ("vocals.flac", "accompaniment.flac"):
            met.append(meeting.wait(timeout=20))
        return write(path, *rest, **more)

    def counted(self, index, shape):
        loads.append(index)
        return load(self, index, shape)

    monkeypatch.setattr(publish, "write_flac", meets)
    monkeypatch.setattr(ChunkCache, "load", counted)
    assert _run(_session(tmp_path, variants=["04"])).done == 1
    assert sorted(met) == [0, 1]
    assert {loads.count(index) for index in loads} == {4}  # whether it is there, two stems, the residual


def test_a_stem_that_cannot_be_written_fails_the_song_and_is_made_later(tmp_path, models, monkeypatch):
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    write = publish.write_flac

    def full(path, *rest, **more):
        if path.name == "accompaniment.flac":
            raise OutputError("The disk is full.")
        return write(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(publish, "write_flac", full)
        session = _session(tmp_path, variants=["04"])
        told = []
        session.subscribe(told.append)
        assert _run(session).failed == 1
        assert [event.reason for event in told if isinstance(event, TaskFailed)] == ["The disk is full."]
        assert _session(tmp_path, variants=["04"]).states()[0].states["04_stems"] is not State.DONE
    assert _run(_session(tmp_path, variants=["04"])).done == 1


def test_a_louder_stem_is_turned_down_with_all_others(tmp_path, models):
    """A stem beyond full scale: one gain for all, so that they still add up."""
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    assert _run(_session(tmp_path, variants=["04"])).done == 1
    session = _session(tmp_path)
    task = next(t for t in session.tasks if t.id == "04_stems")
    stage = type(task.stage)
    original = stage.run

    def louder(self, context, params):
        made = original(self, context, params)
        import dataclasses

        blocks = made["vocals"].blocks
        made["vocals"] = dataclasses.replace(made["vocals"], blocks=lambda: (b + np.float32(1.5) for b in blocks()))
        return made

    pytest.MonkeyPatch().setattr(stage, "run", louder)
    try:
        session = _session(tmp_path, out="loud", variants=["04"])
        assert _run(session).done == 1
    finally:
        stage.run = original
    store = Store(tmp_path / "loud")
    marker = store.marker(session.songs[0], task)
    assert marker.gain < -3 and {o.port for o in marker.outputs} == {"vocals", "accompaniment", "residual"}
    plain, loud = (tmp_path / o / "04_stems" / "a" / "accompaniment.flac" for o in ("out", "loud"))
    assert np.allclose(_read(loud), _read(plain) * 10 ** (marker.gain / 20), atol=1e-6)


def test_one_result_that_is_lost_is_made_again(tmp_path, models):
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    _run(_session(tmp_path))
    lost = tmp_path / "out" / "04_stems" / "a" / "vocals.flac"
    before = lost.read_bytes()
    lost.unlink()
    made = []
    session = _session(tmp_path)
    session.subscribe(lambda e: made.append(e.task) if isinstance(e, TaskDone) else None)
    assert _run(session).done == 1
    assert "04_stems" in made and "01_baseline" not in made and lost.read_bytes() == before


def test_gains_mutes_and_places_of_the_remix(tmp_path, models):
    _song(tmp_path / "lib" / "a.wav", seconds=5)
    only = STEMS.replace('chain = ["remix"]', 'chain = [{ stage = "remix", solo = "vocals", vocals_db = -6.0 }]')
    only = only.replace('from = ["05_stems_enhanced", "04_stems"]', 'from = ["04_stems"]')
    assert _run(_session(tmp_path, only, variants=["04", "06"])).done == 1
    vocals = _read(tmp_path / "out" / "04_stems" / "a" / "vocals.flac")
    assert np.allclose(_read(tmp_path / "out" / "06_remixed" / "a.remix.flac"), vocals * 10 ** (-6 / 20), atol=1e-5)
    left = only.replace("vocals_db = -6.0", "vocals_pan = -1.0")
    assert _run(_session(tmp_path, left, variants=["06"])).done == 1
    placed = _read(tmp_path / "out" / "06_remixed" / "a.remix.flac")
    assert np.abs(placed[:, 1]).max() < 1e-5 and np.allclose(placed[:, 0], vocals[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('chain = ["master"]', "master takes one signal, and there are 3 stems"),
        ('chain = [{ each = { vocal = ["denoise"] } }]', "no stem 'vocal'.*did you mean 'vocals'"),
        ("chain = [{ each = { vocals = [] } }]", r"each.vocals must be a list of stages"),
        ('chain = [{ each = { vocals = ["decode"] } }]', "decode can only come first"),
        ('chain = [{ each = { vocals = ["separate"] } }]', "must end with one signal"),
        ('chain = [{ each = { vocals = ["nothing"] } }]', r"chain\[0\].each.vocals\[0\]: there is no stage"),
        ("chain = [{ each = { } }]", "must name at least one stem"),
        ('chain = ["collect"]', "there is no stage 'collect'"),
        ('chain = [{ stage = "remix", mute = "drum" }]', "there is no stem 'drum'"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text, problem):
    recipe = STEMS.partition("[variants.05")[0] + f'[variants.05_x]\nfrom = "04_stems"\n{text}\n'
    with pytest.raises(UsageError, match=problem):
        build(recipes.parse(recipe, "r", "r"))


def test_remix_needs_stems_and_each_too():
    for text in ('chain = ["decode", "remix"]', 'chain = ["decode", { each = { vocals = ["denoise"] } }]'):
        with pytest.raises(UsageError, match='put "separate" before it'):
            build(recipes.parse(f"format = 1\n[variants.a]\n{text}\n", "r", "r"))


def test_recipes_with_stems_are_written_as_they_are_read():
    recipe = recipes.parse(STEMS, "stems", "stems")
    assert recipes.parse(recipes.dump(recipe), "stems", "stems").variants == recipe.variants
    steps = recipe.variants["05_stems_enhanced"].steps()
    assert [(stem, step.stage) for stem, step in steps] == [("vocals", "lowpass"), ("drums", "restore")]
    changed = recipe.variants["05_stems_enhanced"].with_params(0, type(steps[0][1].params)(margin_hz=500.0))
    assert changed.steps()[0][1].params.margin_hz == 500.0 and changed.steps()[1] == steps[1]


def test_equal_work_is_one_task_and_chains_keep_their_fingerprints():
    linear = 'format = 1\n[variants.a]\nchain = ["decode", "lowpass", "restore"]\n[variants.b]\nchain = ["decode", "lowpass"]'
    tasks = {t.id: t for t in build(recipes.parse(linear, "r", "r"))}
    assert len(tasks) == 3 and tasks["a"].parents == [tasks["b"]]
    spec = [tasks["b"].spec(), tasks["b"].parents[0].fingerprint("0" * 64)]
    import hashlib

    assert tasks["b"].fingerprint("0" * 64) == hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def test_without_a_separator_the_master_starts_from_the_song(tmp_path, models):
    shutil.rmtree(models)
    _song(tmp_path / "lib" / "a.wav", seconds=3)
    session = _session(tmp_path)
    tasks = {t.id: t for t in session.tasks}
    assert "models get spleeter-2stems" in tasks["04_stems"].impossible
    assert tasks["07_mastered"].parents == [tasks["01_baseline"]]
    assert _run(session).done == 1


@pytest.mark.parametrize("model", ["spleeter-5stems", "htdemucs"])
def test_the_recipe_that_comes_with_the_program_from_an_mp3_to_the_master(tmp_path, models, demo_mp3, model):
    """With random weights: every stem that a separator makes finds its way, by what suits it, and is heard."""
    shutil.rmtree(models)
    models.mkdir()
    if model == "htdemucs":
        pytest.importorskip("torch", reason="needs the extra 'ai'")
        tiny_demucs(models / demucs.WEIGHTS["htdemucs"][0].filename, tenths=78)
    else:
        np.savez(models / spleeter.WEIGHTS[model].filename, **spleeter_variables(5))
    session = Session([demo_mp3], tmp_path / "out", "stems")
    assert _run(session).done == 1
    tasks = {task.id: task for task in session.tasks}
    words = tasks["05_stems_enhanced"].described(parameters=True)
    assert f"separate(model={model})" in words and "[vocals: denoise(attenuation_limit_db=3.0" in words
    assert (
        "drums: transients(" in words and "bass: restore(" in words and words.rpartition(" > ")[2].startswith("share(")
    )
    names = {p.name.partition(".")[0] for p in (tmp_path / "out" / "05_stems_enhanced").rglob("*.flac")}
    assert names == {*tasks["04_stems"].outputs} and len(names) >= 5
    plain, remixed = (_read(next((tmp_path / "out" / v).glob("*.flac"))) for v in ("01_baseline", "06_remixed"))
    assert abs(_db(plain) - _db(remixed)) < 0.5
    assert next((tmp_path / "out" / "07_mastered").glob("*.flac"))


def test_what_a_machine_cannot_do_for_a_stem_is_left_out_and_told(tmp_path, models, capsys):
    """AudioSR is not here: the voice goes without it, and everything else is as without that word in the recipe."""
    from engine.commands import dry_run

    _song(tmp_path / "lib" / "a.wav", seconds=3)
    wishful = STEMS.replace('vocals = ["lowpass"]', 'vocals = ["lowpass", "audiosr"], bass = ["audiosr"]')
    session = _session(tmp_path, wishful)
    told = session.left_out()
    assert len(told) == 1 and told[0].startswith("05_stems_enhanced: audiosr is left out for vocals: ")
    dry_run.show(session, force=False, as_json=False)
    assert told[0] in capsys.readouterr().out
    assert _run(session).done == 1
    task = next(t for t in session.tasks if t.id == "05_stems_enhanced")
    assert session.store.marker(session.songs[0], task).warnings[0] == task.left_out[0] in told[0]
    assert _run(_session(tmp_path)).up_to_date == 1  # without it: the very same tasks
    assert _session(tmp_path, wishful, variants=["05"]).tasks  # also where it is asked for by name


def test_stems_are_listened_to_by_their_names_with_the_treated_ones_behind_them(tmp_path, models):
    from engine.player.listening_sets import of_song

    _song(tmp_path / "lib" / "a.wav", seconds=3)
    session = _session(tmp_path)
    _run(session)
    listening_set = of_song(session.store, session.songs[0], session.tasks)
    by_key = {candidate.key: candidate for candidate in listening_set.candidates}
    assert set(by_key) == {"01_baseline", "04_stems", "06_remixed", "07_mastered"}  # 05 is the other side of 04
    parts = by_key["04_stems"].parts
    assert [part.name for part in parts] == ["vocals", "accompaniment", "residual"]
    assert all("05_stems_enhanced" in str(part.enhanced) for part in parts)
    assert "[vocals: Low-pass below the damaged band]" in by_key["06_remixed"].chain


def test_the_listener_is_told_what_took_the_song_apart(tmp_path, models):
    """The parameter says ``auto``; what that was stands in tags, marker, checklist, listen screen and doctor."""
    import mutagen

    from engine.commands import doctor
    from engine.player.listening_sets import of_song

    _song(tmp_path / "lib" / "a.wav", seconds=2)
    text = STEMS.replace('{ stage = "separate", model = "spleeter-2stems" }', '"separate"')
    session = _session(tmp_path, text, variants=["04"])
    assert _run(session).done == 1
    tags = mutagen.File(tmp_path / "out" / "04_stems" / "a" / "vocals.flac")
    assert tags["MP3RESTORE_CHAIN"][0].endswith("separate(model=spleeter-2stems)")
    assert tags["MP3RESTORE_NOTE"] == ["vocals, taken apart by Spleeter (2 stems)"]
    task = next(t for t in session.tasks if t.id == "04_stems")
    assert task.title == "Separation into stems by Spleeter (2 stems)"
    note = session.store.marker(session.songs[0], task).note
    assert note == "vocals, accompaniment, residual: taken apart by Spleeter (2 stems)"
    candidates = of_song(session.store, session.songs[0], session.tasks).candidates
    stems = next(c for c in candidates if c.key == "04_stems")
    assert "by Spleeter (2 stems)" in stems.chain
    found = doctor._stems()
    assert found.verdict == "ok" and "Spleeter (2 stems)" in found.text
    shutil.rmtree(models)
    missing = doctor._stems()
    assert missing.verdict == "note" and "models get spleeter-2stems" in missing.advice


@pytest.mark.parametrize("name", ["offline", "cpu-overnight", "gpu-fast", "gpu-best"])
def test_stems_can_be_asked_for_by_number_whatever_recipe_fits(models, name):
    recipe = recipes.load(name)
    assert "04_stems" not in {t.id for t in build(recipe)}
    assert "04_stems" in {t.id for t in build(recipe, ["04"])}
    if "06_remixed" in recipe.variants:  # what it is made of need not be named, too
        assert {"04_stems", "05_stems_enhanced", "06_remixed"} <= {t.id for t in build(recipe, ["06"])}
    shutil.rmtree(models)
    with pytest.raises(UsageError, match="models get spleeter-2stems"):
        build(recipe, ["04"])
