"""Masters, measured by others' meters: ``python -m benchmarks.masters MUSIC [--sides]``.

MUSIC is a folder with songs anywhere below it; of pieces (folders with ``ref.flac``) ``128.mp3`` is taken. Each is
mastered for every target, and once with all that may stand before it. Told are

* loudness and true peak by FFmpeg's ebur128 (the program itself goes by pyloudnorm's filters and soxr),
* the true peak by scipy, eight times oversampled,
* what the mono fold-down lost beside the whole, against the same of the plain decode (LU; by FFmpeg, too).

``--sides`` instead tells how well the trust in a side signal (:mod:`engine.dsp.width`) goes with how whole the side
is, on the pieces' encodings: mean trust of thirds of octaves by the ratio of the side to its error.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from engine.audio.readers import Audio
from engine.dsp import equaliser
from engine.dsp.width import SideMeter
from engine.run.session import Session

_OVERSAMPLING = 8
_BLOCK = 1 << 17
_EDGE = 256  # frames at both ends of a block that an oversampler's filter reaches over
_STEREO = 2
_CHAINS = {
    "streaming": '[{ stage = "master", target = "streaming" }]',
    "ebu": '[{ stage = "master", target = "ebu" }]',
    "none": '[{ stage = "master", target = "none" }]',
    "dressed": '[{ stage = "eq", tilt_db = 0.3, presence_db = 1.5 }, { stage = "width", middle = 1.5, high = 2.0, '
    'mono_below_hz = 100 }, "compress", "master"]',
}
_TARGETS = {"streaming": -14.0, "ebu": -23.0, "dressed": -14.0}
_ENCODINGS = ("64", "96", "128", "192", "V5")


def by_ffmpeg(blocks: Iterator[Audio], rate: int) -> tuple[float, float]:
    """(LUFS, dBTP) of a stereo or mono stream by FFmpeg's ebur128."""
    import av

    graph = av.filter.Graph()
    source: av.filter.context.FilterContext | None = None
    sink = graph.add("abuffersink")
    last: dict[str, str] = {}
    for block in blocks:
        layout = "stereo" if block.shape[1] == _STEREO else "mono"
        if source is None:
            options = {
                "sample_rate": str(rate),
                "sample_fmt": "flt",
                "channel_layout": layout,
                "time_base": f"1/{rate}",
            }
            source = graph.add("abuffer", **options)
            meter = graph.add("ebur128", metadata="1", peak="true", dualmono="false")
            source.link_to(meter)
            meter.link_to(sink)
            graph.configure()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.reshape(1, -1)), "flt", layout)
        frame.sample_rate = rate
        source.push(frame)
        last = _latest(sink) or last
    assert source is not None
    source.push(None)
    last = _latest(sink) or last
    peaks = [float(value) for name, value in last.items() if name.startswith("lavfi.r128.true_peaks_ch")]
    return float(last["lavfi.r128.I"]), 20 * float(np.log10(max(peaks)))


def _latest(sink: object) -> dict[str, str]:
    import av

    found: dict[str, str] = {}
    try:
        while True:
            found = dict(sink.pull().metadata) or found  # type: ignore[attr-defined]
    except (av.BlockingIOError, av.EOFError):
        return found


def blocks_of(path: Path, *, mono: bool = False) -> Iterator[Audio]:
    """A file in blocks; ``mono``: its fold-down, on both channels."""
    with soundfile.SoundFile(path) as file:
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            yield np.repeat(block.mean(axis=1, keepdims=True), block.shape[1], axis=1) if mono else block


