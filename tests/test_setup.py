"""Setting the AI models up: what is planned for which machine, how installing goes, ends and fails, what doctor says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path, PureWindowsPath

import pytest

from engine.commands import doctor, setup
from engine.errors import UsageError
from engine.machine import gpu_probe, host, installer, monitor
from engine.machine.gpu_probe import Torch
from engine.machine.host import Host, NvidiaGpu
from engine.models.runtime import device as devices
from tests.conftest import mp3restore

AI = ["demucs-of-nobody>=4.1", "safetensors-of-nobody>=0.5", "torch>=2.6"]
RTX = NvidiaGpu("NVIDIA GeForce RTX 3080", 10_737_418_240, (8, 6))
GTX = NvidiaGpu("NVIDIA GeForce GTX 1080", 8_589_934_592, (6, 1))
CPU_BUILD = Torch("2.9.0+cpu", "cpu", "cpu", "the processor", 2e-7)


def machine(system="Linux", gpus=(), torch=None, **more):
    places = {
        "Linux": ("/home/me/mp3restore/.venv", "/home/me/mp3restore/.venv/bin/python", "/home/me/mp3restore/.venv/bin/uv"),
        "Darwin": ("/Users/me/m p/.venv", "/Users/me/m p/.venv/bin/python", "/Users/me/m p/.venv/bin/uv"),
        "Windows": (PureWindowsPath(r"C:\Me & You\.venv"), r"C:\Me & You\.venv\Scripts\python.exe", r"C:\Me & You\.venv\Scripts\uv.exe"),
    }  # fmt: skip
    folder, python, uv = places[system]
    architecture = more.pop("architecture", "arm64" if system == "Darwin" else "x86_64")
    made = {"environment": Path(folder) if isinstance(folder, str) else folder, "uv": uv, "free_disk": 10**12, **more}
    return Host(
        system, architecture, "3.12.4", python, gpus=tuple(gpus), driver="560.94" if gpus else "", torch=torch, **made
    )


# --- what is planned -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "gpus", "shown", "command", "fallback"),
    [
        (
            "Windows", [RTX], ["GeForce RTX 3080 (10.7 GB), driver 560.94", "the build for the GPU", "about 3.0 GB", r"C:\Me & You\.venv"],
            r'"C:\Me & You\.venv\Scripts\uv.exe" pip install --python "C:\Me & You\.venv\Scripts\python.exe" --torch-backend=auto '
            r'"demucs-of-nobody>=4.1" "safetensors-of-nobody>=0.5" "torch>=2.6"', "",
        ),
        (
            "Linux", [RTX], ["the build for the GPU", "about 3.0 GB"],
            "/home/me/mp3restore/.venv/bin/uv pip install --python /home/me/mp3restore/.venv/bin/python --torch-backend=auto "
            "'demucs-of-nobody>=4.1' 'safetensors-of-nobody>=0.5' 'torch>=2.6'",
            "/home/me/mp3restore/.venv/bin/python -P -m pip install 'demucs-of-nobody>=4.1' 'safetensors-of-nobody>=0.5' 'torch>=2.6'",
        ),
        (
            "Darwin", [], ["the Mac's own", "the build for Macs", "about 130 MB"],
            "'/Users/me/m p/.venv/bin/uv' pip install --python '/Users/me/m p/.venv/bin/python' "
            "'demucs-of-nobody>=4.1' 'safetensors-of-nobody>=0.5' 'torch>=2.6'", "",
        ),
        (
            "Linux", [], ["none that models can use", "the build for the processor", "about 230 MB"],
            "/home/me/mp3restore/.venv/bin/uv pip install --python /home/me/mp3restore/.venv/bin/python --torch-backend=cpu "
            "'demucs-of-nobody>=4.1' 'safetensors-of-nobody>=0.5' 'torch>=2.6'",
            "/home/me/mp3restore/.venv/bin/python -P -m pip install 'demucs-of-nobody>=4.1' 'safetensors-of-nobody>=0.5' 'torch>=2.6'",
        ),
    ],
    ids=["windows-nvidia", "linux-nvidia", "mac", "none"],
)  # fmt: skip
def test_dry_run_shows_the_exact_commands_for_each_kind_of_machine(
    monkeypatch, capsys, system, gpus, shown, command, fallback
):
    monkeypatch.setattr(setup, "look", lambda: machine(system, gpus))
    monkeypatch.setattr(setup, "requirements", lambda: AI)
    monkeypatch.setattr(setup, "install", lambda *a: pytest.fail("nothing may be installed"))
    assert (
        setup.run(["apollo"], lambda keys: pytest.fail("nothing may be fetched"), backend="", yes=False, dry_run=True)
        == 0
    )
    told = capsys.readouterr().out
    lines = [line.strip() for line in told.splitlines()]
    assert all(text in told for text in shown), told
    assert (
        command in lines
        and "mp3restore models get apollo" in lines
        and lines[-2].endswith("-m engine.machine.gpu_probe")
    )
    assert (fallback in lines) if fallback else ("or, where" not in told)


def test_what_is_right_stays_and_what_is_wrong_makes_way():
    working = Torch("2.9.0+cu126", "cuda", "cuda", RTX.name, 1e-6)
    kept = setup.plan(machine(gpus=[RTX], torch=working), wanted=AI)
    assert "torch>=2.6" not in kept.requirements and not kept.backend and kept.download < 10**8  # only what is missing
    assert setup.plan(machine(torch=CPU_BUILD), wanted=["torch>=2.6"]).requirements == ()
    for torch, reason in (
        (CPU_BUILD, "a build for the processor alone, and there is a GPU"),
        (Torch("2.9.0+cu130", "cuda", "cpu"), "does not find the GPU"),
        (Torch("2.9.0+cu130", "cuda", "cuda", problem="no kernel image is available"), "no kernel image"),
        (Torch("2.4.0+cu121", "cuda", "cuda"), ">=2.6 is needed"),
    ):
        made = setup.plan(machine("Windows", [RTX], torch), wanted=["torch>=2.6"])
        assert reason in made.reason and made.replaced, torch
        assert made.command()[-4:] == ["--torch-backend=auto", "--reinstall-package", "torch", "torch>=2.6"]
        assert made.fallback() is None  # what else there is for Windows does not know the GPU
    old = setup.plan(machine("Windows", [GTX]), wanted=AI)
    assert "--torch-backend=cu126" in old.command()  # later builds have left it out
    asked = setup.plan(machine(torch=CPU_BUILD), "rocm6.4", wanted=AI)
    assert "--torch-backend=rocm6.4" in asked.command() and asked.replaced and asked.device == "cuda"
    linux = setup.plan(machine(gpus=[RTX], torch=CPU_BUILD), wanted=["torch>=2.6"]).fallback()
    assert (
        linux.command()[0].endswith("uv") and "--reinstall-package" in linux.command()
    )  # pip cannot replace one alone
    assert setup.plan(machine(), wanted=AI).fallback().download > 3e9  # what pip finds on Linux is large


def test_where_it_cannot_be_set_up_one_sentence_says_what_to_do():
    with pytest.raises(UsageError, match=r"Python that other programs use too.*launch.cmd or 'make run'"):
        setup.plan(machine(environment=None), wanted=AI)
    with pytest.raises(UsageError, match=r"takes about 9.7 GB .*5.0 GB are free"):
        setup.plan(machine(gpus=[RTX], free_disk=5 * 10**9), wanted=AI)
    with pytest.raises(UsageError, match="uv is missing"):
        setup.plan(machine(uv=""), wanted=AI)
    setup.plan(
        machine(environment=None, uv="", torch=CPU_BUILD), wanted=["torch>=2.6"]
    )  # nothing to do, nothing to refuse


def test_the_requirements_are_those_of_the_program_itself():
    names = {text.split(">")[0] for text in setup.requirements()}
    assert {"torch", "demucs", "safetensors"} <= names and "numpy" not in names and "kagayoi-audiosr" not in names
    assert set(setup.missing()) <= names


def test_the_build_is_known_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(devices, "_gpu_memory", lambda: RTX.memory)
    for line, build in (
        ("__version__ = '2.9.0'\ncuda: Optional[str] = None\nhip: Optional[str] = None", "cpu"),  # Windows, unmarked
        ("__version__ = '2.9.0'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None", "cuda"),
        ("cuda = '12.8'", "cuda"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'", "rocm"),
    ):
        (package / "version.py").write_text(line)
        assert gpu_probe.build() == build
        assert devices.likely() == ("cpu" if build == "cpu" else "cuda")


def test_a_torch_that_cannot_be_imported_or_crashes_is_a_finding(tmp_path, monkeypatch):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "version.py").write_text("cuda = '12.8'")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for text, problem in (
        ("raise OSError('[WinError 126] c10.dll')", "OSError: [WinError 126] c10.dll"),
        ("import os; print('{}'); os._exit(7)", "it ended with the code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ended with the signal 11"),
    ):
        (package / "__init__.py").write_text(text)
        found = gpu_probe.prove()
        assert not found.works and found.problem == problem and found.build == "cuda"


def test_pytorch_here_computes_what_it_should():
    pytest.importorskip("torch", reason="needs the extra 'ai'")
    found = gpu_probe.prove()
    assert found.works and 0 < found.difference < gpu_probe.TOLERANCE and found.build == gpu_probe.build()
    assert found.name in setup.outcome(setup.Plan(machine(), (), "cpu"), found)


def test_a_device_that_computes_something_else_is_found_out(monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
    whole = torch.nn.functional.conv1d
    monkeypatch.setattr(torch.nn.functional, "conv1d", lambda *a: whole(*a) * 1.01)
    assert "computes something else" in gpu_probe._compute().problem
    monkeypatch.setattr(torch.nn.functional, "conv1d", lambda *a: whole(*a) * float("nan"))
    assert not gpu_probe._compute().works


def test_the_outcome_is_what_was_wanted_or_an_error_that_says_what_to_do():
    made = setup.plan(machine("Windows", [RTX], CPU_BUILD), wanted=["torch>=2.6"])
    with pytest.raises(installer.InstallError, match="update its driver"):
        setup.outcome(made, Torch("2.9.0+cu130", "cuda", "cpu", "the processor", 1e-7))
    with pytest.raises(installer.InstallError, match="still not here"):
        setup.outcome(made, None)
    assert RTX.name in setup.outcome(made, Torch("2.9.0+cu126", "cuda", "cuda", RTX.name, 3e-7))


# --- installing ----------------------------------------------------------------------------------------------


@pytest.fixture
def tool(tmp_path):
    """``tool(code)``: a stand-in for uv or pip that runs ``code``; the folder it works in."""

    def make(code):
        path = tmp_path / "tool.py"
        path.write_text(
            "import os, pathlib, signal, sys, time\ndef say(text): print(text, file=sys.stderr, flush=True)\n"
            + textwrap.dedent(code)
        )
        return [sys.executable, str(path)]

    return make


def run(command, folder, seen=None, cancelled=None, pauses=()):
    told = seen if seen is not None else []
    installer.install(command, folder, told.append, cancelled or threading.Event(), pauses)
    return told


def test_progress_is_read_from_what_uv_and_pip_say(tool, tmp_path, monkeypatch):
    arrived = iter(range(0, 10**10, 400_000_000))
    monkeypatch.setattr(installer, "_received", lambda: next(arrived))
    code = """
        say('Resolved 30 packages in 1.2s')
        say('Downloading torch (2.5GiB)')
        say('Downloading demucs (500.0KiB)')
        say('\\x1b[32m Downloaded demucs\\x1b[0m')
        say('Prepared 5 packages in 3m')
        say('Installed 5 packages in 200ms')
    """
    told = run(tool(code), tmp_path)
    phases = [p.phase for p in told]
    assert [p for n, p in enumerate(phases) if p not in phases[:n]] == ["looking", "fetching", "installing"]
    whole = round(2.5 * 2**30 + 500 * 2**10)
    assert told[-1] == installer.Progress("installing", whole, whole)
    fetched = [p.received for p in told if p.phase == "fetching"]
    assert fetched == sorted(fetched) and 0 < fetched[-1] <= whole
    pip = "say('  Downloading torch-2.13.0-cp311.whl (191.8 MB)'); say('Installing collected packages: torch')"
    assert run(tool(pip), tmp_path)[-1] == installer.Progress("installing", 191_800_000, 191_800_000)


def test_cancelled_while_fetching_it_ends_at_once_and_leaves_no_process(tool, tmp_path):
    for stubborn in ("", "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"):
        command = tool(
            f"{stubborn}pathlib.Path('pid').write_text(str(os.getpid()))\nsay('Downloading torch (2.5GiB)')\ntime.sleep(600)"
        )
        cancelled, began = threading.Event(), time.monotonic()
        timer = threading.Timer(0.7, cancelled.set)
        timer.start()
        with pytest.raises(installer.CancelledError, match="nothing was changed"):
            run(command, tmp_path, cancelled=cancelled)
        assert time.monotonic() - began < 10
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_cancelled_while_installing_it_is_let_finish(tool, tmp_path):
    code = "say('Prepared 5 packages in 3m'); time.sleep(1.5); pathlib.Path('whole').write_text('x'); say('Installed 5 packages')"
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    with pytest.raises(installer.CancelledError, match="complete"):
        run(tool(code), tmp_path, cancelled=cancelled)
    assert (tmp_path / "whole").exists()


def test_a_broken_connection_is_tried_again(tool, tmp_path):
    code = """
        count = pathlib.Path('count'); done = int(count.read_text()) if count.exists() else 0
        count.write_text(str(done + 1))
        say('Downloading networkx (2.0MiB)'); say('Downloading torch (2.5GiB)')
        if done < 2:
            say('error: Failed to download `torch==2.9.1+cu128`')
            say('  cause: https://x/whl/cu128/torch-2.9.1.whl: error decoding response body')
            sys.exit(1)
        say('Prepared 2 packages'); say('Installed 2 packages')
    """
    run(tool(code), tmp_path, pauses=(0.01, 0.01))
    assert (tmp_path / "count").read_text() == "3"
    (tmp_path / "count").unlink()
    with pytest.raises(installer.BrokenConnectionError, match=r"connection broke.*kept"):
        run(tool(code), tmp_path, pauses=(0.01,))
    (tmp_path / "count").unlink()
    cancelled = threading.Event()
    threading.Timer(0.6, cancelled.set).start()
    with pytest.raises(installer.CancelledError):
        run(tool(code), tmp_path, cancelled=cancelled, pauses=(60.0,))


UNREACHABLE = (  # what uv 0.13.9 says
    "error: Request failed after 3 retries in 10.0s\n  cause: Failed to fetch: https://x/whl/cpu/torch/\n"
    "  cause: error sending request for url (https://x/whl/cpu/torch/)\n  cause: dns error"
)


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (UNREACHABLE, installer.IndexUnreachableError, "place where PyTorch keeps its builds"),
        ("error: Failed to fetch: https://x/simple/torch/\n  cause: operation timed out", installer.BrokenConnectionError, "connection broke"),
        ("WARNING: Retrying (Retry(total=4)) after NewConnectionError\nERROR: No matching distribution found for torch", installer.BrokenConnectionError, "connection broke"),
        ("Downloading networkx (2.0MiB)\nerror: No space left on device (os error 28)", installer.InstallError, "disk is full"),
        ("  × No solution found when resolving dependencies:\n  ╰─▶ Because torch has no wheels for Python 3.15, we fail", installer.InstallError, "Because torch has no wheels"),
        ("error: Failed to install: torch\n  cause: Access is denied. (os error 5)", installer.InstallError, "close all windows"),
        ("error: invalid peer certificate: UnknownIssuer", installer.InstallError, "SSL_CERT_FILE"),
        ("Downloading networkx (2.0MiB)\nerror: something \x1b[31mnew\x1b[0m", installer.InstallError, "Installing failed: something new"),
        ("", installer.InstallError, "said nothing"),
    ],
)  # fmt: skip
def test_failures_are_one_sentence(tool, tmp_path, said, kind, sentence):
    with pytest.raises(installer.InstallError, match=sentence) as caught:
        run(tool(f"say({said!r}) if {said!r} else None; sys.exit(2)"), tmp_path)
    assert type(caught.value) is kind and "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_tool_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(installer.InstallError, match="could not be started"):
        run([str(tmp_path / "nothing")], tmp_path)


def test_where_the_builds_are_out_of_reach_pip_takes_over(tool, tmp_path, monkeypatch, capsys):
    refusing = tool(f"say({UNREACHABLE!r}); sys.exit(2)")
    ran = []

    def command(self):
        ran.append((self.tool, self.backend))
        return refusing if self.backend else [sys.executable, "-c", "print('Installing collected packages')"]

    monkeypatch.setattr(setup, "look", lambda: machine(environment=tmp_path))
    monkeypatch.setattr(setup, "requirements", lambda: AI)
    monkeypatch.setattr(setup.Plan, "command", command)
    monkeypatch.setattr(gpu_probe, "prove", lambda: CPU_BUILD)
    got = []
    assert setup.run(["apollo"], got.extend, backend="", yes=True, dry_run=False) == 0
    told = capsys.readouterr().out
    assert ran == [("uv", "cpu"), ("pip", "")] and got == ["apollo"]
    assert "cannot be reached from here. The common package index has PyTorch too: about 3.0 GB" in told
    assert "PyTorch 2.9.0+cpu computes on the processor" in told
    monkeypatch.setattr(setup, "look", lambda: machine("Windows", [RTX], environment=tmp_path))
    assert setup.run([], got.extend, backend="", yes=True, dry_run=False) == 1  # there it would be of no use
    assert "cannot be reached from here. Check the connection" in capsys.readouterr().err


def test_pytorch_is_not_replaced_under_a_program_that_uses_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    made = setup.plan(machine(gpus=[RTX], torch=CPU_BUILD), wanted=["torch>=2.6"])
    with pytest.raises(UsageError, match="PyTorch is in use: quit mp3restore"):
        setup.carry_out(made, lambda progress: None, threading.Event())


def test_the_command_asks_nothing_without_a_terminal(monkeypatch):
    done = mp3restore("setup", "--backend", "cpu", stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "--yes" in done.stderr and "Traceback" not in done.stderr
    wrong = mp3restore("setup", "--models", "apolo", "--yes", stdin=subprocess.DEVNULL)
    assert wrong.returncode == 2 and "There is no model 'apolo'" in wrong.stderr
    shown = mp3restore("setup", "--dry-run", "--backend", "cu126", stdin=subprocess.DEVNULL)
    assert shown.returncode == 0 and any(
        "--torch-backend=cu126" in shlex.split(line) for line in shown.stdout.splitlines()
    )


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_ctrl_c_leaves_the_environment_as_it_was(tool, tmp_path):
    import signal

    command = tool(
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); say('Downloading torch (2.5GiB)'); time.sleep(600)"
    )
    code = f"""
