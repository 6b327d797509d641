"""launch.cmd sets up, renews, and passes every argument on as it is (run by Wine where that is installed)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).resolve().parents[2] / "launch.cmd"


def test_it_is_written_so_that_cmd_cannot_misread_it():
    data = LAUNCHER.read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") and data.isascii()
    text = data.decode().replace("\r\n", "\n")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("rem "))
    assert "setlocal DisableDelayedExpansion" in code and "chcp 65001" in code
    assert code.count("%*") == 1 and "(\n" not in code
    assert code.count("%~dp0") == code.count('"HERE=%~dp0"')
    assert (
        "fc.exe" not in code.replace('"%SystemRoot%\\System32\\fc.exe"', "")
        and "NoDefaultCurrentDirectoryInExePath=1" in code
    )
    assert code.count("%HERE%") == code.count('"%HERE%') + code.count('"PY=%HERE%')


def test_every_way_through_it_leads_somewhere():
    lines = LAUNCHER.read_text().splitlines()
    labels = {line[1:] for line in lines if line.startswith(":")}
    assert {match[1] for line in lines if (match := re.search(r"\bgoto (\w+)", line))} == labels - {
        "start",
        "ready",
    } | {"start", "ready"}
    after_pip = [lines[n + 1] for n, line in enumerate(lines) if "-m pip install" in line]
    assert after_pip == ["if errorlevel 1 goto stale", "if errorlevel 1 goto failed"]  # no stamp for what failed
    assert lines.index(":ready") + 1 == next(n for n, line in enumerate(lines) if line.startswith("copy "))


class Batch:
    """As much of cmd.exe as the launcher uses, for what Wine's stand-ins cannot do: report an exit code.

    ``answer(words)`` gives the exit code of a program. ``ran`` are the programs, ``told`` what was printed.
    """

    def __init__(self, folder, answer):
        self.folder, self.answer = folder, answer
        self.variables = {"SystemRoot": r"C:\Windows"}
        self.ran, self.told, self.level = [], [], 0

    def start(self, *arguments):
        lines = (self.folder / "launch.cmd").read_text().splitlines()
        at = 0
        while at < len(lines):
            line = lines[at].replace("%~dp0", f"{self.folder}/").replace("%*", " ".join(arguments))
            line = re.sub(r"%(\w+)%", lambda m: str(self.level) if m[1] == "errorlevel" else self.variables[m[1]], line)
            jump = self._do(line.replace("\\.", "/.").replace("\\Scripts\\", "/Scripts/"))
            if jump is None:
                return self
            at = lines.index(f":{jump}") if jump else at + 1
        raise AssertionError("it ran off its end")

    def _do(self, line):
        """The label to go on from, "" for the next line, None at the end."""
        if match := re.fullmatch(r'if (not )?exist "([^"]*)" (.*)', line):
            return self._do(match[3]) if Path(match[2]).exists() != bool(match[1]) else ""
        if match := re.fullmatch(r"if (not )?errorlevel (\d+) (.*)", line):
            return self._do(match[3]) if (self.level >= int(match[2])) != bool(match[1]) else ""
        if match := re.fullmatch(r"goto (\w+)", line):
            return match[1]
        if match := re.fullmatch(r'set "(\w+)=(.*)"', line):
            self.variables[match[1]] = match[2]
        elif match := re.fullmatch(r"exit /b (\d+)", line):
            self.level = int(match[1])
            return None
        elif match := re.fullmatch(r"echo ([^&|<>()%!]*(\(.*\))?.*)", line):
            self.told.append(match[1])
        elif " && " in line:
            first, second = line.split(" && ")
            self._do(first)
            return self._do(second) if self.level == 0 else ""
        elif not re.match(r"@echo off|rem |setlocal |:|chcp |$", line):
            self._run([a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', re.sub(r" 2?>nul", "", line))])
        return ""

    def _run(self, words):
        words = [word for word in words if word != "-P"]  # that it is there, tests/audio/test_reading.py sees
        if words[0] == "copy":
            shutil.copy(words[3], words[4])
            return
        self.ran.append(" ".join(words[1:3]) if "python" in words[0] else words[0])
        if words[1:3] == ["-m", "venv"] or words[2:4] == ["-m", "venv"]:
            (Path(words[-1]) / "Scripts").mkdir(parents=True)
            (Path(words[-1]) / "Scripts" / "python.exe").touch()
        if words[0].endswith("fc.exe"):
            first, second = (Path(name).read_bytes() for name in words[-2:])
            self.level = int(first != second)
        else:
            self.level = self.answer(words)


@pytest.fixture
def launch(tmp_path):
    """``launch(failing)``: a start in which the commands that hold the word ``failing`` fail."""
    folder = tmp_path / "sp ace & x! Ü"
    folder.mkdir()
    shutil.copy(LAUNCHER, folder)
    (folder / "pyproject.toml").write_text("one")

    def start(failing="nothing"):
        done = Batch(folder, lambda words: int(failing in words)).start()
        done.asked = [name for name in done.ran if name.startswith("-m")]
        return done

    start.folder = folder
    return start


def test_it_sets_up_once_and_renews_when_the_program_changed(launch):
    ready = launch.folder / ".venv" / ".ready"
    assert launch().asked == ["-m pip", "-m tui"] and ready.read_text() == "one"  # (py -3 -m venv came before)
    assert launch().asked == ["-m tui"]
    for text in ("two", "three", ""):
        (launch.folder / "pyproject.toml").write_text(text)
        renewed = launch()
        assert renewed.asked == ["-m pip", "-m tui"] and "PyTorch and models stay" in renewed.told[0]
        assert not any("venv" in name for name in renewed.ran) and ready.read_text() == text
        assert launch().asked == ["-m tui"]


def test_where_it_cannot_renew_it_starts_all_the_same_and_tries_again(launch):
    launch()
    (launch.folder / "pyproject.toml").write_text("two")
    stale = launch(failing="pip")
    assert (
        stale.asked == ["-m pip", "-m tui"] and "tried again at the next start" in stale.told[-1] and stale.level == 0
    )
    assert launch().asked == ["-m pip", "-m tui"] and launch().asked == ["-m tui"]


def test_a_first_start_that_failed_begins_again(launch):
    failed = launch(failing="pip")
    assert (
        failed.level == 2 and "Setting up failed" in failed.told[-1] and not (launch.folder / ".venv/.ready").exists()
    )
    shutil.rmtree(launch.folder / ".venv")
    assert launch().level == 0 and (launch.folder / ".venv/.ready").exists()
    shutil.rmtree(launch.folder / ".venv")
    assert "needs Python 3.11" in launch(failing="-c").told[-1]


@pytest.fixture
def program(tmp_path):
    """The launcher in a folder with an awkward name, and a stand-in for Python that writes down its arguments."""
    if shutil.which("wine") is None:
        pytest.skip("needs Wine")
    folder = tmp_path / "sp ace & (x)! Ü"
    scripts = folder / ".venv" / "Scripts"
    scripts.mkdir(parents=True)
    shutil.copy(LAUNCHER, folder)
    for stamp in (folder / "pyproject.toml", folder / ".venv" / ".ready"):
        stamp.write_text("one")
    python = scripts / "python.exe"
    python.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        f"json.dump(sys.argv[1:], open({str(tmp_path / 'argv.json')!r}, 'w'))\n"
    )
    python.chmod(0o755)
    return folder


@pytest.mark.slow
def test_arguments_arrive_untouched(program, tmp_path):
    arguments = [
        "--no-tui", r"D:\My Music & more", "(x)", "wow!", "a ^ b", "Ünï – 日本", "50%% off", "a,b;c=d", "[bold]", "'q'",
    ]  # fmt: skip
    environment = {**os.environ, "WINEDEBUG": "-all", "LC_ALL": "C.UTF-8", "WINEPREFIX": str(tmp_path / "wine")}
    done = subprocess.run(
        ["wine", "cmd", "/c", "launch.cmd", *arguments],
        cwd=program, env=environment, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert (tmp_path / "argv.json").exists(), done.stderr
    got = json.loads((tmp_path / "argv.json").read_text())
    assert got[:3] == ["-P", "-m", "tui"]
    assert [a.replace("50% off", "50%% off") for a in got[3:]] == arguments
