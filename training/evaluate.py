"""How a network does on pairs that it has not learnt from, setting by setting."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch

from training.network import RestorerNetwork
from training.train import Settings, Stored, batch_of, loss_of

_WORSE = 1.02


@dataclass(frozen=True)
class Figures:
    """Means over pairs: log-spectral distance (bels) of the decoded and of the restored, ``lost`` SI-SDR in dB.

    ``worse`` is the share of pairs whose distance grew by more than 2 %.
    """

    pairs: int
    decoded: float
    restored: float
    lost: float
    worse: float


def evaluate(network: RestorerNetwork, pairs: list[Stored], settings: Settings) -> dict[str, Figures]:
    """Figures by LAME setting, and for ``all``; the restored distance is the one that its noise is expected to have."""
    whole = replace(settings, batch=1, spectra=660)
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    network.eval()
    for pair in pairs:
        batch = batch_of([pair], whole, np.random.default_rng(0))
        with torch.no_grad():
            losses = loss_of(network, batch, whole)
        row = (float(losses["decoded"]), float(losses["distance"]), float(losses["lost"]))
        setting = " ".join(pair.setting.split()[:2])
        rows[setting].append(row)
        rows["all"].append(row)
    return {name: _figures(values) for name, values in sorted(rows.items())}


def _figures(rows: list[tuple[float, float, float]]) -> Figures:
    values = np.array(rows)
    decoded, restored, lost = (float(value) for value in values.mean(axis=0))
    worse = float((values[:, 1] > _WORSE * values[:, 0]).mean())
    return Figures(len(rows), round(decoded, 3), round(restored, 3), round(lost, 3), round(worse, 3))
