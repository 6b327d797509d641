"""Apollo: restores what a codec damaged, over the whole band, at 44.1 kHz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.audio.readers import Audio
from engine.errors import NotPossibleError
from engine.models.runtime import device as devices
from engine.models.runtime import loading
from engine.models.runtime.checkpoint import Checkpoint
from engine.models.runtime.pickled import Tensor
from engine.models.runtime.weights import Weights

RATE = 44100
EDGE = RATE // 2  # frames at both ends of what the model is given whose result cannot be used
_ACTIVATIONS = 60_000_000  # bytes that a second of one channel takes at its worst, in a network 256 wide


@dataclass(frozen=True)
class Variant:
    """A checkpoint of the network. ``width`` and ``layers`` are those of its network; 0 where any will do.

    ``learnt`` is what it learnt from, in a word or two for the listener.
    """

    weights: Weights
    title: str
    learnt: str
    trained_on: str
    licence: str
    width: int = 0
    layers: int = 0


_LEW = "https://github.com/deton24/Lew-s-vocal-enhancer-for-Apollo-by-JusperLee/releases"
_MUSIC = "music as MP3 at 24 to 128 kbit/s; the whole band is made anew, so the wave is no longer the song's"
_VOCALS = "singing, separated and as MP3; for vocals alone"
VARIANTS = {
    "official": Variant(
        Weights(
            "apollo", "apollo.bin", repo="JusperLee/Apollo", hub_filename="pytorch_model.bin",
            revision="c68bd80fdd9c0d93d2f4a833cb154624f660a561", size=66_541_845,
        ),
        "Apollo", "MP3s at 24 to 128 kbit/s", _MUSIC, "CC BY-SA 4.0", 256, 6,
    ),
    "universal": Variant(
        Weights("apollo-universal", "apollo-universal.ckpt", by_hand=f"{_LEW}/tag/uni", size=147_000_000,
                also=("apollo_model_uni.ckpt",)),
        "Apollo, universal (Lew)", "lossy music", "music from many lossy codecs", "not stated", 384, 6,
    ),
    "vocals": Variant(
        Weights("apollo-vocals", "apollo-vocals.ckpt", by_hand=_LEW, size=66_532_080, also=("apollo_model.ckpt",)),
        "Apollo, vocals (Lew)", "singing as MP3", _VOCALS, "not stated", 256, 6,
    ),
    "vocals-light": Variant(
        Weights("apollo-vocals-light", "apollo-vocals-light.ckpt", by_hand=f"{_LEW}/tag/2.0", size=38_200_000,
                also=("apollo_model_v2.ckpt",)),
        "Apollo, vocals 2 (Lew)", "singing as MP3", _VOCALS, "not stated", 192, 6,
    ),
    "vocals-large": Variant(
        Weights("apollo-vocals-large", "apollo-vocals-large.ckpt", repo="baicai1145/Apollo-vocal-msst",
                hub_filename="model_apollo_vocals_ep_54.ckpt", size=194_000_000),
        "Apollo, vocals (baicai1145)", "singing as MP3", _VOCALS, "CC BY-NC-SA 4.0", 384, 8,
    ),
    "own": Variant(
        Weights("apollo-own", "apollo-own.ckpt", by_hand="a checkpoint of your own", size=66_500_000),
        "Apollo, a checkpoint of your own", "what its trainer chose",
        "what you or others trained it on; any width and depth", "its trainer's",
    ),
}  # fmt: skip


def unavailable_reason(model: str = "official") -> str:
    """Empty where the model can be used, else one sentence."""
    return loading.unavailable_reason(VARIANTS[model].title, VARIANTS[model].weights)


def fingerprint(model: str = "official") -> str:
    """What decides the weights. Raises NotPossibleError where they are not here."""
    return loading.fingerprint((VARIANTS[model].weights,), unavailable_reason(model))


def check(path: Path, model: str = "own") -> None:
    """Raises NotPossibleError where ``path`` is not a checkpoint of Apollo, or is of the size of another model's."""
    from engine.models.apollo.network import load

    network = load(path, "cpu")
    wanted, found = VARIANTS[model], (network.width, len(network.net))
    others = {(other.width, other.layers) for other in VARIANTS.values()} - {(wanted.width, wanted.layers)}
    if wanted.width and found in others:
        raise NotPossibleError(f"{path.name} is a checkpoint of Apollo of another size.")


def sizes(state: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int, int]:
    """(width of each band in bins, width of the network, layers). Raises KeyError where it is another network."""
    bands: list[int] = []
    while (key := f"BN.{len(bands)}.0.weight") in state:
        bands.append((state[key].shape[0] - 1) // 2)
    layers = 0
    while f"net.{layers}.band_net.weight.weight" in state:
        layers += 1
    return tuple(bands), state["BN.0.1.weight"].shape[0], layers


def own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights by their own names: trainers put a prefix before them, and other networks beside them."""
    first = next((name for name in state if name.endswith("BN.0.0.weight")), "")
    prefix = first.removesuffix("BN.0.0.weight")
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix) and not name.endswith(("cos_freq", "sin_freq"))  # computed, not learnt
    }


def recognised(found: Checkpoint) -> str:
    """What checkpoint of Apollo this is, for the user; empty where it is none."""
    try:
        _, width, layers = sizes(own(found.tensors()))
    except (KeyError, IndexError):
        return ""
    same = [v.weights.key for v in VARIANTS.values() if (v.width, v.layers) == (width, layers)]
    return f"Apollo {width} wide with {layers} layers, as {' and '.join(same) or 'apollo-own'} would be"


def batch(device: str, seconds: float, model: str = "official") -> int:
    """How many windows of stereo of so many seconds fit on the device at once."""
    variant = VARIANTS[model]
    guess = int(2 * seconds * _ACTIVATIONS * (variant.width or 384) / 256)
    return devices.batch_that_fits(device, variant.weights.key, guess, 16)


def restore(
    windows: list[Audio], device: str, precision: str, tell: Callable[[str], None], model: str = "official"
) -> list[Audio]:
    """Each ``(frames, channels)`` at 44.1 kHz restored; :data:`EDGE` frames at both ends are of no use.

    ``tell`` hears of every step that is taken to use less memory.

    Raises:
        NotPossibleError: the model is not here, is not what it should be, or there is too little memory.
    """

    def work(some: list[Audio], how: devices.Attempt) -> list[Audio]:
        from engine.models.apollo.network import load, restored

        with loading.borrowed(
            VARIANTS[model].weights, lambda: unavailable_reason(model), how.device, lambda path: load(path, how.device)
        ) as network:
            arithmetic = devices.precision(
                how.device, precision, lambda kind: restored(network, some[0].T[:1, :RATE], how.device, kind)
            )

            def run(rows: Audio) -> Audio:
                return restored(network, rows.T, how.device, arithmetic).T

            if how.short:
                return [devices.in_halves(run, audio, EDGE) for audio in some]
            with devices.measured(how.device, VARIANTS[model].weights.key, len(some)):
                made = run(np.concatenate(_alike(some), axis=1))
        ends = np.cumsum([audio.shape[1] for audio in some])[:-1]
        return [part[: len(audio)] for part, audio in zip(np.split(made, ends, axis=1), some, strict=True)]

    return devices.with_oom_fallback(work, windows, device, tell)


def _alike(windows: list[Audio]) -> list[Audio]:
    """Windows of one length: the last one of a song is shorter."""
    longest = max(map(len, windows))
    return [np.pad(audio, ((0, longest - len(audio)), (0, 0))) for audio in windows]
