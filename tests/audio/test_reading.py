"""Whatever a source does while it is read costs that one song: it crashes nothing, holds up nothing, runs nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from engine.analysis.song import analyze
from engine.audio import decode
from engine.audio.decode import open_decoder, read_facts
from engine.errors import DecodeError, UnreadableError
from engine.machine import child_process, warm_child
from engine.machine.warm_child import Pool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def children(monkeypatch):
    """The children of a pool of its own; what they do with some file names, see naughty_process.py."""
    pool = Pool("tests.audio.naughty_process")
    monkeypatch.setattr(decode, "_children", pool)

    def living():
        found = []
        for process in psutil.Process().children():
            with suppress(psutil.Error):  # one that ends just now
                if "tests.audio.naughty_process" in process.cmdline():
                    found.append(process)
        return found

    yield living
    pool.close()


@pytest.fixture
def long_mp3(demo_mp3, tmp_path):
    """An hour or so of frames: the demo's, again and again."""
    path = tmp_path / "long.mp3"
    path.write_bytes(demo_mp3.read_bytes() * 400)
    return path


# --- nothing that lies in the current folder is run ----------------------------------------------------------


@pytest.fixture
def hostile_folder(tmp_path, monkeypatch):
    """A current folder with modules that leave a trace when they are run; PYTHONPATH names it with empty entries."""
    folder = tmp_path / "music"
    folder.mkdir()
    trace = tmp_path / "was-run"
    text = f"open({str(trace)!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(3)\n"
    for name in ("json", "numpy", "struct", "soundfile", "sounddevice", "queue", "sitecustomize"):
        (folder / f"{name}.py").write_text(text)
    for package in ("engine", "tui"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(ROOT), ".", ""]))
    return trace


def test_decoding_runs_nothing_that_lies_in_the_music_folder(children, demo_mp3, hostile_folder):
    shutil.copy(demo_mp3, "song.mp3")
    assert analyze(Path("song.mp3")).mpeg is not None
    assert not hostile_folder.exists()


@pytest.mark.parametrize("module", ["engine.player.output_process", "engine.audio.decode_process", "engine", "tui"])
def test_no_module_started_as_a_process_runs_what_lies_in_the_current_folder(hostile_folder, module):
    command = child_process.command(module, "--version")
    subprocess.run(
        command, env=child_process.environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    assert not hostile_folder.exists()


def test_the_launcher_runs_nothing_that_lies_in_the_current_folder():
    lines = [line for line in (ROOT / "launch.cmd").read_text().splitlines() if not line.startswith("rem ")]
    starts = [line for line in lines if line.startswith(('"%PY%"', "%BASE%")) and " -c " not in line]
    assert len(starts) >= 3 and all(" -P -m " in line for line in starts)
    assert 'set "NoDefaultCurrentDirectoryInExePath=1"' in lines


def test_all_of_the_programs_own_processes_are_started_by_child_process():
    for path in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]:
        text = path.read_text()
        assert "sys.executable" not in text or path.name == "child_process.py" or "pip" in text, path


# --- files that change, hang or fail while they are read -----------------------------------------------------


def test_a_file_that_shrinks_while_its_facts_are_read_costs_one_song(children, long_mp3, demo_mp3):
    size = long_mp3.stat().st_size

    def shrink():
        while not stop.is_set():
            os.truncate(long_mp3, 4096)
            os.truncate(long_mp3, size)

    stop = threading.Event()
    thread = threading.Thread(target=shrink)
    thread.start()
    try:
        for _ in range(5):
            try:
                read_facts(long_mp3)
            except DecodeError as error:
                assert str(error).endswith(".")
    finally:
        stop.set()
        thread.join()
    assert read_facts(demo_mp3) is not None


@pytest.fixture
def named(demo_mp3, tmp_path):
    """The demo under another name."""
    return lambda name: Path(shutil.copy(demo_mp3, tmp_path / f"{name}.mp3"))


def test_a_mapped_page_that_cannot_be_read_is_told_in_words(children, named, demo_mp3):
    """The system sends SIGBUS where a mapped file has shrunk or its drive fails."""
    with pytest.raises(UnreadableError, match="became shorter or its drive failed"):
        analyze(named("bus"))
    assert analyze(demo_mp3).warnings == ()


