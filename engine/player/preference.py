"""What a listener would choose, learnt from the few choices that they made.

A Bradley-Terry model (Biometrika 39, 1952) whose strengths depend on the song: the utility of a variant is a function
of the song's figures (bitrate, brightness …), and of several variants one is chosen with the probability of a
multinomial logit (Luce 1959; of two variants that is Bradley-Terry). Nobody knows beforehand which figures a taste
depends on, and how: the functions are of at most two figures, straight or curved (Gaussian bumps), and all of these
forms are averaged, each as much as the answers speak for it. Weights have Gaussian priors and posteriors (Laplace's
approximation), which gives each form its evidence (MacKay, Neural Computation 4, 1992).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_STRENGTHS = (0.5, 2.0)  # widths of the priors that are tried: of how much a variant is liked in all songs
_SLOPES = (0.7, 2.5)  # and of what the figures do to that
_CENTRES = (-1.2, 0.0, 1.2)  # of the bumps, in standard deviations; they are one wide
_MOST_FIGURES = 2  # that a taste depends on
_SAMPLES = 600  # of the posterior, for whatever is asked of it
_ENOUGH = 1.6  # nats of evidence for a taste, against a coin that is tossed (a Bayes factor of 5)
SURE = 0.8  # probability from which on a choice is not marked as unsure
_NEWTON_STEPS = 40
_CONVERGED = 1e-8


@dataclass(frozen=True)
class Answer:
    """One choice: of the variants in ``among``, ``chosen`` was liked best. ``figures`` are those of the song."""

    figures: tuple[float, ...]
    chosen: str
    among: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """What would be chosen of a song's variants, with the probability (0 to 1) that each is liked best."""

    chosen: str
    chances: Mapping[str, float]

    @property
    def chance(self) -> float:
        """That of what would be chosen."""
        return self.chances[self.chosen]

    @property
    def is_sure(self) -> bool:
        """Whether it need not be marked."""
        return self.chance >= SURE

    @property
    def closest(self) -> tuple[str, str]:
        """The two that are most likely to be liked best, in the order of their names."""
        first, second = sorted(sorted(self.chances, key=lambda name: -self.chances[name])[:2])
        return first, second


@dataclass(frozen=True)
class _Form:
    """What utilities are made of: some of the figures, and whether bends are possible."""

    figures: tuple[int, ...]
    curved: bool

    def basis(self, scaled: Vector) -> Vector:
        """``(songs, functions)``; the first is one everywhere."""
        own = scaled[:, self.figures]
        parts = [np.ones((len(scaled), 1)), own]
        if self.curved:
            centres = np.array(list(itertools.product(_CENTRES, repeat=len(self.figures))))
            parts.append(np.exp(-0.5 * ((own[:, None] - centres) ** 2).sum(axis=2)))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class _Posterior:
    form: _Form
    mean: Vector
    root: Vector  # of the covariance
    evidence: float  # log of it


