"""What the machine is and has: GPU (NVML), memory, disk."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU. Memory in bytes; None where the driver does not tell."""

    name: str
    memory_total: int | None
    memory_free: int | None
    driver: str


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine; empty where there is none or no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return [_gpu(pynvml.nvmlDeviceGetHandleByIndex(i), driver) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object, driver: str) -> Gpu:
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except pynvml.NVMLError:
        return Gpu(str(pynvml.nvmlDeviceGetName(handle)), None, None, driver)
    return Gpu(str(pynvml.nvmlDeviceGetName(handle)), total, free, driver)


def system() -> str:
    """Operating system and processor in one phrase."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}, {psutil.cpu_count()} cores"


def memory() -> tuple[int, int]:
    """(free, total) bytes of main memory."""
    state = psutil.virtual_memory()
    return int(state.available), int(state.total)


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of ``folder`` or of the nearest parent that exists. Raises OSError."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
