"""Where models run, how much memory is free there, and what to do when it runs out. torch is imported when needed."""

from __future__ import annotations

import importlib.util
import platform
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
import psutil

from engine.audio.readers import Audio
from engine.errors import NotPossibleError, UsageError
from engine.machine import gpu_probe, measurements, monitor
from engine.text import size

T = TypeVar("T")
R = TypeVar("R")
Precision = Literal["fp32", "fp16", "bf16"]
_SPARE = 600_000_000  # bytes that are left to the system, the screen and the libraries
_HALF_ERROR = 0.02  # relative, of one run of a network
_USED = 0.8  # of what is then free


def likely() -> str:
    """``cpu``, ``cuda`` or ``mps``, as far as can be told without the seconds that importing torch takes."""
    build = gpu_probe.build()
    if build == "mps":
        return "mps" if platform.machine() == "arm64" else "cpu"
    return "cuda" if build == "rocm" or (build == "cuda" and _gpu_memory() is not None) else "cpu"


def _gpu_memory() -> int | None:
    """Bytes of memory of the first GPU that NVML tells of."""
    found = monitor.Machine(Path()).gpus()
    return (found[0].memory_total or 0) if found else None


def choose(wanted: str) -> str:
    """``cpu``, ``cuda`` or ``mps`` for what the user wants (or ``auto``). Raises UsageError where it is not here."""
    if wanted == "cpu" or (wanted == "auto" and likely() == "cpu"):
        return "cpu"
    if importlib.util.find_spec("torch") is None:
        raise UsageError(f"--device {wanted} needs PyTorch: run 'mp3restore setup', or leave --device out.")
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next((name for name, found in here.items() if found), "cpu")
    if not here[wanted]:
        raise UsageError(f"PyTorch finds no {wanted} device here: leave --device out, or use --device cpu.")
    return wanted


