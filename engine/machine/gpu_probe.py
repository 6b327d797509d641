"""What PyTorch is here and whether it computes: asked of a process of its own, so that nothing is loaded in this one.

As a program (``python -m engine.machine.gpu_probe``) it is that process: it imports torch, runs a small convolution
on the best device there is, compares it with another way to the same result, and prints one line of JSON.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.machine import child_process

TOLERANCE = 1e-3  # relative; single precision comes to about 1e-6, a broken kernel to anything
_PATIENCE = 240.0  # seconds: the first import of a CUDA build from a slow disk, with a virus scanner reading along


@dataclass(frozen=True)
class Torch:
    """PyTorch as it was found.

    ``build`` is ``cpu``, ``cuda``, ``rocm`` or ``mps``: what it was built for. ``device`` is what it really computes
    on (``cpu``, ``cuda``, ``mps``), ``name`` that device's own name, ``difference`` the relative difference between
    the two ways to the same result. ``problem`` is empty, or one phrase that says what is wrong.
    """

    version: str = ""
    build: str = "cpu"
    device: str = "cpu"
    name: str = ""
    difference: float = 0.0
    problem: str = ""

    @property
    def works(self) -> bool:
        """Whether it was imported and computed what it should."""
        return not self.problem


def build() -> str:
    """What the PyTorch that is installed was built for, in a millisecond; empty where there is none.

    The version's own name does not tell: on Windows the common build is for the processor alone and carries no mark.
    """
    spec = importlib.util.find_spec("torch")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        return ""
    try:
        text = (Path(places[0]) / "version.py").read_text("utf-8")
    except OSError:
        return "cpu"
    made_for = {name for name in ("cuda", "hip") if re.search(rf"^{name}\b[^=\n]*=\s*['\"]", text, re.MULTILINE)}
    if "hip" in made_for:
        return "rocm"
    return "cuda" if made_for else "mps" if sys.platform == "darwin" else "cpu"


def prove() -> Torch | None:
    """Have PyTorch compute something in a process of its own; None where there is no PyTorch. Never raises."""
    if importlib.util.find_spec("torch") is None:
        return None
    command = child_process.command("engine.machine.gpu_probe")
    try:
        done = subprocess.run(
            command, env=child_process.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            encoding="utf-8", errors="backslashreplace", timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Torch(build=build(), problem=f"it did not answer within {_PATIENCE:.0f} seconds")
    except OSError as error:
        return Torch(build=build(), problem=str(error))
    return _read(done.stdout) or Torch(build=build(), problem=_last_line(done.stderr) or _fate(done.returncode))


def _read(output: str) -> Torch | None:
    """The last line that is an answer: drivers and libraries like to print things of their own."""
    names = {item.name for item in fields(Torch)}
    for line in reversed(output.splitlines()):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and set(told) == names:
            return Torch(**told)
    return None


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _fate(code: int) -> str:
    return f"it ended with the signal {-code}" if code < 0 else f"it ended with the code {code}"


# --- in the process of its own -------------------------------------------------------------------------------


def main() -> None:
    """Look, compute, print."""
    try:
        found = _compute()
    except Exception as error:  # a broken installation can fail in any way, and that is what is asked for
        found = Torch(build=build(), problem=f"{type(error).__name__}: {error}".splitlines()[0])
    print(json.dumps(asdict(found)), flush=True)


def _compute() -> Torch:
    import torch

    kind, device, name = build(), "cpu", "the processor"
    if torch.cuda.is_available():
        device, name = "cuda", str(torch.cuda.get_device_name())
    elif torch.backends.mps.is_available():
        device, name = "mps", "the Mac's GPU"
    try:
        difference = _difference(torch, device)
        problem = "" if difference <= TOLERANCE else f"{name} computes something else ({difference:.0e} off)"
    except RuntimeError as error:
        difference, problem = math.inf, str(error).splitlines()[0]
    return Torch(str(torch.__version__), kind, device, name, difference, problem)


def _difference(torch: Any, device: str) -> float:
    """Relative difference of a convolution on ``device`` from the same by matrix products on the processor."""
    torch.backends.cudnn.allow_tf32 = False  # it is the GPU that is in question, not its short mantissa
    draw = torch.Generator().manual_seed(0)
    signal = torch.randn((2, 16, 2048), generator=draw)
    kernel = torch.randn((32, 16, 9), generator=draw)
    made = torch.nn.functional.conv1d(signal.to(device), kernel.to(device)).double().cpu()
    windows = signal.double().unfold(2, 9, 1)  # (batch, channels, places, taps)
    exact = torch.einsum("bcpt,oct->bop", windows, kernel.double())
    return float((made - exact).norm() / exact.norm())


if __name__ == "__main__":
    main()