def peak_between(path: Path) -> float:
    """dBTP by scipy's polyphase resampler."""
    from scipy.signal import resample_poly

    highest, held = 0.0, np.zeros((_EDGE, 1), np.float32)
    for block in blocks_of(path):
        joined = np.concatenate([np.broadcast_to(held, (_EDGE, block.shape[1])), block])
        fine = resample_poly(joined, _OVERSAMPLING, 1, axis=0)
        highest = max(highest, float(np.abs(fine[_EDGE * _OVERSAMPLING // 2 :]).max()))
        held = joined[-_EDGE:]
    return 20 * float(np.log10(max(highest, 1e-10)))


def masters(music: Path, only: list[str]) -> Table:
    """The table of all songs and targets."""
    table = Table("song", "target", "LUFS", "off by", "dBTP", "dBTP 8x", "mono lost", box=None)
    songs = sorted({*music.glob("*/128.mp3"), *(music / "songs").rglob("*.mp3")})
    worst = dict.fromkeys(("off by", "dBTP", "dBTP 8x", "mono lost"), -np.inf)
    for song in songs:
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "r.toml"
            text = 'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
            for name in only:
                text += f'[variants.{name}]\nfrom = "01_baseline"\nchain = {_CHAINS[name]}\nsuffix = ""\n'
            recipe.write_text(text, "utf-8")
            Session([song], Path(folder) / "out", str(recipe)).start(jobs=1).join()
            made = {path.parent.name: path for path in (Path(folder) / "out").glob("*/*.flac")}
            plain = _lost(made["01_baseline"])
            for name in only:
                path = made[name]
                rate = soundfile.info(path).samplerate
                loudness, peak = by_ffmpeg(blocks_of(path), rate)
                found = {
                    "off by": abs(loudness - _TARGETS[name]) if name in _TARGETS else -np.inf, "dBTP": peak,
                    "dBTP 8x": peak_between(path), "mono lost": _lost(path) - plain,
                }  # fmt: skip
                worst = {key: max(worst[key], found[key]) for key in worst}
                shown = song.parent.name if song.name == "128.mp3" else song.stem
                table.add_row(shown[:28], name, f"{loudness:.2f}", *(_figure(value) for value in found.values()))
    table.add_row("worst", "", "", *(_figure(value) for value in worst.values()), style="bold")
    return table


def _figure(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def _lost(path: Path) -> float:
    """LU by which the mono fold-down is quieter than the whole."""
    rate = soundfile.info(path).samplerate
    return by_ffmpeg(blocks_of(path), rate)[0] - by_ffmpeg(blocks_of(path, mono=True), rate)[0]


def sides(music: Path) -> Table:
    """Mean trust by the signal-to-error ratio of the side, over all pieces, encodings and bands."""
    ratios: list[float] = []
    trusts: list[float] = []
    for reference in sorted(music.glob("*/ref.flac")):
        true, rate = soundfile.read(reference, dtype="float32", always_2d=True)
        for encoding in _ENCODINGS:
            coded, coded_rate = soundfile.read(reference.with_name(f"{encoding}.mp3"), dtype="float32", always_2d=True)
            if coded_rate != rate or coded.shape[1] != _STEREO or true.shape[1] != _STEREO:
                continue
            count = min(len(true), len(coded))
            meter = SideMeter(rate)
            meter.process(coded[:count])
            frequencies = np.asarray(np.fft.rfftfreq(count, 1 / rate), np.float64)
            side, error = (
                np.abs(np.fft.rfft(a[:, 0] - a[:, 1])) ** 2 for a in (true[:count], coded[:count] - true[:count])
            )
            for centre, trust in zip(meter.centres, meter.trust(None), strict=True):
                shares = equaliser.third_octaves(frequencies, np.array([centre]))[0]
                ratios.append(10 * float(np.log10((shares @ side + 1e-20) / (shares @ error + 1e-20))))
                trusts.append(float(trust))
    table = Table("side to its error", "bands", "mean trust", box=None)
    edges = [-np.inf, 3, 6, 10, 15, np.inf]
    for low, high in pairwise(edges):
        within = [trust for ratio, trust in zip(ratios, trusts, strict=True) if low <= ratio < high]
        table.add_row(f"{low:g} to {high:g} dB", str(len(within)), f"{np.mean(within):.2f}" if within else "")
    return table


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music", type=Path)
    parser.add_argument("--sides", action="store_true")
    parser.add_argument("--only", default=",".join(_CHAINS), help="targets, with commas")
    given = parser.parse_args()
    Console(width=110).print(sides(given.music) if given.sides else masters(given.music, given.only.split(",")))


if __name__ == "__main__":
    main()