def total_memory() -> int | None:
    """Bytes of memory of the GPU that networks would run on; None where they would run on the processor."""
    here = likely()
    if here == "cpu":
        return None
    if here == "mps":
        return int(psutil.virtual_memory().total // 2)  # shared with everything else
    return _gpu_memory() or 0


def free_memory(device: str) -> int:
    """Bytes that a model may use on ``device`` now."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(max(0, free + kept - _SPARE))
    return int(max(0, psutil.virtual_memory().available - _SPARE))


def batch_that_fits(device: str, model: str, guess: int, most: int) -> int:
    """How many items of ``model`` can be worked on at once: 1 to ``most``; 1 on a processor.

    ``guess`` is the bytes that an item takes, until it was measured on this machine (see :func:`measured`).
    """
    if device == "cpu":
        return 1  # nothing is gained by more: one item keeps all cores busy
    cost = measurements.recall(_memory_of(model, device)) or guess
    return max(1, min(most, int(free_memory(device) * _USED / cost)))


def _memory_of(model: str, device: str) -> str:
    return f"bytes of {model} on {device}"


@contextmanager
def measured(device: str, model: str, items: int) -> Iterator[None]:
    """Remembers the memory that ``items`` took at their worst while this lasts, where the device tells."""
    if device != "cuda":
        yield
        return
    import torch

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    yield
    taken = (torch.cuda.max_memory_allocated() - before) / items
    if taken > (measurements.recall(_memory_of(model, device)) or 0.0):
        measurements.remember(_memory_of(model, device), taken)


def precision(device: str, wanted: str, compute: Callable[[Precision], Audio]) -> Precision:
    """``wanted``; for ``auto`` the half precision in which ``compute`` comes out as in single, on NVIDIA alone.

    On processors half precision is slower (bf16 four times on AVX2), so that there ``auto`` means single.
    """
    if wanted in get_args(Precision):
        return cast(Precision, wanted)
    if device != "cuda":
        return "fp32"
    exact = compute("fp32")
    for how in ("fp16", "bf16"):
        error = float(np.linalg.norm(compute(how) - exact) / max(float(np.linalg.norm(exact)), 1e-9))
        if error <= _HALF_ERROR:  # false for what is not a number
            return how
    return "fp32"


@contextmanager
def autocast(device: str, how: Precision) -> Iterator[None]:
    """Matrix products and convolutions in half precision, all that is delicate in single, while this lasts."""
    import torch

    if how == "fp32":
        yield
        return
    with torch.autocast(device, torch.float16 if how == "fp16" else torch.bfloat16):
        yield


# --- models that are loaded ----------------------------------------------------------------------------------

_lock = threading.RLock()
_loaded: OrderedDict[tuple[Any, str], tuple[Any, int]] = OrderedDict()


@contextmanager
def borrowed(key: Any, device: str, needed: int, load: Callable[[], Any]) -> Iterator[Any]:
    """The model ``key`` on ``device`` for this thread alone; loaded once, and kept until its room is needed.

    Args:
        key: what decides the weights (the file and its time, say).
        needed: bytes that it takes when loaded; the models that were used least lately make room for it.
        load: gives the model, on ``device``.
    """
    with _lock:
        if (key, device) not in _loaded:
            _make_room(device, needed)
            _loaded[key, device] = (load(), needed)
        _loaded.move_to_end((key, device))
        yield _loaded[key, device][0]


def _make_room(device: str, needed: int) -> None:
    for other in [entry for entry in _loaded if entry[1] == device]:
        if free_memory(device) >= needed:
            return
        del _loaded[other]
        release(device)


def unload_all() -> None:
    """Forget every model."""
    with _lock:
        devices = {device for _, device in _loaded}
        _loaded.clear()
        for device in devices:
            release(device)


def release(device: str) -> None:
    """Give memory that nothing holds any more back to the system."""
    import gc

    gc.collect()
    if device != "cpu":
        import torch

        (torch.cuda if device == "cuda" else torch.mps).empty_cache()


# --- when memory runs out ------------------------------------------------------------------------------------


_LOST = (
    "cuda error",
    "cuda driver error",
    "cudnn error",
    "cudnn_status",
    "cublas_status",
    "device is lost",
    "mps error",
)


@dataclass(frozen=True)
class Attempt:
    """How to try: on which device, and whether in shorter pieces than usual."""

    device: str
    short: bool = False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is what PyTorch or Python raises when memory runs out."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError") and "memory" in str(error).lower():
        return True
    text = str(error).lower()
    told = ("out of memory", "can't allocate memory", "failed to allocate", "not enough memory")
    return isinstance(error, RuntimeError) and any(part in text for part in told)


def is_lost(error: BaseException) -> bool:
    """Whether this is what PyTorch raises when a GPU does not work any more, for whatever reason: until the program is
    started again it will not."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _LOST) and not is_out_of_memory(error)


def with_oom_fallback(
    work: Callable[[list[T], Attempt], list[R]], items: list[T], device: str, tell: Callable[[str], None]
) -> list[R]:
    """``work(items)``; where memory runs out fewer items at once, then shorter pieces, then this one on the processor.

    ``tell`` hears one sentence for every step down. The next call begins at the top again.

    Raises:
        NotPossibleError: there is not enough memory on the processor either.
    """
    done = _attempt(work, items, Attempt(device))
    if done is not None:
        return done
    release(device)
    where = "The GPU's memory" if device != "cpu" else "Memory"
    if len(items) > 1:
        middle = len(items) // 2
        tell(f"{where} ran out: worked on {middle} instead of {len(items)} pieces at once.")
        return [
            *with_oom_fallback(work, items[:middle], device, tell),
            *with_oom_fallback(work, items[middle:], device, tell),
        ]
    tell(f"{where} ran out: worked in shorter pieces.")
    done = _attempt(work, items, Attempt(device, short=True))
    if done is None and device != "cpu":
        release(device)
        tell(f"{where} ran out: a piece was worked on by the processor instead.")
        done = _attempt(work, items, Attempt("cpu")) or _attempt(work, items, Attempt("cpu", short=True))
    if done is None:
        free = size(free_memory("cpu"))
        raise NotPossibleError(f"There is not enough memory for this model ({free} are free): close other programs.")
    return done


def in_halves(run: Callable[[Audio], Audio], audio: Audio, edge: int) -> Audio:
    """``run`` on both halves of ``(frames, channels)``, each with the ``edge`` frames of the other that decide it."""
    middle = len(audio) // 2
    first = run(audio[: middle + edge])[:middle]
    second = run(audio[max(0, middle - edge) :])
    return np.concatenate([first, second[middle - max(0, middle - edge) :]])


def _attempt(work: Callable[[list[T], Attempt], list[R]], items: list[T], how: Attempt) -> list[R] | None:
    """None where memory ran out; by then nothing holds what the attempt had allocated."""
    try:
        return work(items, how)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None
