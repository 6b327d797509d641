"""launch.cmd passes every argument on as it is (run by Wine where that is installed)."""

from __future__ import annotations

import json
import os
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
    assert code.count("%HERE%") == code.count('"%HERE%') + code.count('"PY=%HERE%')


@pytest.fixture
def program(tmp_path):
    """The launcher in a folder with an awkward name, and a stand-in for Python that writes down its arguments."""
    if shutil.which("wine") is None:
        pytest.skip("needs Wine")
    folder = tmp_path / "sp ace & (x)! Ü"
    scripts = folder / ".venv" / "Scripts"
    scripts.mkdir(parents=True)
    shutil.copy(LAUNCHER, folder)
    (folder / ".venv" / ".ready").write_text("ready")
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
