"""What the machine is and how it is doing: GPU (NVML), processor, memory, disk."""

from __future__ import annotations

import platform
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_RETRY_SECONDS = 10.0
_THROTTLE_BITS = {  # nvml.h, nvmlClocksEventReasons
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "too hot",
    0x0000000000000040: "too hot",
    0x0000000000000080: "power brake",
}


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU at one moment. Memory in bytes, load in per cent, power in watts; None where it is not told.

    ``capability`` is (major, minor) of its generation, as builds of PyTorch count them.
    """

    name: str
    memory_used: int | None
    memory_total: int | None
    temperature: int | None
    load: int | None
    power: float | None
    throttled: str
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Sample:
    """The machine at one moment. Loads in per cent, sizes in bytes."""

    gpus: tuple[Gpu, ...]
    cpu: float
    memory_used: int
    memory_total: int
    disk_free: int


class Machine:
    """Reads the machine; a GPU that is lost is looked for again every ten seconds. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = False
        self._next_try = 0.0
        psutil.cpu_percent()  # the first reading is the start of the first interval

    def sample(self) -> Sample:
        """Read everything. Never raises for what a driver does."""
        state = psutil.virtual_memory()
        try:
            disk = free_disk(self._folder)
        except OSError:
            disk = 0
        used = int(state.total - state.available)
        return Sample(tuple(self.gpus()), psutil.cpu_percent(), used, int(state.total), disk)

    def gpus(self) -> list[Gpu]:
        """All GPUs that answer; empty where there is none or no driver."""
        import pynvml

        if not self._ready and time.monotonic() < self._next_try:
            return []
        try:
            if not self._ready:
                pynvml.nvmlInit()
                self._ready = True
            count = pynvml.nvmlDeviceGetCount()
            return [_read_gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
        except pynvml.NVMLError:
            self._ready = False
            self._next_try = time.monotonic() + _RETRY_SECONDS
            return []

    def driver(self) -> str:
        """The driver's version; empty where there is none."""
        import pynvml

        try:
            return _text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError:
            return ""


def _read_gpu(nvml: Any, handle: Any) -> Gpu:
    """One GPU. A metric that a card does not have is None; a card that is gone raises NVMLError."""

    def ask(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, AttributeError):
            return None

    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    load = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    power = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = ask(lambda: nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
    if heat is None:
        heat = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    reasons = ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if reasons is None:
        reasons = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    generation = ask(lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        temperature=None if heat is None else int(heat),
        load=None if load is None else int(load.gpu),
        power=None if power is None else power / 1000,
        throttled=next((name for bit, name in _THROTTLE_BITS.items() if (reasons or 0) & bit), ""),
        capability=None if generation is None else (int(generation[0]), int(generation[1])),
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Poller:
    """Samples a machine once a second on a thread of its own and hands each sample on."""

    def __init__(self, machine: Machine, receive: Callable[[Sample], None], interval: float = 1.0) -> None:
        self._machine, self._receive, self._interval = machine, receive, interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="monitor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a sample on its way may still arrive."""
        self._end.set()

    def _work(self) -> None:
        while not self._end.wait(self._interval):
            self._receive(self._machine.sample())


def system() -> str:
    """Operating system and processor in one phrase."""
    version = "" if platform.system() == "Linux" else f" {platform.release()}"
    return f"{platform.system()}{version}, {platform.machine()}, {psutil.cpu_count()} cores"


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
