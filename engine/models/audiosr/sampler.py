"""From noise to a latent: DDIM (Song et al. 2021) and DPM-Solver++ 2M (Lu et al. 2022) for a model that predicts v.

The model of Salimans and Ho 2022: with ``a`` the share of signal power at a time, v = sqrt(a) noise - sqrt(1 - a)
signal, so that signal = sqrt(a) x - sqrt(1 - a) v and noise = sqrt(a) v + sqrt(1 - a) x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

TIMES = 1000
_LATEST = 981  # where 50 steps of DDIM begin; beyond, there is next to no signal
_OFFSET = 8e-3
Method = Literal["ddim", "dpm++"]
Predict = Callable[[Tensor, int], Tensor]  # (x, time) -> v
Noise = Callable[[int], Tensor]  # draw -> unit Gaussian noise of the latent's shape


def signal_power() -> npt.NDArray[np.float64]:
    """``(1000,)``: the share of signal power at each time (cosine schedule of Nichol and Dhariwal 2021)."""
    # The offset is added to the fraction of time as such; the checkpoint was trained with that.
    angles = (np.arange(TIMES + 1) / TIMES + _OFFSET) / (1 + _OFFSET) * np.pi / 2
    power = np.cos(angles) ** 2
    return np.cumprod(power[1:] / power[:-1]).astype(np.float32).astype(np.float64)


def times(steps: int, method: Method = "ddim") -> npt.NDArray[np.int64]:
    """``(steps,)`` rising times at which the model is asked. ``steps`` is 1 to 1000.

    DDIM goes in equal steps of time, as the model's authors do; DPM-Solver++ in equal steps of the signal-to-noise
    ratio, in which its steps are of second order.
    """
    if method == "dpm++" and 1 < steps <= _LATEST // 2:
        return _even_in_log_ratio(steps)
    stride = TIMES // steps
    spaced = np.arange(0, TIMES, stride) + 1
    if len(spaced) == steps and spaced[-1] < TIMES:
        return spaced
    return np.rint(np.linspace(0, TIMES - 1, steps)).astype(np.int64)


def _even_in_log_ratio(steps: int) -> npt.NDArray[np.int64]:
    candidates = np.arange(1, _LATEST + 1)
    ratios = np.array([_log_ratio(power) for power in signal_power()[candidates]])
    found = np.interp(np.linspace(ratios[-1], ratios[0], steps), ratios[::-1], candidates[::-1])[::-1].round()
    for index in range(1, steps):  # near the ends neighbouring times are further apart than wanted
        found[index] = max(found[index], found[index - 1] + 1)
    for index in reversed(range(steps - 1)):
        found[index] = min(found[index], found[index + 1] - 1)
    return found.astype(np.int64)


def sample(
    predict: Predict, noise: Noise, steps: int, *, method: Method = "ddim", eta: float = 1.0,
    after_step: Callable[[int], None] = lambda _: None,
) -> Tensor:  # fmt: skip
    """A latent in ``steps`` steps. ``noise(0)`` is what it starts from, ``noise(n)`` what DDIM adds in step n.

    Args:
        eta: 0 (DDIM, no new noise) to 1 (DDPM, all of it); DPM-Solver++ knows no new noise.
        after_step: is told how many steps are done; it may raise to leave.
    """
    alphas = signal_power()
    asked = times(steps, method)
    x = noise(0)
    earlier: tuple[Tensor, float] | None = None
    for done, index in enumerate(reversed(range(steps)), 1):
        now = alphas[asked[index]]
        then = alphas[asked[index - 1]] if index else alphas[0]
        v = predict(x, int(asked[index]))
        signal = math.sqrt(now) * x - math.sqrt(1 - now) * v
        if method == "ddim":
            rest = math.sqrt(now) * v + math.sqrt(1 - now) * x
            spread = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
            x = math.sqrt(then) * signal + math.sqrt(max(0.0, 1 - then - spread**2)) * rest
            if spread:
                x = x + spread * noise(done)
        else:
            x, earlier = _dpm_step(x, signal, now, then, earlier, last=index == 0)
        after_step(done)
    return x


def _dpm_step(
    x: Tensor, signal: Tensor, now: float, then: float, earlier: tuple[Tensor, float] | None, *, last: bool
) -> tuple[Tensor, tuple[Tensor, float]]:
    """One multistep of second order; of first order at both ends, where the curve is steep."""
    if now <= 0:  # pure noise: nothing is known of the slope there
        return math.sqrt(then) * signal + math.sqrt(1 - then) * x, (signal, -math.inf)
    step = _log_ratio(then) - _log_ratio(now)
    direction = signal
    if earlier is not None and math.isfinite(earlier[1]) and not last:
        ratio = (_log_ratio(now) - earlier[1]) / step
        direction = (1 + 1 / (2 * ratio)) * signal - 1 / (2 * ratio) * earlier[0]
    x = math.sqrt((1 - then) / (1 - now)) * x - math.sqrt(then) * math.expm1(-step) * direction
    return x, (signal, _log_ratio(now))


def _log_ratio(power: float) -> float:
    """Half the logarithm of the signal-to-noise ratio."""
    return 0.5 * math.log(power / (1 - power))
