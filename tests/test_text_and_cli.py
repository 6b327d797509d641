"""Text from outside is shown literally; the command line says what is wrong and exits as promised."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.commands.cli import clean_arguments
from engine.text import duration, printable, size, strip_ansi
from tests.conftest import mp3restore


def test_hostile_text_is_made_visible():
    assert printable("a\x1b[31mb\n\u202ec\udcff") == "a\\x1b[31mb\\x0a\\u202ec\\udcff"
    assert printable("Ünï 日本 🎵 [bold]x[/]") == "Ünï 日本 🎵 [bold]x[/]"


def test_numbers_in_words():
    assert [duration(s) for s in (0, 61, 3725, -1, float("inf"))] == [
        "0:00",
        "1:01",
        "1:02:05",
        "--:--",
        "--:--",
    ]
    assert [size(s) for s in (512, 12_300_000, 8_590_000_000)] == ["512 B", "12 MB", "8.6 GB"]


def test_colour_codes_in_arguments_are_cleaned(capsys):
    assert clean_arguments(["\x1b[90m", "a b.mp3", "", "\x1b[0mc&d.mp3"]) == ["a b.mp3", "", "c&d.mp3"]
    assert "Colour codes" in capsys.readouterr().err
    assert strip_ansi("100% [x] (y)") == "100% [x] (y)"


def test_run_prints_plain_lines_in_a_pipe_and_ends_with_where_the_results_are(songs):
    done = mp3restore("--no-tui", "--variants", "01,11", songs)
    assert done.returncode == 0, done.stderr
    assert "[1/2] Artist/One.mp3" in done.stdout and "11_offline (restore) done" in done.stdout
    assert "2 songs done" in done.stdout and str(songs.parent / "AI_Restored_Variants") in done.stdout
    assert "\x1b" not in done.stdout and done.stderr == ""
    again = mp3restore("--no-tui", "--variants", "01,11", songs)
    assert again.returncode == 0 and "2 were up to date" in again.stdout


def test_json_lines_tell_everything(songs):
    done = mp3restore("--no-tui", "--json", "--variants", "11", "--out", songs.parent / "o", songs / "Two.mp3")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["event"] for e in events if e["event"] != "Progress"] == [
        "RoomNeeded", "BatchStarted", "SongStarted", "TaskStarted", "TaskDone", "TaskStarted", "TaskDone", "SongDone", "BatchDone",
    ]  # fmt: skip
    assert Path(events[-2]["made"] and [e for e in events if e["event"] == "TaskDone"][-1]["outputs"][0]).is_file()
    assert all(0 <= e["batch"] <= 1 for e in events if e["event"] == "Progress")


def test_dry_run_changes_nothing(songs):
    out = songs.parent / "o"
    done = mp3restore("--no-tui", "--dry-run", "--out", out, songs)
    assert done.returncode == 0 and not out.exists()
    assert "to do" in done.stdout and "2 songs" in done.stdout
    as_json = mp3restore("--dry-run", "--json", "--out", out, songs)
    assert {json.loads(line)["tasks"]["11_offline"] for line in as_json.stdout.splitlines()} == {"to do"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-tui", "nowhere.mp3"], "nowhere.mp3 does not exist"),
        (["--no-tui", "README.md"], "is not a song"),
        (["--no-tui", "--recipe", "x", "."], "no recipe 'x'"),
        (["--no-tui", "--variants", "x", "."], "no variant 'x'"),
        (["--no-tui", "--device", "cuda", "SONG"], "leave --device out"),
        (["--no-tui", "--jobs", "-3", "."], "jobs"),
        (["--no-tui", "EMPTY"], "There are no songs"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(tmp_path, demo_mp3, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"SONG": demo_mp3, "EMPTY": tmp_path / "empty"}
    done = mp3restore(*[names.get(a, a) for a in arguments])
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_help_analyze_doctor_and_demo(demo_mp3, tmp_path):
    assert "--no-tui" in mp3restore("run", "--help").stdout and "analyze" in mp3restore("--help").stdout
    shown = mp3restore("analyze", demo_mp3).stdout
    assert "17.5 kHz, lame tag" in shown and "LAME3.100" in shown and "LUFS" in shown
    (tmp_path / "bad.mp3").write_text("no")
    told = mp3restore("analyze", "--json", demo_mp3, tmp_path / "bad.mp3")
    good, bad = json.loads(told.stdout)
    assert told.returncode == 1 and good["cutoff"]["hz"] == 17500 and "no MP3 audio" in bad["error"]
    report = {f["topic"]: f for f in json.loads(mp3restore("doctor", "--json").stdout)}
    assert report["libsndfile"]["verdict"] == "ok" and "free" in report["disk"]["text"]
    assert {"GPU", "PyTorch", "sound", "DeepFilterNet", "FFmpeg", "machine", "mp3restore"} <= set(report)
    assert "Wrote" in mp3restore("demo", tmp_path / "d").stdout and (tmp_path / "d/Demo Song.mp3").is_file()


def test_hostile_names_do_not_reach_the_terminal(tmp_path, demo_mp3):
    library = tmp_path / "lib"
    library.mkdir()
    (library / "x\x1b[31m\ny.mp3").write_text("text")
    done = mp3restore("--no-tui", "--out", tmp_path / "o", library)
    assert done.returncode == 1 and "\x1b" not in done.stdout + done.stderr
    assert "x\\x1b[31m\\x0ay.mp3: There is no MP3 audio" in done.stdout


def test_nothing_heavy_is_imported_for_help():
    code = "import sys; sys.argv=['mp3restore','--version']\ntry:\n import engine.commands.cli; engine.commands.cli.main()\nexcept SystemExit: pass\nprint([m for m in ('torch','scipy','numpy','av','soundfile','textual') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_engine_never_imports_the_dashboard():
    for path in (Path(__file__).parents[1] / "engine").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tui\b", path.read_text(), re.M), path


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_ctrl_c_finishes_the_chunk_and_says_how_to_go_on(tmp_path, demo_mp3, repeated):
    shutil.copy(repeated(25), tmp_path / "long.mp3")
    command = [
        sys.executable,
        "-u",
        "-m",
        "engine",
        "--no-tui",
        "--json",
        "--variants",
        "11",
        str(tmp_path / "long.mp3"),
    ]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], start_new_session=True
    )
    seen = []
    for line in child.stdout:
        seen.append(json.loads(line))
        if seen[-1]["event"] == "Progress" and seen[-1]["chunk"] == 1:
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to every process of the group
            break
    seen += [json.loads(line) for line in child.stdout]
    assert child.wait(60) == 130
    texts = [e["text"] for e in seen if e["event"] == "Message"]
    assert "Stopping" in texts[0] and "go on with" in texts[-1] and "long.mp3" in texts[-1]
    assert list(tmp_path.rglob("000000.chunk")) and not list(tmp_path.rglob("*.tmp"))
    start = time.monotonic()
    again = mp3restore("--no-tui", "--variants", "11", tmp_path / "long.mp3")
    assert again.returncode == 0 and time.monotonic() - start < 120
    assert not list(tmp_path.rglob("*.chunk"))


@pytest.mark.skipif(os.name != "posix", reason="needs a shell's redirections")
@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [("<&- >&- 2>&-", 0, ""), (">&-", 0, ""), ("> /dev/full", 2, "The disk is full")],
)
def test_streams_that_are_closed_or_full_are_no_traceback(demo_mp3, tmp_path, redirection, code, told):
    out = tmp_path / "out"
    command = f'exec "$0" -m engine --no-tui --recipe offline --variants 01 --out "$1" "$2" {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, out, demo_mp3], capture_output=True, text=True, timeout=300, check=False,
        cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert told in done.stderr
    if code == 0:
        assert [path.suffix for path in (out / "01_baseline").iterdir()] == [".flac"]
