"""What matters of this machine for setting the AI models up: system, Python, GPU, PyTorch, and the tools to install."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from engine.machine import gpu_probe, monitor
from engine.machine.gpu_probe import Torch


@dataclass(frozen=True)
class NvidiaGpu:
    """``memory`` in bytes (0: not told), ``capability`` as NVIDIA counts its generations; None where not told."""

    name: str
    memory: int = 0
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Host:
    """The machine and the environment that the program runs in.

    ``system`` is ``Windows``, ``Linux`` or ``Darwin``; ``environment`` is the folder that belongs to this program
    alone, None where it runs on a Python that others use too. ``uv`` is empty where that is not here.
    """

    system: str
    architecture: str
    python: str
    executable: str
    environment: Path | None
    gpus: tuple[NvidiaGpu, ...] = ()
    driver: str = ""
    torch: Torch | None = None
    uv: str = ""
    pip: bool = True
    free_disk: int = 0

    @property
    def has_gpu(self) -> bool:
        """Whether there is one that PyTorch has a build for: NVIDIA's, or that of a Mac with Apple's processor."""
        return bool(self.gpus) or (self.system == "Darwin" and self.architecture == "arm64")


def look() -> Host:
    """This machine. Takes some seconds where PyTorch is installed, as that is tried; never raises."""
    machine = monitor.Machine(Path())
    own = Path(sys.prefix) if sys.prefix != sys.base_prefix else None
    gpus = tuple(NvidiaGpu(gpu.name, gpu.memory_total or 0, gpu.capability) for gpu in machine.gpus())
    return Host(
        system=platform.system(), architecture=platform.machine(), python=platform.python_version(),
        executable=sys.executable, environment=own, gpus=gpus, driver=machine.driver(), torch=gpu_probe.prove(),
        uv=_uv(), pip=importlib.util.find_spec("pip") is not None, free_disk=_free(Path(sys.prefix)),
    )  # fmt: skip


def gpu_is_idle() -> bool:
    """Whether there is an NVIDIA GPU that models cannot use, for want of a build of PyTorch that knows it. Fast."""
    return gpu_probe.build() in ("", "cpu") and bool(monitor.Machine(Path()).gpus())


def _uv() -> str:
    """Where uv is: the package's, else whichever the user has."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, OSError):
        return shutil.which("uv") or ""


def _free(folder: Path) -> int:
    try:
        return monitor.free_disk(folder)
    except OSError:
        return 0
