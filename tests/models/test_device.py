"""The ladder for when memory runs out, rung by rung; models that are kept and make room; choices of device."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import NotPossibleError, UsageError
from engine.machine import measurements
from engine.models.runtime import device as devices
from engine.models.runtime.device import Attempt
from engine.planning import recipes


@pytest.fixture
def ladder(monkeypatch):
    """``ladder(items, fails)``: what was tried, what was told, what came; ``fails(items, how)`` runs out of memory."""
    monkeypatch.setattr(devices, "release", lambda device: None)

    def run(items, fails, device="cuda"):
        tried, told = [], []

        def work(some, how):
            tried.append((len(some), how))
            if fails(some, how):
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return [item * 10 for item in some]

        return tried, told, lambda: devices.with_oom_fallback(work, items, device, told.append)

    return run


def test_nothing_is_tried_twice_where_memory_suffices(ladder):
    tried, told, go = ladder([1, 2, 3, 4], lambda some, how: False)
    assert go() == [10, 20, 30, 40] and tried == [(4, Attempt("cuda"))] and not told


def test_a_smaller_batch_comes_first(ladder):
    tried, told, go = ladder([1, 2, 3, 4, 5], lambda some, how: len(some) > 2)
    assert go() == [10, 20, 30, 40, 50]
    assert [count for count, _ in tried] == [5, 2, 3, 1, 2] and {how for _, how in tried} == {Attempt("cuda")}
    assert told == ["The GPU's memory ran out: worked on 2 instead of 5 pieces at once.",
                    "The GPU's memory ran out: worked on 1 instead of 3 pieces at once."]  # fmt: skip


def test_then_shorter_pieces_then_the_processor_for_this_one_alone(ladder):
    tried, told, go = ladder([1], lambda some, how: not how.short)
    assert go() == [10] and tried[-1] == (1, Attempt("cuda", short=True)) and "shorter" in told[-1]
    tried, told, go = ladder([1, 2], lambda some, how: how.device == "cuda" and 1 in some)
    assert go() == [10, 20]
    assert tried[-2:] == [(1, Attempt("cpu")), (1, Attempt("cuda"))]  # the next one has the GPU again
    assert "by the processor" in told[-1]
    tried, _, go = ladder([1], lambda some, how: how != Attempt("cpu", short=True))
    assert go() == [10] and len(tried) == 4


def test_at_the_bottom_there_is_one_sentence(ladder):
    for device, rungs in (("cuda", 4), ("cpu", 2)):
        tried, _, go = ladder([1], lambda some, how: True, device)
        with pytest.raises(NotPossibleError, match="not enough memory for this model"):
            go()
        assert len(tried) == rungs


def test_other_errors_are_not_taken_for_a_lack_of_memory(ladder):
    def work(some, how):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        devices.with_oom_fallback(work, [1], "cuda", print)
    assert devices.is_out_of_memory(MemoryError())
    assert devices.is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert devices.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert not devices.is_out_of_memory(ValueError("out of memory lane"))


def test_halves_are_joined_without_a_trace():
    audio = np.random.default_rng(0).standard_normal((10_001, 2)).astype(np.float32)
    kernel = np.hanning(201).astype(np.float32)
    lengths = []

    def smooth(part):
        lengths.append(len(part))
        return np.stack([np.convolve(channel, kernel, "same") for channel in part.T], axis=1)

    assert np.allclose(devices.in_halves(smooth, audio, 100), smooth(audio), atol=1e-4)
    assert lengths == [5100, 5101, 10_001]
    assert devices.in_halves(lambda part: part, audio[:50], 100).shape == (50, 2)


def test_models_are_kept_and_make_room_for_others(monkeypatch):
    devices.unload_all()
    loads, room = [], [10]
    monkeypatch.setattr(devices, "release", lambda device: room.__setitem__(0, room[0] + 4))
    monkeypatch.setattr(devices, "free_memory", lambda device: room[0])

    def use(key, needed):
        def load():
            loads.append(key)
            room[0] -= 4
            return key.upper()

        with devices.borrowed(key, "cuda", needed, load) as model:
            assert model == key.upper()

    for key in ("a", "b", "a", "a", "b"):
        use(key, 4)
    assert loads == ["a", "b"]
    use("c", 4)  # no room: the one that was used least lately goes
    use("b", 4)
    use("a", 4)
    assert loads == ["a", "b", "c", "a"]
    devices.unload_all()


def test_batches_fit_the_memory_that_was_measured(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
    monkeypatch.setattr(measurements, "path", lambda: tmp_path / "measured.json")
    monkeypatch.setattr(devices, "free_memory", lambda device: 10_000)
    assert devices.batch_that_fits("cuda", "m", 1000, 16) == 8
    assert devices.batch_that_fits("cuda", "m", 1000, 4) == 4
    assert devices.batch_that_fits("cuda", "m", 50_000, 4) == 1
    assert devices.batch_that_fits("cpu", "m", 1, 4) == 1
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 500)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    for peak in (4500, 2500):  # the worst is what counts
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda peak=peak: peak)
        with devices.measured("cuda", "m", 2):
            pass
    assert devices.batch_that_fits("cuda", "m", 1000, 16) == 4
    (tmp_path / "measured.json").write_text("[broken")
    assert devices.batch_that_fits("cuda", "m", 1000, 16) == 8


def test_half_precision_is_used_where_it_comes_out_the_same():
    exact = np.linspace(-1, 1, 100).astype(np.float32)

    def computing(**errors):
        return lambda how: exact * np.float32(1 + errors.get(how, 0.0))

    assert devices.precision("cuda", "auto", computing(fp16=0.001)) == "fp16"
    assert devices.precision("cuda", "auto", computing(fp16=float("nan"), bf16=0.01)) == "bf16"
    assert devices.precision("cuda", "auto", computing(fp16=0.1, bf16=0.1)) == "fp32"
    assert devices.precision("cpu", "auto", computing()) == "fp32"
    assert devices.precision("cpu", "bf16", computing(bf16=1.0)) == "bf16"


def test_devices_that_are_not_here_are_told():
    assert devices.choose("cpu") == "cpu" and devices.choose("auto") in ("cpu", "cuda", "mps")
    missing = "mps" if devices.choose("auto") != "mps" else "cuda"
    with pytest.raises(UsageError, match="leave --device out"):
        devices.choose(missing)


def test_the_recipe_that_fits_is_found_without_torch(monkeypatch):
    def fitting(memory, build, models=True):
        monkeypatch.setattr(devices.gpu_probe, "build", lambda: build)
        monkeypatch.setattr(devices, "_gpu_memory", lambda: memory)
        for stage in recipes.STAGES.values():
            monkeypatch.setattr(type(stage), "unavailable_reason", lambda self, params: "" if models else "not here")
        return recipes.load("auto").name

    assert fitting(16_000_000_000, "cuda") == "gpu-best"
    assert fitting(8_000_000_000, "cuda") == "gpu-fast"
    assert fitting(16_000_000_000, "cpu") == fitting(None, "cuda") == "cpu-overnight"
    assert fitting(16_000_000_000, "cuda", models=False) == "offline"