class Taste:
    """The posterior of a listener's taste.

    Args:
        answers: all choices that were made.
        songs: figures of all songs of the library, ``(songs, figures)``; they say what is much and what is little.
        variants: whatever may be chosen.
    """

    def __init__(self, answers: Sequence[Answer], songs: Vector, variants: Iterable[str]) -> None:
        self.variants = tuple(variants)
        self._place = {name: number for number, name in enumerate(self.variants)}
        self._centre, self._scale = _spread(songs)
        self._samples = self._learn([answer for answer in answers if len(answer.among) > 1])

    def _learn(self, answers: Sequence[Answer]) -> list[tuple[_Form, Vector]]:
        """Samples of the weights, ``(samples, variants, functions)``, of each form in proportion to its evidence."""
        scaled = self._scaled(np.array([answer.figures for answer in answers])) if answers else None
        found = []
        for form in _forms(len(self._centre)):
            count = 1 + len(form.figures) + (len(_CENTRES) ** len(form.figures) if form.curved else 0)
            rows = np.zeros((0, 1, count * len(self.variants)))
            if scaled is not None:
                rows = self._differences(answers, form.basis(scaled))
            others = np.array([len(answer.among) - 1 for answer in answers], int)
            for strength, slope in itertools.product(_STRENGTHS, _SLOPES if form.figures else (1.0,)):
                precision = np.full(count, 2 / slope**2)  # utilities are differences: each variant has half of it
                precision[0] = 2 / strength**2
                found.append(_posterior(form, rows, others, np.tile(precision, len(self.variants))))
        # As many priors for each number of figures: a taste that depends on nothing is not the less likely for it.
        sizes = np.array([(len(one.form.figures)) for one in found])
        prior = -np.log(np.bincount(sizes)[sizes])
        weight = prior + np.array([one.evidence for one in found])
        whole = float(np.logaddexp.reduce(weight))
        #: Nats by which a taste explains the answers better than a coin does.
        self.evidence = whole - float(np.log(_MOST_FIGURES + 1)) + sum(float(np.log(len(a.among))) for a in answers)
        dice = np.random.default_rng(1)  # the same in every run
        counts = np.round(_SAMPLES * np.exp(weight - whole)).astype(int)
        samples = []
        for one, number in zip(found, counts, strict=True):
            if number:
                drawn = one.mean + dice.standard_normal((number, len(one.mean))) @ one.root.T
                samples.append((one.form, drawn.reshape(number, len(self.variants), -1)))
        return samples

    @property
    def is_there(self) -> bool:
        """Whether there is a preference at all."""
        return self.evidence >= _ENOUGH

    def predict(self, songs: Vector, among: Sequence[str]) -> list[Prediction]:
        """What would be chosen of ``among``, which all of these songs, ``(songs, figures)``, have."""
        best = self._utilities(songs, among).argmax(axis=2)
        shares = np.stack([(best == place).mean(axis=0) for place in range(len(among))], axis=1)
        return [Prediction(among[int(row.argmax())], dict(zip(among, map(float, row), strict=True))) for row in shares]

    def told_by(self, songs: Vector, pair: tuple[str, str]) -> Vector:
        """Bits that the answer would tell of the taste, were the listener asked for ``pair`` of each of the songs.

        Houlsby et al., "Bayesian active learning for classification and preference learning" (2011).
        """
        utility = self._utilities(songs, pair)
        chance = 1 / (1 + np.exp(np.clip(utility[:, :, 1] - utility[:, :, 0], -50, 50)))
        return _entropy(chance.mean(axis=0)) - _entropy(chance).mean(axis=0)

    def _utilities(self, songs: Vector, among: Sequence[str]) -> Vector:
        """``(samples, songs, variants)``."""
        places = [self._place[name] for name in among]
        scaled = self._scaled(songs)
        return np.concatenate(
            [np.einsum("svf,nf->snv", drawn[:, places], form.basis(scaled)) for form, drawn in self._samples]
        )

    def _scaled(self, songs: Vector) -> Vector:
        """Figures in standard deviations around their mean; what is far out is as far as the outermost bump reaches."""
        return np.clip((songs - self._centre) / self._scale, -3.0, 3.0)

    def _differences(self, answers: Sequence[Answer], basis: Vector) -> Vector:
        """``(answers, others, weights)``, padded: what gives the others' utilities less that of the chosen."""
        most = max(len(answer.among) for answer in answers) - 1
        rows = np.zeros((len(answers), most, len(self.variants), basis.shape[1]))
        for number, answer in enumerate(answers):
            others = [name for name in answer.among if name != answer.chosen]
            for place, other in enumerate(others):
                rows[number, place, self._place[other]] = basis[number]
                rows[number, place, self._place[answer.chosen]] = -basis[number]
        return rows.reshape(len(answers), most, -1)


def _forms(figures: int) -> list[_Form]:
    subsets = [s for size in range(_MOST_FIGURES + 1) for s in itertools.combinations(range(figures), size)]
    return [_Form(subset, curved) for subset in subsets for curved in ((False, True) if subset else (False,))]


def _posterior(form: _Form, rows: Vector, others: npt.NDArray[np.int_], precision: Vector) -> _Posterior:
    """Newton's method to the most probable weights, and the Gaussian there."""
    is_other = np.arange(rows.shape[1]) < others[:, None]
    weights = np.zeros(len(precision))
    value, likelihood, share = np.inf, 0.0, np.zeros(is_other.shape)
    step = weights
    for _ in range(_NEWTON_STEPS):
        utilities = np.where(is_other, rows @ weights, -np.inf)
        top = np.maximum(utilities.max(axis=1, initial=-np.inf), 0.0)
        powers = np.exp(utilities - top[:, None])
        whole = powers.sum(axis=1) + np.exp(-top)
        share = powers / whole[:, None]
        likelihood = -float((np.log(whole) + top).sum())
        now = 0.5 * float(precision @ weights**2) - likelihood
        if now > value + _CONVERGED:  # overshot: half of the way back
            step = step / 2
            weights = weights + step
            continue
        mean = (share[:, None] @ rows)[:, 0]
        gradient = precision * weights + mean.sum(axis=0)
        flat = rows.reshape(-1, rows.shape[2])
        curvature = np.diag(precision) + (flat * share.reshape(-1, 1)).T @ flat - mean.T @ mean
        if value - now < _CONVERGED:
            break
        value = now
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
    factor = np.linalg.cholesky(curvature)
    volume = 0.5 * float(np.log(precision).sum()) - float(np.log(np.diag(factor)).sum())
    evidence = likelihood - 0.5 * float(precision @ weights**2) + volume
    return _Posterior(form, weights, np.linalg.inv(factor).T, evidence)


def _spread(songs: Vector) -> tuple[Vector, Vector]:
    """Mean and standard deviation of each figure; one where all songs are alike."""
    deviation = songs.std(axis=0)
    return songs.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0)


def _entropy(chance: Vector) -> Vector:
    """In bits."""
    inside = np.clip(chance, 1e-12, 1 - 1e-12)
    return -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
