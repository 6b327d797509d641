"""The benchmark of GPUs, where there is none: the same code with tiny models on the processor, and stand-ins for CUDA."""

from __future__ import annotations

import io
import json
import sys
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("demucs", reason="needs the extra 'ai'")

from benchmarks import gpu, gpu_children  # noqa: E402
from engine.machine import measurements  # noqa: E402
from engine.models import audiosr  # noqa: E402


@pytest.fixture
def one_thread():
    """Two threads that wait for each other on a machine that is busy take longer than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(*sections, seconds=600.0):
    return gpu.measure("cpu", tiny=True, seconds=seconds, sections=[(1.0, section) for section in sections])


@pytest.mark.slow
def test_every_model_is_measured_and_equal_on_the_same_device(one_thread):
    piece, path = audiosr.PIECE, measurements.path()
    made = rows(gpu.loading, gpu.audiosr_speed, gpu.others_speed, gpu.equality)
    assert not [row for row in made if "FAILED" in row.result or row.result == gpu.NOT_MEASURED], made
    assert {row.part for row in made} == {"AudioSR", "Apollo", "HiFi-GAN BWE", "Demucs"}
    speeds = {(row.part, row.setting) for row in made if "per minute of stereo" in row.result}
    assert {
        ("AudioSR", "4 steps, fp32"),
        ("AudioSR", "2 steps, fp32"),
        ("Apollo", "2 at once, fp32"),
        ("Demucs", "fp32"),
    } <= speeds
    assert [row.result for row in made if "against the processor" in row.setting] == ["0.0e+00 off"] * 4
    assert piece == audiosr.PIECE and measurements.path() == path  # as if nothing had been


@pytest.mark.slow
def test_every_rung_of_the_ladder_is_taken_and_changes_little(one_thread):
    made = rows(gpu.out_of_memory)
    assert [row.setting for row in made] == [
        "too little memory: fewer at once",
        "too little memory: shorter pieces",
    ] * 2
    assert all(row.result.startswith("taken, ") for row in made), made
    assert all(float(row.result.split()[1]) < 1e-3 for row in made), made


@pytest.mark.slow
def test_a_run_that_was_killed_gives_the_same_bytes(one_thread, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [row.result for row in rows(gpu.resuming)] == ["the same bytes"]


def test_what_does_not_fit_into_the_time_is_said_to_be_not_measured():
    began = time.monotonic()
    made = gpu.measure("cpu", tiny=True, seconds=0.0)
    assert time.monotonic() - began < 60
    assert {row.result for row in made} <= {gpu.NOT_MEASURED, "not installed"}
    assert {"AudioSR", "Apollo", "Demucs", "a run"} <= {row.part for row in made}
    assert len([row for row in made if row.setting.startswith("too little memory")]) == 4


def test_a_section_that_fails_is_a_row_and_the_others_go_on():
    def broken(bench):
        yield gpu.Row("a", "b", "c")
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    made = rows(broken, lambda bench: iter([gpu.Row("d", "e", "f")]))
    assert [row.result for row in made] == ["c", "FAILED: RuntimeError: CUDA error: an illegal memory access", "f"]


def test_the_section_of_a_device_is_replaced_and_the_others_stay():
    text = gpu.written("# Measured\n\nWords.\n", "NVIDIA A", "first\n\n| a |")
    text = gpu.written(text, "NVIDIA B", "other")
    again = gpu.written(text, "NVIDIA A", "second")
    assert (
        again.startswith("# Measured\n\nWords.\n\n## NVIDIA B\n\nother\n\n## NVIDIA A\n\nsecond\n")
        and "first" not in again
    )
    assert gpu.written(again, "NVIDIA A", "second") == again
    body = gpu.as_markdown([gpu.Row("Apollo", "x|y", "1 s", 2e9), gpu.Row("Demucs", "", "2 s")], "facts")
    assert "| Apollo | x\\|y | 1 s | 2.0 GB |" in body and "| Demucs |  | 2 s |  |" in body


@pytest.fixture
def cuda(monkeypatch):
    """A GPU of 1 GB, of which tensors made on it take away."""
    state = SimpleNamespace(free=1_000_000_000, worst=0, waited=0)

    def empty(count, dtype, device):
        assert device == "cuda" and count <= state.free
        state.free -= count
        return object()

    def synchronize():
        state.waited += 1

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (state.free, 1_000_000_000))
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 100)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 350)
    return state


def test_the_neighbour_leaves_what_it_was_told_to(cuda, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    gpu_children.neighbour(64_000_000)
    assert 64_000_000 <= json.loads(capsys.readouterr().out)["free"] < 66_000_000


def test_times_and_peaks_are_taken_when_the_gpu_has_finished(cuda, tmp_path):
    bench = gpu.Bench("cuda", tiny=True, folder=tmp_path)
    made, seconds, peak = bench.timed(lambda: cuda.waited)
    assert made == 1 and cuda.waited == 2 and seconds >= 0 and peak == 250
    assert bench.precisions == ("fp32", "fp16", "bf16")
