"""Recipes are explained when they are wrong; plans share what is alike."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import soundfile

from engine.commands import dry_run
from engine.errors import UsageError
from engine.planning import recipes
from engine.planning.plan import build
from engine.run.session import Session

GOOD = """
format = 1
[defaults.restore]
top_hz = 18000
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.20_low]
chain = ["decode", { stage = "lowpass", margin_hz = 500 }]
[variants.21_low_restored]
chain = ["decode", { stage = "lowpass", margin_hz = 500 }, "restore"]
[variants.22_other]
chain = ["decode", "lowpass", { stage = "restore", top_hz = 19000 }]
enabled = false
[variants.07_mastered]
from = ["22_other", "21_low_restored", "01_baseline"]
chain = ["master"]
"""


def test_every_shipped_recipe_is_valid():
    assert "offline" in recipes.shipped()
    for name in recipes.shipped():
        assert build(recipes.load(name))


def test_shared_beginnings_are_one_task():
    tasks = {t.id: t for t in build(recipes.parse(GOOD, "r", "r"))}
    assert list(tasks) == ["01_baseline", "20_low", "21_low_restored", "07_mastered"]
    assert tasks["21_low_restored"].parents == [tasks["20_low"]] and tasks["20_low"].parents == [tasks["01_baseline"]]
    assert tasks["07_mastered"].parents == [tasks["21_low_restored"]]
    assert tasks["21_low_restored"].params.top_hz == 18000.0


def test_steps_on_the_way_are_tasks_without_a_variant():
    tasks = build(recipes.parse(GOOD, "r", "r"), ["22"])
    assert [t.is_final for t in tasks] == [True, False, True]
    assert tasks[1].stage.name == "lowpass" and tasks[1].id.startswith("step-")


def test_wanted_variants_bring_what_they_start_from():
    recipe = recipes.load("offline")
    assert [t.id for t in build(recipe, ["mastered"])] == ["01_baseline", "11_offline", "07_mastered"]
    with pytest.raises(UsageError, match=r"no variant '99'; it has: 01_baseline"):
        build(recipe, ["99"])


def test_fingerprints_follow_the_source_and_all_parameters_before():
    def fingerprint(text, source="x"):
        return {t.id: t.fingerprint(source) for t in build(recipes.parse(text, "r", "r"))}

    plain = fingerprint(GOOD)
    changed = fingerprint(GOOD.replace("margin_hz = 500", "margin_hz = 600"))
    assert plain["01_baseline"] == changed["01_baseline"]
    assert all(plain[k] != changed[k] for k in ("20_low", "21_low_restored", "07_mastered"))
    assert plain != fingerprint(GOOD, "y") and plain == fingerprint(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format must be 1"),
        ("format = 1", "format = = 1", r"not valid TOML.*line 2"),
        (
            '"restore"]',
            '"restor"]',
            r"variants.21_low_restored.chain\[2\]: there is no stage 'restor' \(did you mean 'restore'\?\)",
        ),
        (
            "margin_hz = 500",
            "margin = 500",
            r"chain\[1\] \(lowpass\) has no setting 'margin' \(did you mean 'margin_hz'",
        ),
        ("margin_hz = 500", 'margin_hz = "x"', "margin_hz must be a number, not 'x'"),
        ("margin_hz = 500", "margin_hz = 50000", "margin_hz must be between 0.0 and 8000.0 Hz, not 50000"),
        ("enabled = false", "enabled = 0", "enabled must be true or false"),
        ('"01_baseline"]', '"1_baseline"]', r"no variant '1_baseline' \(did you mean '01_baseline'"),
        ('chain = ["master"]', 'chain = ["decode"]', "a chain starts with decode, or else needs 'from'"),
        ('["decode", "lowpass",', '["lowpass", "decode",', "a chain starts with decode"),
        ("[variants.20_low]", '[variants."../x"]', "a variant's name is a folder"),
        ('suffix = ""', 'suffix = "../x"', "suffix must be"),
        ("[defaults.restore]", "[default.restore]", r"has no setting 'default' \(did you mean 'defaults'"),
        ("top_hz = 18000", "top_hz = nan", "top_hz must be between"),
    ],
)
def test_what_is_wrong_is_explained(old, new, message):
    assert old in GOOD
    with pytest.raises(UsageError, match=message):
        recipes.parse(GOOD.replace(old, new), "r", "my.toml")


def test_missing_and_unreadable_recipes_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"no recipe 'ofline' \(did you mean 'offline'\?\)"):
        recipes.load("ofline")
    with pytest.raises(UsageError, match="is not there"):
        recipes.load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        recipes.load(str(tmp_path / "bad.toml"))


SLOW = """
format = 1
[variants.01_baseline]
chain = ["decode"]
[variants.02_slow]
chain = ["decode", "audiosr"]
[variants.03_slower]
chain = ["decode", "lowpass", "audiosr"]
[variants.07_mastered]
from = ["03_slower", "02_slow", "01_baseline"]
chain = ["master"]
"""


def test_variants_whose_model_is_not_here_are_told_once_with_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "none"))
    soundfile.write(tmp_path / "a.wav", np.zeros((4410, 2)), 44100)
    session = Session([tmp_path / "a.wav"], tmp_path / "out", "stems")
    (told,) = session.left_out()
    assert told.startswith("04_stems, 05_stems_enhanced, 06_remixed left out: ")
    assert "run 'mp3restore models get spleeter-2stems'" in told
    dry_run.show(session, force=False, as_json=False)
    assert told in capsys.readouterr().out


def test_a_table_of_many_variants_still_names_the_songs_for_a_program(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros((4410, 2)), 44100)
    low = '[variants.{0}_low_pass]\nchain = ["decode", {{ stage = "lowpass", cutoff_hz = {0}00 }}]\n'
    (tmp_path / "r.toml").write_text("format = 1\n" + "".join(low.format(n) for n in range(20, 80)))
    dry_run.show(Session([tmp_path / "a.wav"], tmp_path / "out", str(tmp_path / "r.toml")), force=False, as_json=False)
    told = capsys.readouterr().out
    assert "a.wav" in told and all(f"{n}_low_pass" in told for n in range(20, 80))


def test_what_takes_long_is_left_out_and_the_next_best_is_taken(monkeypatch):
    monkeypatch.setattr("engine.models.audiosr.unavailable_reason", lambda model: "")
    recipe = recipes.parse(SLOW, "slow", "slow")

    def plan(*wanted, device="cpu", allow_slow=()):
        tasks = {t.id: t for t in build(recipe, wanted, lambda: device, allow_slow)}
        made = {name for name, task in tasks.items() if not task.impossible and task.is_final}
        mastered = tasks.get("07_mastered")
        return made, mastered and mastered.parents[0].id

    assert plan() == ({"01_baseline", "07_mastered"}, "01_baseline")
    assert plan(allow_slow=["02_slow"]) == ({"01_baseline", "02_slow", "07_mastered"}, "02_slow")
    assert plan("07", "03") == ({"01_baseline", "03_slower", "07_mastered"}, "03_slower")
    assert plan("02")[0] == {"01_baseline", "02_slow"}
    assert plan(device="cuda") == ({"01_baseline", "02_slow", "03_slower", "07_mastered"}, "03_slower")
    slow = next(t for t in build(recipe) if t.id == "02_slow")
    assert slow.too_slow and "about 3 h for a song of four minutes" in slow.impossible
    monkeypatch.setattr("engine.models.audiosr.unavailable_reason", lambda model: "not here")
    slow = next(t for t in build(recipe) if t.id == "02_slow")
    assert not slow.too_slow and slow.impossible == "not here"


@pytest.mark.parametrize(
    "value",
    ["[" * 5000 + "]" * 5000, "9" * 5000, "0x" + "f" * 9000, "{ a = " * 3000 + "1" + "}" * 3000, "[" * 400 + "]" * 400],
)
@pytest.mark.parametrize(
    "where", ["format = {}", "format = 1\ndefaults.restore.top_hz = {}", "format = 1\nvariants.a.from = {}"]
)
def test_depth_and_size_are_told_in_a_sentence(value, where):
    for text in (where.format(value), where.format(value) + '\n[variants.b]\nchain = ["decode", "restore"]'):
        with pytest.raises(UsageError) as told:
            recipes.parse(text, "r", "the recipe")
        assert str(told.value).startswith("the recipe")
        assert len(str(told.value)) < 400


def test_keys_thousands_deep_are_told_in_a_sentence():
    with pytest.raises(UsageError):
        recipes.parse("format = 1\nvariants." + ".".join(["a"] * 5000) + " = 1", "r", "r")


@pytest.mark.parametrize(
    "name", ["_done", "_chunks", "_logs", "_listening", "_report", "_mine", "-rf", "CON", "nul", "x" * 65, "''", "'é'"]
)
def test_names_of_our_own_folders_and_of_devices_are_no_variants(name):
    with pytest.raises(UsageError, match="name is a folder"):
        recipes.parse(f'format = 1\n[variants.{name}]\nchain = ["decode"]', "r", "r")


def test_names_that_are_one_folder_on_many_disks_are_refused():
    text = 'format = 1\n[variants.Low]\nchain = ["decode"]\n[variants.low]\nchain = ["decode"]'
    with pytest.raises(UsageError, match="capitals"):
        recipes.parse(text, "r", "r")


@pytest.mark.parametrize("suffix", ["a\\nb", "\\u001b[2J", "\\u202e", "\\u0000", "/x", "é" * 13])
def test_suffixes_are_plain(suffix):
    with pytest.raises(UsageError, match="suffix"):
        recipes.parse(f'format = 1\n[variants.a]\nchain = ["decode"]\nsuffix = "{suffix}"', "r", "r")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")
def test_a_recipe_that_is_no_small_text_file_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (2 << 20))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("pipe", "huge", "bytes", "missing"):
        with pytest.raises(UsageError, match=name):
            recipes.load(str(tmp_path / f"{name}.toml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[variants.a]\nchain=["decode",' + '"restore",' * 1000 + '"restore"]', "at most 64 steps"),
        ('[variants.v0]\nchain=["decode"]\n' + "".join(
            f'[variants.v{i}]\nfrom=["v{i - 1}"]\nchain=["restore"]\n' for i in range(1, 700)
        ), "at most 64 steps"),
        ('[variants.a]\nchain=["decode",' + '{stage="separate"},"remix",' * 20 + '"restore"]', 'may be "separate"'),
    ],
)  # fmt: skip
def test_a_recipe_that_would_take_for_ever_to_plan_is_refused_at_once(tmp_path, text, told):
    (tmp_path / "endless.toml").write_text("format = 1\n" + text)
    with pytest.raises(UsageError, match=told):
        build(recipes.load(str(tmp_path / "endless.toml")))


def test_the_longest_chains_are_planned_in_a_moment(tmp_path):
    pairs = '{stage="separate",model="spleeter-4stems"},"remix",' * 3
    text = f'format = 1\n[variants.a]\nchain=["decode",{pairs}{", ".join(["%s"] * 57)}]\n' % (("'restore'",) * 57)
    (tmp_path / "long.toml").write_text(text)
    began = time.process_time()
    tasks = build(recipes.load(str(tmp_path / "long.toml")), allow_slow=["a"])
    assert tasks and time.process_time() - began < 10


def test_a_recipe_from_windows_editor_is_read_and_names_are_shown_as_they_are(tmp_path):
    (tmp_path / "bom.toml").write_text('\ufeffformat = 1\n[variants.a]\nchain = ["decode"]\n', "utf-8")
    assert list(recipes.load(str(tmp_path / "bom.toml")).variants) == ["a"]
    (tmp_path / "bidi.toml").write_text('format = 1\n[variants."a\\u202eb"]\nchain = ["decode"]\n')
    with pytest.raises(UsageError) as told:
        recipes.load(str(tmp_path / "bidi.toml"))
    assert "\u202e" not in str(told.value) and "\\u202e" in str(told.value)