import sys
from pathlib import Path
from engine.commands import setup
from engine.machine.host import Host
setup.look = lambda: Host("Linux", "x86_64", "3.12", sys.executable, Path({str(tmp_path)!r}), uv="uv")
setup.requirements = lambda: ["nothing-of-that-name"]
setup.Plan.command = lambda self: {command!r}
sys.exit(setup.run([], print, backend="", yes=True, dry_run=False))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    for line in child.stdout:
        if line.startswith("fetching"):
            break
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130 and "Stopped; nothing was changed." in told and "Traceback" not in told
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# --- doctor --------------------------------------------------------------------------------------------------


@pytest.fixture
def with_gpu(monkeypatch):
    """A machine with an RTX 3080."""
    gpu = monitor.Gpu(RTX.name, 0, RTX.memory, 40, 0, 20.0, "", RTX.capability)
    monkeypatch.setattr(monitor.Machine, "gpus", lambda self: [gpu])
    monkeypatch.setattr(monitor.Machine, "driver", lambda self: "560.94")


def pytorch():
    return next(f for f in doctor.examine(Path()) if f.topic == "PyTorch")


def test_a_build_for_the_processor_beside_a_gpu_is_a_problem(with_gpu, monkeypatch):
    monkeypatch.setattr(gpu_probe, "prove", lambda: CPU_BUILD)
    found = pytorch()
    assert found.verdict == "problem" and "processor alone" in found.text and "'mp3restore setup'" in found.advice
    monkeypatch.setattr(gpu_probe, "prove", lambda: Torch("2.9.0+cu126", "cuda", "cuda", RTX.name, 1e-6))
    monkeypatch.setattr(setup, "missing", lambda: [])
    assert pytorch().verdict == "ok" and RTX.name in pytorch().text
    monkeypatch.setattr(gpu_probe, "prove", lambda: Torch("2.9.0+cu126", "cuda", "cpu", "the processor", 1e-6))
    assert pytorch().verdict == "problem" and "does not find the GPU" in pytorch().text


