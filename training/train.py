"""Learning: what is minimised is what is measured, the log-spectral distance, and a price for lost SI-SDR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor
from torch.nn import functional

from engine.dsp.spectrum import BINS, FFT
from engine.models.restorer.bands import CENTRES, COUNT, band_grid
from engine.models.restorer.features import EDGE_CENTRES, FLOOR_DB, PER_BAND, PERCENTILES, ROUNDING
from engine.models.restorer.network import FLATNESS_UNIT, LEAST_KNOWN, LEVEL_UNIT
from training.network import RestorerNetwork
from training.pairs import BIN_STEP, BIN_ZERO, EVERY

NOISE_BIAS, NOISE_SPREAD = -2.51, 5.57  # dB: mean and deviation of the level of a bin of Gaussian noise
_HOLE = 12.0  # dB below its band at which a bin is a hole for the guide
_SILENT = 8.0  # dB above 16-bit rounding noise from which on there is something to equalise
_BRIGHT = 0.6  # share of stretches that are given the top of a finished record, beside those that have it already
_ENDED = 0.15  # share of stretches whose music ends by itself, below the cutoff of a generous encoder
_EMPTY, _EMPTY_COUNTS = 6.0, 0.4  # dB above rounding noise below which a top is empty; how much such a stretch counts
_SLOPE, _FALL = 700.0, 15.0  # Hz of an encoder's own slope; dB in 2 kHz below it that show that the music ends
#: kbit/s and Hz at which LAME cuts off; what ends below that ends by itself.
_CUTOFFS = ((96, 15100), (112, 15600), (128, 17000), (160, 17500), (192, 18600), (224, 19400), (256, 19700))
_LEAST_DECODED = 0.3  # bels; nearer to its original a stretch needs not be for its harm to be told
_GENEROUS = 14500.0  # Hz of cutoff from which on that can be seen
_GUIDED_TO = 0.1  # share of the guidance that stays to the end: where nothing is made, nothing else tells how much
_SOFTNESS = 1.5  # dB over which a bin counts as filled, so that there is something to learn from


@dataclass(frozen=True)
class Settings:
    """How it is learnt.

    ``sdr_price`` is the distance (in bels) that 1 dB of SI-SDR is worth, ``harm`` the distance that it is worth not to
    double that of a stretch from its original; ``guidance`` the weight, at the beginning, of what pulls levels to
    those of the original band by band.
    """

    steps: int = 6000
    batch: int = 16
    spectra: int = 192
    rate: float = 3e-3
    width: int = 192
    dropout: float = 0.1
    sdr_price: float = 0.05
    harm: float = 0.5
    guidance: float = 0.5
    varied: bool = True
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

    def array(self, name: str) -> npt.NDArray[np.generic]:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def stored_pairs(folder: Path) -> list[Stored]:
    """All pairs below ``folder``, in a fixed order."""
    found = []
    for path in sorted(folder.glob("*/pair.json")):
        told = json.loads(path.read_text())
        keys = ("name", "package", "setting", "rate", "cutoff", "believed", "held_out")
        found.append(Stored(path.parent, **{key: told[key] for key in keys}))
    return found


@dataclass(frozen=True)
class Batch:
    """Tensors of several stretches of pairs; ``bins`` in dB, ``counted`` marks the bins that count."""

    moments: Tensor
    loudness: Tensor
    songs: Tensor
    below: Tensor
    cutoff: Tensor
    spread: Tensor
    gather: Tensor
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
        batch = batch_of([c[int(dice.integers(len(c)))] for c in chosen], settings, dice)
        yield vary(batch, dice) if settings.varied else batch


def batch_of(pairs: list[Stored], settings: Settings, dice: np.random.Generator) -> Batch:
    """One stretch of each of the pairs."""
    rows = []
    for pair in pairs:
        moments, bins = pair.array("moments"), pair.array("bins")
        start = EVERY * int(dice.integers(0, max(1, (len(moments) - settings.spectra) // EVERY + 1)))
        channel = int(dice.integers(0, moments.shape[1]))
        part = slice(start, start + settings.spectra)
        kept = slice(start // EVERY, (start + settings.spectra) // EVERY)
        song = np.asarray(pair.array("song"), np.float32)
        counted = np.arange(BINS) * pair.rate / FFT < min(pair.believed, 22050.0)
        rows.append(
            (
                _fill(moments[part, channel].astype(np.float32), settings.spectra),
                _fill(pair.array("loudness")[part, channel].astype(np.float32), settings.spectra),
                song,
                song[-COUNT - 3 : -3],
                np.array([pair.cutoff], np.float32),
                band_grid(pair.rate).spread,
                _gather(pair.rate),
                _fill(bins[kept, channel], settings.spectra // EVERY).astype(np.float32) * BIN_STEP + BIN_ZERO,
                counted.astype(np.float32),
                _fill(pair.array("error")[part, channel][::EVERY], settings.spectra // EVERY),
            )
        )
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


@lru_cache(maxsize=4)
def _gather(rate: int) -> npt.NDArray[np.float32]:
    """What takes the mean of each band, ``(COUNT, BINS)``."""
    grid = band_grid(rate)
    gather = np.zeros((COUNT, BINS), np.float32)
    for band in range(COUNT):
        gather[band, grid.starts[band] : grid.starts[band + 1]] = 1 / grid.widths[band]
    return gather


def _fill(values: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
    return np.concatenate([values, np.repeat(values[-1:], length - len(values), axis=0)])


def vary(batch: Batch, dice: np.random.Generator) -> Batch:
    """The same music at another level and through another equaliser: both sides of each pair are changed alike.

    What is silent stays silent, in the spectra and in what is told of them.
    """
    count = len(batch.songs)
    position = np.linspace(-1, 1, COUNT)
    wave = np.cos(np.pi * (position * dice.uniform(1, 4, (count, 1)) + dice.uniform(-1, 1, (count, 1))))
    curve = dice.normal(0, 3.0, (count, 1)) * position + dice.normal(0, 2.0, (count, 1)) * wave
    curve = curve + _brightness(batch, dice) - _ends(batch, dice)
    bands = torch.from_numpy(curve.astype(np.float32))
    level = torch.from_numpy(dice.normal(0, 4.0, (count, 1)).astype(np.float32))
    per_bin = torch.matmul((bands + level)[:, None], batch.spread)[:, :, None]  # (count, 1, 1, BINS)
    moments, songs = batch.moments.clone(), batch.songs.clone()
    loudness = batch.loudness + level
    _equalise(moments, batch.loudness, loudness, bands)
    moments[..., -1] += level / LEVEL_UNIT
    edges = batch.cutoff.numpy() + EDGE_CENTRES
    at_edges = np.stack([np.interp(row, CENTRES, own) for row, own in zip(edges, curve, strict=True)])
    shift = torch.cat([bands, torch.from_numpy(at_edges.astype(np.float32))], dim=1) / LEVEL_UNIT
    told = songs[:, : len(PERCENTILES) * shift.shape[1]]
    least = told.min(dim=1, keepdim=True).values  # the bands above the cutoff: silence
    raised = torch.where(told > least + 0.15, told + shift.repeat(1, len(PERCENTILES)), -torch.inf)
    told.copy_(torch.maximum(raised, least - level / LEVEL_UNIT))
    moments = moments + 0.03 * torch.randn_like(moments)
    songs = songs + 0.05 * torch.randn_like(songs) * (songs.abs() > 0)
    bins = torch.where(batch.bins > FLOOR_DB + _SILENT, batch.bins + per_bin, batch.bins)
    error = batch.error * 10 ** ((level + bands.mean(-1, keepdim=True)) / 10)
    return replace(batch, moments=moments, songs=songs, loudness=loudness, bins=bins, error=error)


def _equalise(moments: Tensor, before: Tensor, after: Tensor, bands: Tensor) -> None:
    """Change the levels in ``moments`` by ``bands`` dB, as features are told: what sinks below silence is silence."""
    levels = moments[..., :COUNT]
    heard = levels * LEVEL_UNIT + before[..., None] > FLOOR_DB + _SILENT
    silence = (FLOOR_DB + ROUNDING - after[..., None]) / LEVEL_UNIT
    levels.copy_(torch.where(heard, levels + bands[:, None] / LEVEL_UNIT, silence).maximum(silence))
    there = (levels > silence).repeat(1, 1, PER_BAND - 1)
    moments[..., COUNT : PER_BAND * COUNT] *= there


def _brightness(batch: Batch, dice: np.random.Generator) -> npt.NDArray[np.float64]:
    """dB per band that give some of the pieces the top of a finished record: most free music is darker than that."""
    count = len(batch.songs)
    power = torch.matmul(10 ** (batch.bins[:, :, 1].mean(1) / 10)[:, None], batch.gather.transpose(1, 2))[:, 0]
    now = 10 * np.log10(power.numpy() + 1e-10) - batch.loudness.mean(1, keepdim=True).numpy()
    kilohertz = CENTRES / 1000
    slope = np.minimum(dice.normal(-1.6, 0.8, (count, 1)), -0.2)
    flatter = dice.uniform(0, 1.2, (count, 1)) * np.maximum(0, kilohertz - 16)
    wanted = dice.normal(-19, 6.0, (count, 1)) + slope * (np.minimum(kilohertz, 16) - 8 + flatter)
    change = np.clip(uniform_filter1d(wanted - now, 9, axis=1), -15, 25)
    change *= np.clip((kilohertz - 4) / 4, 0, 1)
    return change * (dice.random((count, 1)) < _BRIGHT)


def _ends(batch: Batch, dice: np.random.Generator) -> npt.NDArray[np.float64]:
    """dB per band by which some of the stretches fall from somewhere below their cutoff on, steeply or not."""
    count = len(batch.songs)
    cutoff = batch.cutoff.numpy()
    chosen = (dice.random((count, 1)) < _ENDED) & (cutoff > _GENEROUS)
    end = cutoff - dice.uniform(300, 5000, (count, 1))
    slope = 10 ** dice.uniform(0.8, 2.0, (count, 1))  # dB per kHz
    return np.minimum(slope * np.maximum(0, CENTRES - end) / 1000, 100) * chosen


def loss_of(network: RestorerNetwork, batch: Batch, settings: Settings, guidance: float = 0.0) -> dict[str, Tensor]:
    """``loss`` and what it is made of, means over the batch: ``distance`` in bels, ``lost`` SI-SDR in dB."""
    raw = network(batch.moments.transpose(1, 2), batch.songs).transpose(1, 2)[:, ::EVERY]
    level, flatness, doubt = raw.split(COUNT, dim=-1)
    known = batch.moments[:, ::EVERY, :COUNT].clamp(min=float(LEAST_KNOWN))
    floor = (level + known) * LEVEL_UNIT + batch.loudness[:, ::EVERY, None]
    fill = torch.matmul(floor.clamp(min=FLOOR_DB - 20), batch.spread)
    have, want = batch.bins[:, :, 0], batch.bins[:, :, 1]
    above = torch.sigmoid((fill - have) / _SOFTNESS)
    noise = 10 ** (fill / 10) * above
    kept = 10 ** (have / 10)
    made = 10 * torch.log10(kept + noise * 10 ** (NOISE_BIAS / 10))
    counts = batch.counted[:, None]
    heard = (made > FLOOR_DB).float()
    share = (noise / (noise + kept)) ** 2
    difference = made.clamp(min=FLOOR_DB) - want.clamp(min=FLOOR_DB)
    distance = _distance(difference**2 + heard * share * NOISE_SPREAD**2, counts)
    decoded = _distance((have.clamp(min=FLOOR_DB) - want.clamp(min=FLOOR_DB)) ** 2, counts)
    harm = functional.relu(distance.mean(1) / decoded.mean(1).clamp(min=_LEAST_DECODED) - 1).mean()
    further = (_weight(batch, want) * distance.mean(1)).mean() + settings.harm * harm
    spent = (noise * above * counts).sum((1, 2)) / batch.error.sum(1).clamp(min=1e-9)
    lost = 10 * torch.log10(1 + spent)
    told = _told(floor, flatness, doubt, difference.detach(), batch, guidance)
    loss = further + settings.sdr_price * (lost + 4 * lost**2).mean() + told
    return {
        "loss": loss,
        "distance": distance.mean(),
        "decoded": decoded.mean(),
        "harm": harm,
        "lost": lost.mean(),
        "told": told,
    }


def _weight(batch: Batch, want: Tensor) -> Tensor:
    """How much each stretch counts: of tops that are empty without a sign of it, free music has more than records.

    Those whose end can be seen below the encoder's own slope count wholly: nobody needs to guess there.
    """
    level = torch.matmul(want.clamp(min=FLOOR_DB).mean(1)[:, None], batch.gather.transpose(1, 2))[:, 0] - FLOOR_DB
    counted = (torch.matmul(batch.counted[:, None], batch.gather.transpose(1, 2)) > 0.5)[:, 0]
    centres = torch.from_numpy(CENTRES.astype(np.float32)) - batch.cutoff

    def told(part: Tensor) -> Tensor:
        return (level * part).sum(-1) / part.sum(-1).clamp(min=1)

    above = (centres > 0) & counted
    last, before = (told((centres > low) & (centres < low + 1000)) for low in (-_SLOPE - 1000, -_SLOPE - 3000))
    unseen = (last > _EMPTY + 4) & (last > before - _FALL) & (batch.cutoff[:, 0] > _usual_cutoff(batch) - _SLOPE)
    return torch.where(above.any(-1) & (told(above) < _EMPTY) & unseen, _EMPTY_COUNTS, 1.0)


def _usual_cutoff(batch: Batch) -> Tensor:
    """Hz at which LAME cuts off at the bitrates of the batch, 0 where they are not known."""
    told = batch.songs[:, -2:].numpy()
    hz = np.interp(64 * 2 ** told[:, 0], [rate for rate, _ in _CUTOFFS], [hz for _, hz in _CUTOFFS], left=0)
    return torch.from_numpy(np.where(told[:, 1] > 0.5, hz, 0).astype(np.float32))


def _distance(squares: Tensor, counts: Tensor) -> Tensor:
    """Bels per stretch and moment, of squared dB ``(stretches, moments, BINS)``."""
    return ((squares * counts).sum(-1) / counts.sum(-1) + 1e-3).sqrt() / 10


def _told(floor: Tensor, flatness: Tensor, doubt: Tensor, difference: Tensor, batch: Batch, guidance: float) -> Tensor:
    """What teaches flatness (above the cutoff, where there is something), doubt and, as guidance, levels.

    The guide for a band above the cutoff is the original's mean level, for one below it that of the original in the
    bins that are holes, as far as there are any.
    """
    gather = batch.gather.transpose(1, 2)
    have, want = batch.bins[:, :, 0], batch.bins[:, :, 1].clamp(min=FLOOR_DB)
    counted = (torch.matmul(batch.counted[:, None], gather) > 0.5).float()
    above = (1 - batch.below)[:, None] * counted
    level = 10 * torch.log10(torch.matmul(10 ** (want / 10), gather).clamp(min=1e-10))
    mean = torch.matmul(want, gather)
    there = above * (level > FLOOR_DB + 6)
    error = functional.smooth_l1_loss(flatness, (mean - level) / FLATNESS_UNIT, reduction="none", beta=0.25)
    first = (error * there).sum() / there.sum().clamp(min=1)
    off = torch.matmul(difference, gather).abs() / LEVEL_UNIT
    scale = doubt.clamp(-3, 2)
    second = ((off * torch.exp(-scale) + scale) * counted).sum() / counted.expand_as(off).sum().clamp(min=1)
    around = 10 * torch.log10(torch.matmul(10 ** (have / 10), gather).clamp(min=1e-10))
    steps = torch.matmul(around, (batch.gather > 0).float())
    hole = ((have < steps - _HOLE) | (have < FLOOR_DB + _HOLE / 2)).float()
    share = torch.matmul(hole, gather)
    missing = torch.matmul(hole * want, gather) / share.clamp(min=0.05)
    guide = torch.where(above > 0, mean, missing) - NOISE_BIAS
    weight = torch.where(above > 0, above, share * counted)
    pull = functional.smooth_l1_loss(floor / LEVEL_UNIT, guide / LEVEL_UNIT, reduction="none", beta=0.25)
    third = (pull * weight).sum() / weight.sum().clamp(min=1)
    return 0.05 * first + 0.02 * second + guidance * third


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
        guidance = settings.guidance * max(_GUIDED_TO, 1 - step / (0.6 * settings.steps))
        losses = loss_of(network, batch, settings, guidance)
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
            batch = batch_of(pairs[first : first + settings.batch], settings, dice)
            for name, value in loss_of(network, batch, settings).items():
                sums.setdefault(name, []).append(value.item())
    network.train()
    return {name: float(np.mean(values)) for name, values in sums.items()}
