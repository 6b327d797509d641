"""A GPU whose memory runs out at any batch and at every rung of the ladder, and one that is lost. It is made up: what is
asked of it is what is asked of a true one, and the samples do not depend on who computes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random

from engine.models import separators
from engine.models.runtime import device as devices
from tests.torture.deeds import done_quietly
from tests.torture.faults import base, kind, undisturbed, wrong_at_once
from tests.torture.places import differences, meaning, stray
from tests.torture.processes import forked
from tests.torture.quick import GPU, SEPARATOR

_CASES = 100
_OUT_OF_MEMORY = ("CUDA out of memory. Tried to allocate 2.00 GiB", "MPS backend out of memory (MPS allocated: 5 GB)")
_LOST = (
    "CUDA error: unspecified launch failure", "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered", "CUDA error: the launch timed out and was terminated",
    "CUDA error: uncorrectable ECC error encountered", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA driver error: device is lost", "CUDA error: GPU is lost",
)  # fmt: skip


@dataclass
class _Failing:
    """Raises at the questions from ``first`` on: ``most`` of them, and only where more than ``fits`` pieces are asked for,
    or longer ones, as it is said. ``met`` counts."""

    first: int
    most: int
    fits: int
    short_fits: bool
    on_processor: bool
    text: str
    asked: int = 0
    met: int = field(default=0)

    def __call__(self, pieces: int, how: devices.Attempt) -> None:
        self.asked += 1
        if how.device == "cpu" and not self.on_processor:
            return
        fits = pieces <= self.fits or (how.short and self.short_fits)
        if self.asked >= self.first and self.met < self.most and not fits:
            self.met += 1
            raise RuntimeError(self.text)


@contextmanager
def _with_gpu(failing: _Failing) -> Iterator[None]:
    """In this process the separator works on a GPU, which fails."""
    separators.SEPARATORS[SEPARATOR] = replace(separators.SEPARATORS[SEPARATOR], neural=True)
    choose, free = devices.choose, devices.free_memory
    devices.choose, devices.free_memory = lambda wanted: "cuda", lambda device: 1 << 30
    GPU.append(failing)
    try:
        yield
    finally:
        GPU.remove(failing)
        devices.choose, devices.free_memory = choose, free


def _run_on_gpu(failing: _Failing, songs_lost: int, name: str) -> tuple[int, str]:
    at = base(name)

    def work() -> tuple[int, object]:
        with _with_gpu(failing):
            done = done_quietly(at.deed, at.place)
        return failing.met, done

    ended = forked(work)
    if ended.raised:
        return 0, ended.raised[-1500:]
    met, done = ended.found
    if wrong := wrong_at_once(at, replace(ended, found=done), songs_lost):
        return met, wrong
    again = undisturbed(at.place, at.deed)
    if again.raised or again.found.problems:
        return met, f"done again: {again.raised[-1500:] or again.found.problems}"
    snapshot = at.place.snapshot()
    found, wanted = (
        {one: what for one, what in state.items() if not one.endswith(".json")}
        for state in (meaning(snapshot), at.wanted)
    )  # the markers tell of the device
    return met, differences(found, wanted) or stray(snapshot)


def _out_of_memory(seed: int) -> tuple[int, str]:
    """The memory runs out, and the song is done all the same: with fewer pieces, shorter ones, or by the processor."""
    dice = Random(f"memory/{seed}")
    failing = _Failing(
        first=dice.randint(1, 8), most=dice.choice((1, 2, 3, 5, 99)), fits=dice.choice((0, 0, 1)), short_fits=dice.random() < 0.5,
        on_processor=False, text=dice.choice(_OUT_OF_MEMORY),
    )  # fmt: skip
    return _run_on_gpu(failing, 0, dice.choice(("run", "force")))


def _nowhere(seed: int) -> tuple[int, str]:
    """There is not enough memory on the processor either."""
    dice = Random(f"nowhere/{seed}")
    failing = _Failing(dice.randint(1, 8), 99, dice.choice((0, 0, 1)), False, True, dice.choice(_OUT_OF_MEMORY))
    return _run_on_gpu(failing, 2, "run")


def _gpu_lost(seed: int) -> tuple[int, str]:
    """It does not answer any more, from some moment on."""
    dice = Random(f"lost/{seed}")
    failing = _Failing(dice.randint(1, 8), 10**6, 0, False, False, _LOST[seed % len(_LOST)])
    return _run_on_gpu(failing, 2, dice.choice(("run", "force")))


kind(
    "gpu-memory",
    "A GPU's memory runs out at any batch and on any rung of the ladder",
    lambda: list(range(_CASES)),
    _out_of_memory,
)
kind("no-memory", "There is not enough on the GPU nor for the processor", lambda: list(range(_CASES // 4)), _nowhere)
kind("gpu-lost", "The GPU does not work any more from some batch on", lambda: list(range(_CASES // 2)), _gpu_lost)