def test_a_gpu_without_pytorch_is_a_note_with_the_same_advice(with_gpu, monkeypatch):
    monkeypatch.setattr(gpu_probe, "prove", lambda: None)
    assert pytorch().verdict == "note" and "'mp3restore setup'" in pytorch().advice
    assert "GPU" in pytorch().advice
    monkeypatch.setattr(monitor.Machine, "gpus", lambda self: [])
    assert pytorch().verdict == "note" and "'mp3restore setup'" in pytorch().advice


def test_what_is_missing_or_broken_is_told(monkeypatch):
    monkeypatch.setattr(gpu_probe, "prove", lambda: Torch(build="cpu", problem="OSError: c10.dll"))
    assert pytorch().verdict == "problem" and "c10.dll" in pytorch().text and "'mp3restore setup'" in pytorch().advice
    monkeypatch.setattr(gpu_probe, "prove", lambda: CPU_BUILD)
    monkeypatch.setattr(setup, "missing", lambda: ["demucs"])
    assert pytorch().verdict == "note" and "demucs" in pytorch().text and "'mp3restore setup'" in pytorch().advice


def test_an_idle_gpu_is_known_without_importing_anything(with_gpu, monkeypatch):
    for build, idle in (("", True), ("cpu", True), ("cuda", False), ("rocm", False)):
        monkeypatch.setattr(gpu_probe, "build", lambda build=build: build)
        assert host.gpu_is_idle() is idle
    monkeypatch.setattr(gpu_probe, "build", lambda: "")
    monkeypatch.setattr(monitor.Machine, "gpus", lambda self: [])
    assert not host.gpu_is_idle()
