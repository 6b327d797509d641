"""Share: what all stems' chains made above the cutoff, held together to what the song alone explains.

Each stem's super-resolver knows its stem alone. What bleeds into several stems would be extended several times, and a
cymbal would be heard twice; what is torn into several stems would be extended by none. So a stem has a new top only
where it reaches the cutoff itself, and the sum of all tops is brought, by moment and band, to what the restorer would
make of the mix: what is more is turned down, what is less is filled up, and each stem gets its share of that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.audio.readers import Audio
from engine.audio.resample import resampled_length
from engine.dsp.share import MARGIN, REACH, Top, reaches, shares
from engine.dsp.spectrum import FFT, HANN, HOP, stft
from engine.models.restorer import network, synthesis
from engine.signals import MIX, RESIDUAL
from engine.stages.base import Context, Params, Rendered, Signal, Stage, blocks_at, parameter, read_at
from engine.stages.restore import RestoreParams, learned

_MOMENTS = 1024  # of a stretch: 12 s at 44.1 kHz
_STRETCH = _MOMENTS * HOP  # frames
_HIGHEST = 21000.0  # Hz; above, there is nothing to hear
_LOWEST_RATE = 44100  # Hz, whose half the restorer's bands go up to


@dataclass(frozen=True)
class ShareParams(Params):
    most_db: float = parameter(
        0.0, "level of the tops of all stems together, against what the restorer would make of the mix, at most",
        unit="dB", low=-12.0, high=12.0,
    )  # fmt: skip
    bleed_db: float = parameter(
        -25.0, "a stem that is so far below the mix just below the cutoff has no top of its own there",
        unit="dB", low=-60.0, high=0.0,
    )  # fmt: skip
    fill: bool = parameter(True, "fill them up where they stay below it, with what the restorer makes of the mix")


class Share(Stage):
    """Takes all stems and gives them back; below the cutoff they pass as they are."""

    name = "share"
    title = "Top shared among the stems"
    cost = 0.1
    Parameters = ShareParams

    def inputs(self, params: ShareParams) -> None:
        return None

    def outputs(self, params: ShareParams, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in inputs if name != MIX)

    def unavailable_reason(self, params: ShareParams) -> str:
        return "" if network.is_here() else "The learned restorer has no weights in this version yet."

    def fingerprint(self, params: ShareParams) -> dict[str, str]:
        return {"model": network.fingerprint()}

    def run(self, context: Context, params: ShareParams) -> dict[str, Rendered]:
        stems = {name: signal for name, signal in context.inputs.items() if name != MIX}
        lowest = min(signal.gain for signal in stems.values())
        cutoff, rate = context.cutoff, _rate(context.inputs[MIX], stems.values())
        if cutoff is None or cutoff >= min(_HIGHEST, 0.45 * rate) or rate < _LOWEST_RATE:
            return {
                name: Rendered(
                    signal.rate, signal.channels, signal.frames, partial(blocks_at, signal, lowest),
                    note=f"{name}, as its own chain made it", exact=signal.gain == lowest,
                )
                for name, signal in stems.items()
            }  # fmt: skip
        work = _Work(context, params, stems, lowest, cutoff)
        work.make()
        note = f"above {cutoff / 1000:.1f} kHz no more than the song explains, all stems together"
        return {
            name: Rendered(work.rate, signal.channels, work.frames, partial(work.blocks, name), note=f"{name}, {note}")
            for name, signal in stems.items()
        }


class _Work:
    """Two chunks for each stretch of the song: the gains of bands and stems by moment, and what fills up.

    The first is ``(moments, bands + 2 * stems)``, with a margin of moments on both sides: gains of all bands, then of
    each stem, then each stem's share in what fills up. The second is ``(frames, channels)``.
    """

    def __init__(
        self, context: Context, params: ShareParams, stems: dict[str, Signal], gain: float, cutoff: float
    ) -> None:  # fmt: skip
        self._mix = context.inputs[MIX]
        self.rate = _rate(self._mix, stems.values())
        self.frames = resampled_length(self._mix.frames, self._mix.rate, self.rate)
        self._context, self._params, self._stems, self._gain = context, params, stems, gain
        self._top = Top(min(cutoff, 0.45 * self.rate), self.rate)
        self._bands = len(self._top.edges) - 1
        self._count = max(1, -(-self.frames // _STRETCH))

    def make(self) -> None:
        """Find all that is not there."""
        missing = [index for index in range(self._count) if self._gains(index) is None or self._filling(index) is None]
        restorer = self._restorer() if missing else None
        for index in range(self._count):
            if restorer is not None and index in missing:
                self._context.checkpoint()
                gains, filling = self._found(index, restorer)
                self._context.save_chunk(2 * index, gains)
                self._context.save_chunk(2 * index + 1, np.ascontiguousarray(filling, np.float32))
            self._context.progress(index + 1, self._count, reused=index not in missing)

    def blocks(self, name: str) -> Iterator[Audio]:
        """A stem with its share of the top. Raises FileNotFoundError where a chunk has gone."""
        signal, at = self._stems[name], self._bands + list(self._stems).index(name)
        for index in range(self._count):
            self._context.checkpoint()
            gains, filling = self._gains(index), self._filling(index)
            if gains is None or filling is None:
                raise FileNotFoundError(f"chunk {index} has vanished")
            start = index * _STRETCH
            window = self._read(signal, start - FFT, start + _STRETCH + FFT)
            made = self._top.apply(window, gains[:, : self._bands] * gains[:, at : at + 1])
            share = gains[MARGIN:, at + len(self._stems)]
            places = np.arange(len(filling)) / HOP
            more = filling * np.interp(places, np.arange(len(share)), share).astype(np.float32)[:, None]
            yield made[: len(filling)] + more[:, : made.shape[1]]

    def _restorer(self) -> synthesis.Restorer:
        top = RestoreParams(engine="learned", fill_holes=False)
        found = learned(self._context, self._mix, self.rate, self._top.cutoff, top, extend=True)
        return dataclasses.replace(found, seed=found.seed ^ 1)  # other noise than the stems' own restorers make

    def _gains(self, index: int) -> Audio | None:
        return self._context.load_chunk(2 * index, (_MOMENTS + 2 * MARGIN + 1, self._bands + 2 * len(self._stems)))

    def _filling(self, index: int) -> Audio | None:
        frames = min(_STRETCH, self.frames - index * _STRETCH)
        return self._context.load_chunk(2 * index + 1, (frames, self._mix.channels))

    def _found(self, index: int, restorer: synthesis.Restorer) -> tuple[Audio, Audio]:
        """Both chunks; moments on the borders are found twice, and are the same."""
        reach = (REACH + MARGIN) * HOP
        start = index * _STRETCH
        first, last = start - reach, start + _STRETCH + reach
        mix = read_at(self._mix, self.rate, first - synthesis.CONTEXT, last + synthesis.CONTEXT)
        inner = slice(synthesis.CONTEXT, len(mix) - synthesis.CONTEXT)
        level = self._factor(self._mix)  # the restorer hears the mix as loud as it was measured
        top = stft(restorer(mix, first - synthesis.CONTEXT)[inner] * level, HANN)
        whole = stft(mix[inner] * level, HANN)
        near = self._top.near(whole)
        total, heard, opened = np.zeros_like(whole), [], []
        for name, signal in self._stems.items():
            spectrum = stft(self._read(signal, first, last), HANN)
            own = self._top.near(spectrum)
            gate = np.ones_like(own) if name == RESIDUAL else reaches(own, near, self._params.bleed_db)
            total += spectrum * gate[:, None, None]
            heard.append(0 * own if name == RESIDUAL else own * gate)
            opened.append(gate)
        gains = self._top.gains(total, whole, top, 10 ** (self._params.most_db / 10))
        parts = [gains.own, np.stack(opened, axis=1), shares(np.array(heard)).T]
        filling = self._top.filling(top, gains.filling, last - first)[reach : len(whole) * HOP]
        frames = min(_STRETCH, self.frames - start)
        return np.concatenate(parts, axis=1)[REACH:-REACH], filling[:frames] * np.float32(self._params.fill)

    def _read(self, signal: Signal, first: int, last: int) -> Audio:
        """Frames of a signal, as if it were attenuated as much as the quietest of the stems."""
        return read_at(signal, self.rate, first, last) * self._factor(signal)

    def _factor(self, signal: Signal) -> np.float32:
        return np.float32(10 ** ((self._gain - signal.gain) / 20))


def _rate(mix: Signal, stems: Iterable[Signal]) -> int:
    """Hz: that of stems whose chains have changed it. What others hold fits in, as they end with the song's band."""
    return max((signal.rate for signal in stems if signal.rate != mix.rate), default=mix.rate)
