"""Our Apollo beside its public code, same random checkpoint: how equal, and how fast.

``python -m benchmarks.apollo CHECKOUT`` with a checkout of the public repository JusperLee/Apollo.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import types
from pathlib import Path

_SECONDS = 3


def main() -> None:
    """Print the comparison for both published widths."""
    import torch

    from engine.models.apollo.network import load

    public = types.ModuleType("public_apollo")
    public.__path__ = [str(Path(sys.argv[1]) / "look2hear" / "models")]
    sys.modules["public_apollo"] = public
    reference = importlib.import_module("public_apollo.apollo")
    print(f"{'width':<8}{'difference':>12}{'public s':>10}{'ours s':>10}{'ratio':>8}")
    for width in (256, 384):
        torch.manual_seed(0)
        theirs = reference.Apollo(sr=44100, win=20, feature_dim=width, layer=6).eval()
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            path = Path(folder) / "pytorch_model.bin"
            torch.save({"state_dict": theirs.state_dict()}, path)
            ours = load(path, "cpu")
            audio = 0.2 * torch.randn(2, 44100 * _SECONDS)
            started = time.perf_counter()
            expected = theirs(audio[None])[0]
            between = time.perf_counter()
            made = ours(audio)
            ended = time.perf_counter()
        difference = float((made - expected).norm() / expected.norm())
        first, second = between - started, ended - between
        print(f"{width:<8}{difference:>12.2e}{first:>10.2f}{second:>10.2f}{first / second:>8.2f}")


if __name__ == "__main__":
    main()
