"""Apollo: a model that learnt from MP3s fills the holes and the top together."""

from __future__ import annotations

from dataclasses import dataclass

from engine.audio.chunks import ChunkGeometry
from engine.audio.readers import Audio
from engine.dsp.filters import filtered, lowpass
from engine.dsp.gate import activity
from engine.models import apollo
from engine.models.apollo import EDGE, RATE
from engine.stages.base import ChunkedStage, Context, Params, Signal, one_of, parameter

_SIZE = 7 * RATE
_OVERLAP = RATE // 2
_CONTEXT = EDGE + RATE // 10  # and the reach of the crossover's filter
_TRANSITION = 500.0


@dataclass(frozen=True)
class ApolloParams(Params):
    model: str = parameter(
        "official", f"which weights: 'official' (music as MP3), or {', '.join(list(apollo.VARIANTS)[1:])}", later=True
    )
    keep_below_hz: float = parameter(
        0.0, "below this the song stays as it is; 0 restores the whole band, holes included",
        unit="Hz", low=0.0, high=20000.0,
    )  # fmt: skip
    precision: str = parameter("auto", "'auto', 'fp32', 'fp16' or 'bf16': the arithmetic of the network")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("model", self.model, apollo.VARIANTS)
        one_of("precision", self.precision, ("auto", "fp32", "fp16", "bf16"))


class Apollo(ChunkedStage):
    """Chunks of 7 s with 0.6 s more on both sides, of which half a second is of no use; the result is at 44.1 kHz."""

    name = "apollo"
    title = "Apollo codec restoration"
    cost = 13.0
    neural = True
    Parameters = ApolloParams

    def unavailable_reason(self, params: ApolloParams) -> str:
        return apollo.unavailable_reason(params.model)

    def fingerprint(self, params: ApolloParams) -> dict[str, str]:
        return {"model": apollo.fingerprint(params.model)}

    def cutoff_after(self, before: float | None, params: ApolloParams) -> None:
        return None

    def note(self, context: Context, params: ApolloParams) -> str:
        learnt = apollo.VARIANTS[params.model].learnt
        if params.keep_below_hz:
            return f"remade above {params.keep_below_hz / 1000:.1f} kHz by a model that learnt from {learnt}"
        return f"the whole band remade by a model that learnt from {learnt}"

    def rate(self, signal: Signal) -> int:
        return RATE

    def geometry(self, signal: Signal) -> ChunkGeometry:
        return ChunkGeometry(_SIZE, _OVERLAP, _CONTEXT)

    def batch(self, context: Context, params: ApolloParams) -> int:
        return apollo.batch(context.device, (_SIZE + 2 * _CONTEXT) / RATE, params.model)

    def prepare(self, context: Context, params: ApolloParams) -> _Processor:
        below = None
        if params.keep_below_hz:
            below = lowpass(max(params.keep_below_hz, 2 * _TRANSITION), _TRANSITION, RATE)
        return _Processor(context, params.model, params.precision, below)


@dataclass(frozen=True)
class _Processor:
    """See :class:`engine.stages.base.BatchProcessor`. ``below`` is the FIR of the crossover, where there is one."""

    context: Context
    model: str
    precision: str
    below: Audio | None

    def together(self, windows: list[Audio], starts: list[int]) -> list[Audio]:
        """The restored song, for each window."""
        heard = [activity(window, RATE) for window in windows]
        loud = [n for n, gain in enumerate(heard) if gain.any()]
        made = apollo.restore(
            [windows[n] for n in loud], self.context.device, self.precision, self.context.warn, self.model
        ) if loud else []  # fmt: skip
        whole = list(windows)
        for n, audio in zip(loud, made, strict=True):
            changed = audio - windows[n]
            kept = 0 if self.below is None else filtered(changed, self.below)
            whole[n] = windows[n] + (changed - kept) * heard[n]
        return [audio[_CONTEXT : len(audio) - _CONTEXT] for audio in whole]
