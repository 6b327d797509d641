"""The separators that there are, behind one interface; the best first. A further one is a package and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.models import demucs, spleeter
from engine.models.demucs import separation

Work = Callable[[list[Audio]], list[Audio]]


class Prepare(Protocol):
    """Sets a separator up for one song."""

    def __call__(self, song: Callable[[], Iterable[Audio]], device: str, tell: Callable[[str], None]) -> Work:
        """``song`` gives the song as stereo blocks at the separator's rate, as often as it is asked for.

        The result turns windows ``(frames + 2 * context, 2)`` into ``(frames, 2 * stems)``: two channels for each
        stem, in order. ``tell`` hears of every step down the ladder of memory.

        Raises NotPossibleError where the model is not here or is not what it should be.
        """
        ...


@dataclass(frozen=True)
class Separator:
    """How a song is taken apart. ``rate`` in Hz, ``geometry`` in frames at that rate.

    ``cost`` is a first guess of the seconds of work per second of stereo audio on one core. One that is
    ``slow_without_gpu`` is only chosen by itself where there is one. ``batch(device)`` chunks fit at once.
    """

    key: str
    title: str
    stems: tuple[str, ...]
    rate: int
    geometry: ChunkGeometry
    cost: float
    neural: bool
    slow_without_gpu: bool
    unavailable_reason: Callable[[], str]
    fingerprint: Callable[[], str]
    prepare: Prepare
    batch: Callable[[str], int] = lambda device: 1


def _spleeter(key: str) -> Separator:
    stems = spleeter.MODELS[key].stems
    return Separator(
        key=key, title=f"Spleeter ({len(stems)} stems)", stems=stems, rate=spleeter.RATE, geometry=spleeter.GEOMETRY,
        cost=0.06 * len(stems), neural=False, slow_without_gpu=False,
        unavailable_reason=lambda: spleeter.unavailable_reason(key), fingerprint=lambda: spleeter.fingerprint(key),
        prepare=lambda song, device, tell: spleeter.prepare(key),
    )  # fmt: skip


def _demucs(key: str, title: str, stems: tuple[str, ...], cost: float, *, slow: bool = False) -> Separator:
    return Separator(
        key=key, title=title, stems=stems, rate=demucs.RATE, geometry=separation.GEOMETRY, cost=cost, neural=True,
        slow_without_gpu=slow, unavailable_reason=lambda: demucs.unavailable_reason(key),
        fingerprint=lambda: demucs.fingerprint(key),
        prepare=lambda song, device, tell: separation.prepare(key, stems, song, device, tell),
        batch=lambda device: separation.batch(key, device),
    )  # fmt: skip


_FOUR = ("vocals", "drums", "bass", "other")
SEPARATORS: dict[str, Separator] = {
    item.key: item
    for item in (
        _demucs("htdemucs_ft", "Demucs v4, fine-tuned", _FOUR, 6.0, slow=True),
        _demucs("htdemucs", "Demucs v4", _FOUR, 1.5),
        _demucs("htdemucs_6s", "Demucs v4, six stems", ("vocals", "drums", "bass", "guitar", "piano", "other"), 1.5),
        _spleeter("spleeter-4stems"),
        _spleeter("spleeter-5stems"),
        _spleeter("spleeter-2stems"),
    )
}


def best(with_gpu: bool) -> Separator | None:
    """The best separator that is here and fits the machine; None where none is here."""
    here = [item for item in SEPARATORS.values() if not item.unavailable_reason()]
    quick = [item for item in here if with_gpu or not item.slow_without_gpu]
    return next(iter(quick or here), None)
