"""Processes beside the one that measures: a neighbour that fills the GPU, and the code that others have published.

``python -m benchmarks.gpu_children neighbour BYTES_LEFT`` or ``... audiosr DEVICE STEPS SECONDS full|tiny``; each
prints lines of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def neighbour(left: int) -> None:
    """Hold all of the GPU's memory but ``left`` bytes until the other end of standard input is closed."""
    import torch

    held, block = [], 1 << 28
    while block >= 1 << 20:
        if torch.cuda.mem_get_info()[0] - left < block:
            block //= 2
            continue
        held.append(torch.empty(block, dtype=torch.uint8, device="cuda"))
    print(json.dumps({"free": torch.cuda.mem_get_info()[0]}), flush=True)
    sys.stdin.read()


def audiosr(device: str, steps: int, seconds: float, *, tiny: bool) -> None:
    """The package's long-audio function on one stereo piece. Tells what starting and loading took, and the work."""
    import soundfile
    import torch

    from benchmarks.audiosr_reference import model, package
    from engine.commands.demo import compose

    began = time.perf_counter()
    with package() as modules, tempfile.TemporaryDirectory() as folder:
        known = model(modules, tiny=tiny).to(device)
        known.device = torch.device(device)
        path = Path(folder) / "piece.wav"
        soundfile.write(path, compose(seconds), 48000)
        loaded = time.perf_counter()
        modules.pipeline.super_resolution_long_audio(known, str(path), ddim_steps=steps, chunk_duration_s=10.24)
        if device == "cuda":
            torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    ended = time.perf_counter()
    print(json.dumps({"load": loaded - began, "work": ended - loaded, "peak": peak}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "neighbour":
        neighbour(int(sys.argv[2]))
    else:
        audiosr(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), tiny=sys.argv[5] == "tiny")
