"""The whole chain on true stems: one MP3 to its master. ``python -m benchmarks.chain MUSIC --spleeter FILE``.

MUSIC holds a folder per piece with ``ref.flac`` and, where they are known, ``stems/``; FILE is as for
benchmarks/stems.py. Each of ``--pieces`` is coded by LAME at each of ``--codings``. A piece ``A+B`` is A and, as loud,
the voice that Spleeter takes out of the original of B: then the true stems are known. The recipe ``stems``, as it comes
with the program, is run. The tables go into a section of ``docs/measured.md``.

A row for each stem, before and after its chain: its level against the song; what lies above the song's cutoff, against
the stem; the log-spectral distance (bels) to the true stem, where that is known; the noise ahead of attacks beyond the
true stem's, after against before (benchmarks/transients.py). A row for each song: the worst third of an octave of the
remix below the cutoff, against the plain decode; its top against that of ``11_offline``, all of it and the loudest of a
hundred moments of 0.1 s in 1 kHz; the distance to the original of the plain decode, ``11_offline`` and the remix.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks.gpu import REPORT, device_name, written
from benchmarks.transients import excess, pick
from engine.audio.readers import Audio
from engine.audio.resample import fit, resample
from engine.compare.metrics import log_spectral_distance
from engine.compare.selftest import encode_mp3
from engine.dsp.level_fit import band_edges
from engine.dsp.spectrum import FFT, HANN, HOP, band_power, bin_of, power, stft
from engine.models import spleeter
from engine.models.spleeter.separation import MODELS, Separator
from engine.run.session import Session

Powers = npt.NDArray[np.float64]  # (time, bins)
Table = list[list[str]]
_RATE = 44100
_LONGEST = 500 * 1024  # frames of a piece that is separated at once
_MOMENT = 9  # spectra: 0.1 s
_QUIET = 1e-4  # of a band's loudest moment: what lies below is not looked at
_SONGS = ["song, kbit/s", "cutoff, kHz", "thirds below, at most, dB", "top against `11_offline`, dB"]
_SONGS += ["99 % of its moments, dB", "distance: decode", "`11_offline`", "remix"]
_STEMS = [
    "stem (Spleeter's)",
    "level, dB",
    "above the cutoff before, dB",
    "after",
    "distance to the true stem",
    "after",
]
_STEMS += ["noise ahead of attacks, dB"]
_ALONE = ["true stem, coded and back", "what its enhancer does"]
_SILENCE = ["`06_remixed` of", "length, s", "processor s, all sent to the models", "without the silent"]
_BASS = """
format = 1
[variants.01]
chain = ["decode"]
[variants.02]
chain = ["decode", { stage = "bass", harmonics = 0.5, mono_below_hz = 100 }]
[variants.03]
chain = ["decode", "transients", { stage = "restore", engine = "learned" }]
"""


@dataclass(frozen=True)
class Piece:
    """An original, and the stems that it is known to be made of (none where that is not known)."""

    name: str
    original: Audio
    stems: dict[str, Audio]


def pieces(music: Path, names: Iterable[str], separator: Separator) -> Iterator[Piece]:
    """Those of that name; see the head of this file."""
    for name in names:
        first, _, voice = name.partition("+")
        song = _read(music / first / "ref.flac")[:_LONGEST]
        if not voice:
            known = {"accompaniment": song} if (music / first / "stems").is_dir() else {}
            yield Piece(name, song, known)
            continue
        sung = separator.separate(_read(music / voice / "ref.flac")[:_LONGEST])["vocals"]
        song, sung = song[: len(sung)], sung[: len(song)]
        sung = sung * np.float32(10 ** ((_db(_mean(song)) - _db(_mean(sung))) / 20))
        half = np.float32(0.5)  # so that nothing clips
        yield Piece(name, half * (song + sung), {"vocals": half * sung, "accompaniment": half * song})


def chain(
    music: Path, names: list[str], codings: list[str], separator: Separator, folder: Path
) -> tuple[Table, Table]:  # fmt: skip
    """The tables of stems and of songs."""
    known = {piece.name: piece for piece in pieces(music, names, separator)}
    library = folder / "library"
    library.mkdir()
    for piece in known.values():
        for coding in codings:
            encode_mp3(library / f"{piece.name} {coding}.mp3", piece.original, _RATE, coding)
    session = Session([library], folder / "out", "stems")
    session.start(jobs=1).join()
    assert session.outcome is not None and session.outcome.done == len(session.songs), session.outcome
    stems: Table = []
    songs: Table = []
    for song in session.songs:
        name, _, coding = song.path.stem.rpartition(" ")
        record = session.store.record_at(song.key)
        assert record is not None and record.analysis is not None and record.analysis.cutoff.hz is not None
        cutoff = record.analysis.cutoff.hz
        made = {
            variant: _as_original(next((folder / "out" / variant).glob(f"{song.path.stem}.*")), known[name])
            for variant in ("01_baseline", "11_offline", "06_remixed", "07_mastered")
        }
        stems += list(_stems(folder / "out", song.path.stem, known[name], made["01_baseline"], cutoff))
        songs.append([f"{name}, {coding}", f"{cutoff / 1000:.1f}", *_song(known[name], made, cutoff)])
    return stems, songs


def _stems(out: Path, song: str, piece: Piece, mix: Audio, cutoff: float) -> Iterator[list[str]]:
    for path in (out / "04_stems" / song / f"{stem}.flac" for stem in ("vocals", "accompaniment")):
        before = _as_original(path, piece)
        after = _as_original(out / "05_stems_enhanced" / song / f"{path.stem}.enhanced.flac", piece)
        level, tops = _db(_mean(before)) - _db(_mean(mix)), []
        for audio in (before, after):
            spectrum = _powers(audio)
            tops.append(_db(spectrum[:, bin_of(cutoff, _RATE) :].sum()) - _db(spectrum.sum()))
        row = [f"{song}: {path.stem}", f"{level:.1f}", f"{tops[0]:.0f}", f"{tops[1]:.1f}"]
        true = piece.stems.get(path.stem)
        if true is None:
            yield [*row, "", "", ""]
            continue
        true = true[: len(before)]
        distances = [f"{log_spectral_distance(true, audio, _RATE):.2f}" for audio in (before, after)]
        onsets = pick(true, _RATE)
        ahead = [excess(true, audio, _RATE, onsets).sum() for audio in (before, after)]
        yield [*row, *distances, f"{_db(ahead[1] / ahead[0]):+.1f}" if ahead[0] else ""]


def _song(piece: Piece, made: dict[str, Audio], cutoff: float) -> list[str]:
    plain, alone, remixed = (_powers(made[name]) for name in ("01_baseline", "11_offline", "06_remixed"))
    edges = np.round(band_edges(_RATE, cutoff) * FFT / _RATE).astype(int)
    thirds = [_db(remixed[:, a:b].sum() / plain[:, a:b].sum()) for a, b in pairwise(edges)]
    first, width, over = bin_of(cutoff, _RATE), bin_of(1000, _RATE), []
    for low in range(first, bin_of(20000, _RATE), width):
        ours, theirs = (_moments(p[:, low : low + width]) for p in (remixed, alone))
        loud = theirs > _QUIET * theirs.max()
        over += (10 * np.log10(ours[loud] / theirs[loud])).tolist()
    top = _db(remixed[:, first:].sum() / alone[:, first:].sum())
    original = piece.original
    distances = [f"{log_spectral_distance(original, made[name], _RATE):.2f}" for name in list(made)[:3]]
    return [f"{max(thirds, key=abs):+.2f}", f"{top:+.1f}", f"{np.percentile(over, 99):+.1f}", *distances]


def alone(music: Path, codings: list[str], folder: Path) -> Table:
    """What is for drums and for the bass, on true stems that were coded as MP3 and back."""
    library = folder / "alone"
    library.mkdir()
    paths = [path for path in sorted(music.glob("*/stems/*.flac")) if path.stem in ("drums", "perc", "bass")]
    for path in paths:
        for coding in codings:
            encode_mp3(library / f"{path.parents[1].name} {path.stem} {coding}.mp3", _read(path), _RATE, coding)
    (folder / "alone.toml").write_text(_BASS)
    session = Session([library], folder / "alone-out", str(folder / "alone.toml"))
    session.start(jobs=1).join()
    rows: Table = []
    for song in session.songs:
        name, stem, coding = song.path.stem.split(" ")
        true = Piece("", _read(music / name / "stems" / f"{stem}.flac"), {})
        plain, low, repaired = (
            _as_original(next((folder / "alone-out" / variant).glob(f"{song.path.stem}.*")), true)
            for variant in ("01", "02", "03")
        )
        rows.append(
            [f"{name}: {stem}, {coding}", *(_bass(plain, low) if stem == "bass" else _drums(true, plain, repaired))]
        )
    return rows


def _bass(plain: Audio, made: Audio) -> list[str]:
    def changed(low: float, high: float, *, sides: bool = False) -> str:
        before, after = (band_power(a[:, :1] - a[:, 1:] if sides else a, _RATE, low, high) for a in (plain, made))
        return f"{_db(after / before):+.2f} dB" if before > 0 else "none"

    told = f"60 to 600 Hz {changed(60, 600)}, above 800 Hz {changed(800, 22050)}"
    return [f"{told}; sides below 80 Hz {changed(0, 80, sides=True)}"]


def _drums(true: Piece, plain: Audio, made: Audio) -> list[str]:
    original = true.original[: len(plain)]
    distances = [log_spectral_distance(original, audio, _RATE) for audio in (plain, made)]
    onsets = pick(original, _RATE)
    ahead = [excess(original, audio, _RATE, onsets).sum() for audio in (plain, made)]
    told = f"{_db(ahead[1] / ahead[0]):+.1f} dB" if len(onsets) and ahead[0] > 0 else "no onsets"
    return [f"distance {distances[0]:.2f}, after {distances[1]:.2f}; noise ahead of attacks {told}"]


def silence(music: Path, names: list[str], folder: Path) -> Table:
    """Processor seconds that a song takes with and without windows that are silent being sent to the models."""
    rows: Table = []
    library = folder / "silence"
    library.mkdir()
    for name in names:
        song = _read(music / name / "ref.flac")
        gap = np.zeros((60 * _RATE, song.shape[1]), np.float32)
        for what, audio in (
            (name, song),
            (f"{name} twice, a minute of silence between", np.concatenate([song, gap, song])),
        ):
            path = library / "song.mp3"
            encode_mp3(path, audio, _RATE, "128")
            taken = []
            for always in (False, True):
                with mock.patch("engine.stages.base.is_silent", (lambda window: False)) if always else mock.MagicMock():
                    began = time.process_time()
                    session = Session([library], folder / f"silence-{len(rows)}-{always}", "stems", ["06"])
                    session.start(jobs=1).join()
                    taken.append(time.process_time() - began)
            rows.append([what, f"{len(audio) / _RATE:.0f}", f"{taken[1]:.1f}", f"{taken[0]:.1f}"])
    return rows


def _read(path: Path) -> Audio:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(audio, rate, _RATE)


def _as_original(path: Path, piece: Piece) -> Audio:
    return fit(_read(path), len(piece.original))


def _mean(audio: Audio) -> float:
    return float((audio.astype(np.float64) ** 2).mean())


def _db(value: float) -> float:
    return float(10 * np.log10(value + 1e-20))


def _powers(audio: Audio) -> Powers:
    padded = np.pad(audio, ((0, -len(audio) % HOP), (0, 0)))
    return power(stft(padded, HANN)).sum(axis=1, dtype=np.float64)


def _moments(band: Powers) -> Powers:
    whole = band[: len(band) // _MOMENT * _MOMENT].sum(axis=1)
    return np.asarray(whole.reshape(-1, _MOMENT).sum(axis=1) + 1e-12)


def _markdown(head: list[str], rows: Table) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path)
    parser.add_argument("--spleeter", type=Path, required=True)
    parser.add_argument("--pieces", default="real_fishin,sp_amen,gm_rock,omsx_blues,apollo_64k_1,gm_rock+real_fishin")
    parser.add_argument("--codings", default="64,128")
    parser.add_argument("--report", type=Path, default=REPORT, help="the file whose section is replaced")
    options = parser.parse_args()
    codings = options.codings.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"MP3RESTORE_MODELS": str(folder / "models"), "XDG_CACHE_HOME": str(folder / "cache")}
        kept = folder / "models" / spleeter.WEIGHTS["spleeter-2stems"].filename
        kept.parent.mkdir()
        spleeter.convert("spleeter-2stems", options.spleeter, kept)
        separator = Separator(MODELS["spleeter-2stems"], spleeter._published(options.spleeter))
        stems, songs = chain(options.music, options.pieces.split(","), codings, separator, folder)
        parts = [
            f"Measured on {time.strftime('%Y-%m-%d')} by `python -m benchmarks.chain`, which says what all that is.",
            _markdown(_SONGS, songs),
            _markdown(_STEMS, stems),
            _markdown(_ALONE, alone(options.music, codings, folder)),
            _markdown(_SILENCE, silence(options.music, ["gm_rock"], folder)),
        ]
    body = "\n\n".join(parts)
    print(body)
    text = options.report.read_text("utf-8") if options.report.exists() else "# Measured\n"
    options.report.write_text(written(text, f"The whole chain ({device_name('cpu')})", body), "utf-8")


if __name__ == "__main__":
    main()
