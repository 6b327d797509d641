"""Learning: what is minimised is what is measured, the log-spectral distance, and a price for lost SI-SDR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.dsp.spectrum import FFT
from engine.models.restorer.bands import COUNT, band_grid
from engine.models.restorer.features import FLOOR_DB
from engine.models.restorer.network import FLATNESS_UNIT, LEVEL_UNIT
from training.network import RestorerNetwork
from training.pairs import BIN_STEP, BIN_ZERO

NOISE_BIAS, NOISE_SPREAD = -2.51, 5.57  # dB: mean and deviation of the level of a bin of Gaussian noise
_SOFTNESS = 1.5  # dB over which a bin counts as filled, so that there is something to learn from


@dataclass(frozen=True)
class Settings:
    """How it is learnt. ``sdr_price`` is the distance (in bels) that 1 dB of SI-SDR is worth."""

    steps: int = 3000
    batch: int = 16
    spectra: int = 192
    every: int = 3  # of so many spectra one is compared bin by bin
    rate: float = 3e-3
    width: int = 192
    dropout: float = 0.1
    sdr_price: float = 0.15
    overshoot: float = 1.0
    seed: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Stored:
    """A pair on disk; arrays are read as they are needed."""

    folder: Path
    name: str
    package: str
    setting: str
    rate: int
    cutoff: float
    believed: float
    held_out: bool
    lossless: bool

    def array(self, name: str) -> npt.NDArray[np.generic]:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def stored_pairs(folder: Path) -> list[Stored]:
    """All pairs below ``folder``, in a fixed order."""
    found = []
    for path in sorted(folder.glob("*/pair.json")):
        told = json.loads(path.read_text())
        keys = ("name", "package", "setting", "rate", "cutoff", "believed", "held_out")
        found.append(Stored(path.parent, *(told[k] for k in keys), lossless=told["believed"] >= 22000))
    return found


@dataclass(frozen=True)
class Batch:
    """Tensors of several stretches of pairs; ``bins`` as stored, ``counted`` marks the bins that count."""

    moments: Tensor
    loudness: Tensor
    songs: Tensor
    below: Tensor
    spread: Tensor
    bins: Tensor
    counted: Tensor
    error: Tensor


def batches(pairs: list[Stored], settings: Settings) -> Iterator[Batch]:
    """Without end; every track is met as often as any other."""
    dice = np.random.default_rng(settings.seed)
    by_track: dict[tuple[str, str], list[Stored]] = {}
    for pair in pairs:
        by_track.setdefault((pair.package, pair.name), []).append(pair)
    names = sorted(by_track)
    # A kit or a loop has many pieces to it; a track of a game few.
    weight = np.array([min(len(by_track[n]), 12) for n in names], float)
    while True:
        chosen = [by_track[names[i]] for i in dice.choice(len(names), settings.batch, p=weight / weight.sum())]
        yield batch_of([c[int(dice.integers(len(c)))] for c in chosen], settings, dice)


def batch_of(pairs: list[Stored], settings: Settings, dice: np.random.Generator) -> Batch:
    """One stretch of each of the pairs."""
    rows = []
    for pair in pairs:
        moments, bins = pair.array("moments"), pair.array("bins")
        start = int(dice.integers(0, max(1, len(bins) - settings.spectra)))
        channel = int(dice.integers(0, bins.shape[1]))
        part = slice(start, start + settings.spectra)
        song = np.asarray(pair.array("song"), np.float32)
        counted = np.arange(bins.shape[-1]) * pair.rate / FFT < min(pair.believed, 22050.0)
        rows.append(
            (
                _fill(moments[part, channel].astype(np.float32), settings.spectra),
                _fill(pair.array("loudness")[part, channel].astype(np.float32), settings.spectra),
                song,
                song[-COUNT - 3 : -3],
                band_grid(pair.rate).spread,
                _fill(bins[part, channel], settings.spectra),
                counted.astype(np.float32),
                _fill(pair.array("error")[part, channel], settings.spectra),
            )
        )
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def _fill(values: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
    return np.concatenate([values, np.repeat(values[-1:], length - len(values), axis=0)])


def loss_of(network: RestorerNetwork, batch: Batch, settings: Settings, phase: int = 0) -> dict[str, Tensor]:
    """``loss`` and what it is made of, means over the batch: ``distance`` in bels, ``lost`` SI-SDR in dB."""
    raw = network(batch.moments.transpose(1, 2), batch.songs).transpose(1, 2)
    level, flatness, doubt = raw.split(COUNT, dim=-1)
    known = batch.moments[..., :COUNT] * batch.below[:, None]
    floor = (level + known) * LEVEL_UNIT + batch.loudness[..., None]
    floor = floor.clamp(min=FLOOR_DB - 20)[:, phase :: settings.every]
    fill = torch.matmul(floor, batch.spread)
    stored = batch.bins[:, phase :: settings.every].float() * BIN_STEP + BIN_ZERO
    have, want = stored[:, :, 0], stored[:, :, 1]
    above = torch.sigmoid((fill - have) / _SOFTNESS)
    noise = 10 ** (fill / 10) * above
    kept = 10 ** (have / 10)
    made = 10 * torch.log10(kept + noise * 10 ** (NOISE_BIAS / 10))
    counts = batch.counted[:, None]
    target = want.clamp(min=FLOOR_DB)
    heard = (made > FLOOR_DB).float()
    share = (noise / (noise + kept)) ** 2
    difference = made.clamp(min=FLOOR_DB) - target
    # Too much is worse than too little: what was never there is heard.
    weight = torch.where(difference > 0, settings.overshoot, 1.0)
    squares = weight * difference**2 + heard * share * NOISE_SPREAD**2
    distance = ((squares * counts).sum(-1) / counts.sum(-1) + 1e-3).sqrt() / 10
    spent = (noise * above * counts).sum((1, 2)) / batch.error[:, phase :: settings.every].sum(1).clamp(min=1e-9)
    lost = 10 * torch.log10(1 + spent)
    told = _told(raw[:, phase :: settings.every], flatness, doubt, difference.detach(), want, batch, settings, phase)
    loss = distance.mean() + settings.sdr_price * lost.mean() + told
    return {"loss": loss, "distance": distance.mean(), "lost": lost.mean(), "told": told}


def _told(
    raw: Tensor, flatness: Tensor, doubt: Tensor, difference: Tensor, want: Tensor, batch: Batch, settings: Settings, phase: int
) -> Tensor:
    """What teaches flatness (above the cutoff, where there is something) and doubt."""
    gather = (batch.spread > 0.5).float()
    gather = gather / gather.sum(-1, keepdim=True).clamp(min=1)
    counted = (torch.matmul(gather, batch.counted[..., None])[..., 0] > 0.5).float()[:, None]
    above = (1 - batch.below)[:, None] * counted
    power = torch.matmul(10 ** (want / 10), gather.transpose(1, 2)).clamp(min=1e-10)
    level = 10 * torch.log10(power)
    true = torch.matmul(want, gather.transpose(1, 2)) - level
    there = above * (level > FLOOR_DB + 6)
    error = torch.nn.functional.smooth_l1_loss(
        flatness[:, phase :: settings.every], true / FLATNESS_UNIT, reduction="none", beta=0.25
    )
    first = (error * there).sum() / there.sum().clamp(min=1)
    off = torch.matmul(difference, gather.transpose(1, 2)).abs() / LEVEL_UNIT
    scale = doubt[:, phase :: settings.every].clamp(-3, 2)
    second = ((off * torch.exp(-scale) + scale) * counted).sum() / counted.expand_as(off).sum().clamp(min=1)
    return 0.05 * first + 0.02 * second


def learn(pairs: list[Stored], held_out: list[Stored], settings: Settings, log: Path | None = None) -> RestorerNetwork:
    """A network that has learnt from ``pairs``; how it does on ``held_out`` is told on the way."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    network = RestorerNetwork(settings.width, settings.dropout)
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, settings.steps, pct_start=0.1)
    means: dict[str, float] = {}
    for step, batch in zip(range(settings.steps), batches(pairs, settings), strict=False):
        optimiser.zero_grad()
        losses = loss_of(network, batch, settings, step % settings.every)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        plan.step()
        for name, value in losses.items():
            means[name] = 0.98 * means.get(name, value.item()) + 0.02 * value.item()
        if step % 100 == 99 and log is not None:
            told = {"step": step + 1, **{k: round(v, 4) for k, v in means.items()}}
            if step % 500 == 499:
                told |= {f"held out {k}": round(v, 4) for k, v in validate(network, held_out, settings).items()}
            with log.open("a") as file:
                file.write(json.dumps(told) + "\n")
    return network.eval()


def validate(network: RestorerNetwork, pairs: list[Stored], settings: Settings) -> dict[str, float]:
    """Means of :func:`loss_of` over a fixed selection of pairs."""
    dice = np.random.default_rng(7)
    network.eval()
    sums: dict[str, list[float]] = {}
    with torch.no_grad():
        for first in range(0, len(pairs), settings.batch):
            for name, value in loss_of(network, batch_of(pairs[first : first + settings.batch], settings, dice), settings).items():
                sums.setdefault(name, []).append(value.item())
    network.train()
    return {name: float(np.mean(values)) for name, values in sums.items()}