def test_a_drive_that_fails_is_told_in_words(children, named):
    with pytest.raises(DecodeError, match="disk reports an error"):
        analyze(named("failing"))


def test_a_file_that_hangs_is_given_up(children, named, demo_mp3, monkeypatch):
    analyze(demo_mp3)
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_PATIENCE", 1.0)
        for name in ("hang", "stopped"):
            began = time.monotonic()
            with pytest.raises(UnreadableError, match="came to a standstill"):
                analyze(named(name))
            assert 1 <= time.monotonic() - began < 8
        with pytest.raises(UnreadableError, match="came to a standstill"), open_decoder(named("hang-later")) as decoded:
            list(decoded.blocks)
    assert analyze(demo_mp3).warnings == () and len(children()) == 1


def test_a_child_is_kept_for_the_next_song_and_replaced_when_it_dies(children, named, demo_mp3):
    analyze(demo_mp3)
    (first,) = children()
    analyze(demo_mp3)
    assert children() == [first]
    with pytest.raises(DecodeError, match="crashed"):
        analyze(named("abort"))
    analyze(demo_mp3)
    (second,) = children()
    assert second != first
    second.kill()  # while nobody looks
    assert analyze(demo_mp3).warnings == ()


def test_what_an_earlier_song_did_to_a_child_is_not_the_next_ones_fault(children, named, demo_mp3):
    analyze(named("poison"))  # the next request of this child crashes it
    assert analyze(demo_mp3).warnings == ()


def test_leaving_a_song_half_read_keeps_the_child(children, long_mp3, demo_mp3):
    whole = analyze(demo_mp3)
    (child,) = children()
    for _ in range(20):
        with open_decoder(long_mp3) as decoded:
            next(decoded.blocks)
        assert decoded.error == ""
    assert analyze(demo_mp3) == whole and children() == [child]


def test_several_threads_read_at_once_and_what_libraries_print_disturbs_nobody(children, named, demo_mp3):
    noisy, expected = named("noisy"), analyze(demo_mp3)
    found = []
    threads = [threading.Thread(target=lambda: found.append(analyze(noisy))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    with open_decoder(noisy) as decoded:
        list(decoded.blocks)
    assert "something the library says" in decoded.messages


def test_memory_does_not_grow_with_what_is_not_read(children, long_mp3):
    with open_decoder(long_mp3) as decoded:
        next(decoded.blocks)
        (child,) = children()
        before, used = child.memory_info().rss, child.cpu_times().user
        time.sleep(1.0)  # a paused run
        assert child.memory_info().rss - before < 8 << 20 and child.cpu_times().user - used < 0.2


def test_children_go_when_nobody_needs_them(children, demo_mp3, monkeypatch):
    monkeypatch.setattr(warm_child, "_IDLE", 0.4)
    analyze(demo_mp3)
    limit = time.monotonic() + 10
    while children() and time.monotonic() < limit:
        time.sleep(0.1)
    assert not children()


@pytest.mark.parametrize("name", ["hang", "demo"])
def test_no_child_outlives_its_parent(named, name):
    """Killed outright: even a child that hangs in its work goes."""
    code = (
        "import sys; from pathlib import Path; from engine.audio import decode\n"
        "from engine.machine.warm_child import Pool\n"
        "decode._children = Pool('tests.audio.naughty_process')\n"
        "with decode.open_decoder(Path(sys.argv[1])) as d: next(d.blocks); print('reading', flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(named(name))], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    if name == "demo":
        parent.stdout.readline()
    limit = time.monotonic() + 20
    while not (below := psutil.Process(parent.pid).children()) and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(below, timeout=5)
    assert gone and not alive


def test_ctrl_c_does_not_end_a_child(children, demo_mp3):
    analyze(demo_mp3)
    (child,) = children()
    child.send_signal(signal.SIGINT)
    analyze(demo_mp3)
    assert children() == [child]


def test_a_pipe_is_refused_at_once(children, tmp_path, demo_mp3):
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "device.mp3").symlink_to("/dev/zero")
    (tmp_path / "folder.mp3").mkdir()
    for name in ("pipe.mp3", "device.mp3", "folder.mp3"):
        began = time.monotonic()
        with pytest.raises(DecodeError, match="no file but"):
            analyze(tmp_path / name)
        with pytest.raises(DecodeError, match="no file but"), open_decoder(tmp_path / name):
            pass
        assert time.monotonic() - began < 5
