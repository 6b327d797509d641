"""Remix: brings stems together again, as loud as they were in the mix, or as the listener wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, make_dataclass, replace
from typing import Any

import numpy as np

from engine.audio.readers import Audio
from engine.audio.resample import resample_stream
from engine.audio.streams import in_step
from engine.dsp.filters import apply_fir
from engine.dsp.level_fit import Fit, LevelFit
from engine.dsp.mix import LEVELS, Mix, Strip, described, in_the_mix, placed
from engine.errors import UsageError
from engine.signals import MIX, RESIDUAL, STEMS
from engine.stages.base import Context, Params, Rendered, Signal, Stage, blocks_at, one_of, parameter, watched

_ALL = (*STEMS, RESIDUAL)
_BLOCK = 1 << 17  # frames at a time where levels are compared


@dataclass(frozen=True)
class _Common(Params):
    fit: bool = parameter(True, "bring every stem's bands back to what they were in the mix, below the song's cutoff")
    fit_by: str = parameter(
        "waveform",
        "what bands are brought back to: the mix's 'waveform', or its 'level', which is not lowered for what was "
        "added, and which leaves what lies above the cutoff as it is",
        later=True,
    )
    residual: bool = parameter(True, "add what no stem took")
    mute: str = parameter("", "stems that are left out, such as 'vocals, other'")
    solo: str = parameter("", "only these stems, such as 'drums'")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("fit_by", self.fit_by, ("waveform", "level"))
        for name in (*_names(self.mute), *_names(self.solo)):
            if name not in _ALL:
                raise UsageError(f"there is no stem {name!r}; there are {', '.join(_ALL)}.")

    @property
    def mix(self) -> dict[str, Strip]:
        """How every stem there may be is to be in the mix."""
        muted, solo = _names(self.mute), _names(self.solo)
        return {
            stem: Strip(
                getattr(self, f"{stem}_db"), getattr(self, f"{stem}_pan"),
                stem in muted or (stem == RESIDUAL and not self.residual), stem in solo,
            )
            for stem in _ALL
        }  # fmt: skip

    def mixed(self, mix: Mix) -> _Common:
        """The same for another mix; stems that it does not name are as before."""
        strips = {**self.mix, **mix}
        levels: dict[str, Any] = {f"{stem}_db": strips[stem].db for stem in _ALL}
        places: dict[str, Any] = {f"{stem}_pan": strips[stem].pan for stem in _ALL}
        names: dict[str, Any] = {
            "mute": ", ".join(stem for stem in STEMS if strips[stem].muted),
            "solo": ", ".join(stem for stem in _ALL if strips[stem].solo),
        }
        return replace(self, residual=not strips[RESIDUAL].muted, **names, **levels, **places)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


_Levels = [
    entry
    for stem in _ALL
    for what in ["what no stem took" if stem == RESIDUAL else f"the {stem}"]
    for entry in (
        (f"{stem}_db", float,
         parameter(0.0, f"level of {what}", unit="dB", low=LEVELS[0], high=LEVELS[1], later=stem == RESIDUAL)),
        (f"{stem}_pan", float,
         parameter(0.0, f"place of {what}: -1 left, 1 right", low=-1.0, high=1.0, later=stem == RESIDUAL)),
    )
]  # fmt: skip
RemixParams = make_dataclass("RemixParams", _Levels, bases=(_Common,), frozen=True)


class Remix(Stage):
    """Takes whatever stems come, and the mix that they were made of."""

    name = "remix"
    title = "Remix of the stems"
    cost = 0.15
    takes_mix = True
    Parameters = RemixParams

    def inputs(self, params: _Common) -> None:
        return None

    def mixed(self, params: _Common, mix: Mix) -> _Common:
        return params.mixed(mix)

    def mix(self, params: _Common) -> Mix:
        return params.mix

    def run(self, context: Context, params: _Common) -> Rendered:
        inputs = dict(context.inputs)
        mix = inputs.pop(MIX)
        rate = max(signal.rate for signal in inputs.values())  # a stem that was extended may have a higher one
        frames = max(signal.frames for signal in inputs.values() if signal.rate == rate)
        reader = _Reader(rate, frames)
        fits = self._fits(context, params, reader, mix, inputs)
        filters = {name: fit.equaliser(rate) for name, fit in fits.items()}
        strips = {name: params.mix[name] for name in inputs}
        heard = {name: signal for name, signal in inputs.items() if in_the_mix(params.mix, name)}
        gain = min((signal.gain for signal in inputs.values()), default=0.0)

        def stem(name: str) -> Iterator[Audio]:
            stream = reader.blocks(heard[name], gain)
            taps = filters.get(name)
            for block in stream if taps is None else apply_fir(stream, taps):
                yield placed(block, strips[name].db, strips[name].pan)

        def mixed() -> Iterator[Audio]:
            if not heard:
                yield from (np.zeros_like(block) for block in reader.blocks(mix, 0.0))
                return
            sums = (np.add.reduce(blocks) for blocks in in_step(*map(stem, heard)))
            yield from watched(context, sums, frames, 0.5)

        channels = max(signal.channels for signal in inputs.values())
        return Rendered(rate, channels, frames, mixed, note=_note(strips, heard), fits=fits)

    def _fits(
        self, context: Context, params: _Common, reader: _Reader, mix: Signal, inputs: dict[str, Signal]
    ) -> dict[str, Fit]:
        """What each stem is equalised by, so that all of them add up to the mix again."""
        stems = [name for name in inputs if name != RESIDUAL]
        if not params.fit or not stems:
            return {}
        fit = LevelFit(len(stems), reader.rate, context.cutoff)
        gain = min(signal.gain for signal in inputs.values())
        rest = [reader.blocks(inputs[RESIDUAL], gain)] if RESIDUAL in inputs else []
        streams = [reader.blocks(mix, gain), *(reader.blocks(inputs[name], gain) for name in stems), *rest]
        done = 0
        for blocks in _gathered(in_step(*streams), _BLOCK):
            context.checkpoint()
            target = blocks[0] - blocks[-1] if rest else blocks[0]
            fit.process(target, blocks[1 : len(stems) + 1])
            done += len(target)
            context.fraction(done / reader.frames / 2)
        found = fit.level_fits() if params.fit_by == "level" else fit.fits()
        return dict(zip(stems, found, strict=True))


@dataclass(frozen=True)
class _Reader:
    """Streams of signals at one rate, and all of them ``gain`` dB below the source, however each was attenuated."""

    rate: int
    frames: int

    def blocks(self, signal: Signal, gain: float) -> Iterator[Audio]:
        yield from resample_stream(blocks_at(signal, gain), signal.rate, self.rate, self.frames)


def _gathered(blocks: Iterator[tuple[Audio, ...]], size: int) -> Iterator[tuple[Audio, ...]]:
    """The same in larger blocks."""
    held: list[tuple[Audio, ...]] = []
    for some in blocks:
        held.append(some)
        if sum(len(item[0]) for item in held) >= size:
            yield tuple(np.concatenate(parts) for parts in zip(*held, strict=True))
            held = []
    if held:
        yield tuple(np.concatenate(parts) for parts in zip(*held, strict=True))


def _note(mix: Mix, heard: Iterable[str]) -> str:
    changed = described(mix)
    return f"remixed from {', '.join(heard) or 'nothing'}" + (
        f": {changed}" if changed else ", levels as in the original"
    )
