"""Makes ``before-and-after.png``: ``python -m docs.before_and_after``.

The program's own demo song, as it was composed, as an MP3 of 128 kbit/s, and as the recipe ``offline`` restores that.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFont

from engine.analysis.song import analyze
from engine.analysis.spectrogram import spectrogram, to_rows
from engine.audio.readers import Audio
from engine.commands.demo import RATE, compose
from engine.compare.metrics import log_spectral_distance, matched
from engine.compare.pictures import spectrogram_png
from engine.run.session import Session

_PICTURE = Path(__file__).with_name("before-and-after.png")
_WIDTH, _HEIGHT = 400, 300  # of one panel, in pixels
_LEFT, _TOP, _GAP = 56, 40, 14
_PAPER, _INK, _LINE = "#16130f", "#e6ddd0", "#8a7d6c"
_TOP_HZ = RATE / 2
_LEVEL = 0.65  # libsndfile's word for 128 kbit/s


def sounds(folder: Path) -> tuple[dict[str, Audio], float]:
    """The three by what is written above them, in step and equally loud, and the MP3's cutoff in Hz."""
    original, song, out = compose(), folder / "Demo Song.mp3", folder / "out"
    soundfile.write(song, original, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=_LEVEL)
    session = Session([song], out, "offline", ("01_baseline", "11_offline"), device="cpu")
    session.start().join()
    analysis = analyze(song)
    assert analysis.mpeg is not None and round(analysis.mpeg.bitrate, -3) == 128_000, "not what the title says"
    cutoff = analysis.cutoff.hz or _TOP_HZ
    made = [
        soundfile.read(out / name / f"Demo Song{suffix}.flac", dtype="float32", always_2d=True)[0]
        for name, suffix in (("01_baseline", ""), ("11_offline", ".offline"))
    ]
    found = {"The original": original}
    for title, audio in zip(("As an MP3 of 128 kbit/s", "11_offline"), made, strict=True):
        length = min(len(original), len(audio))
        equal = matched(original[:length], audio[:length])
        distance = log_spectral_distance(original[:length], equal, RATE)
        found[f"{title} (distance {distance:.2f})"] = equal
    return found, cutoff


def panel(audio: Audio) -> Image.Image:
    """A spectrogram, up to half of the rate."""
    power = spectrogram(lambda start, stop: audio[start:stop], 0, len(audio), _WIDTH)
    rows = to_rows(power, RATE, _HEIGHT, _TOP_HZ)
    return Image.open(io.BytesIO(spectrogram_png(np.ascontiguousarray(rows[::-1])))).convert("RGB")


def draw(found: dict[str, Audio], cutoff: float) -> Image.Image:
    """The panels side by side, with their titles, frequencies in kHz, and the cutoff."""
    size = (_LEFT + len(found) * (_WIDTH + _GAP), _TOP + _HEIGHT + _GAP)
    picture = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)

    def height(hz: float) -> int:
        return _TOP + round(_HEIGHT * (1 - hz / _TOP_HZ))

    for hz in range(0, int(_TOP_HZ), 5000):
        pen.text((_LEFT - 8, height(hz)), f"{hz // 1000} kHz", _LINE, ImageFont.load_default(12), anchor="rm")
    for number, (title, audio) in enumerate(found.items()):
        left = _LEFT + number * (_WIDTH + _GAP)
        pen.text((left, _TOP / 2), title, _INK, font, anchor="lm")
        picture.paste(panel(audio), (left, _TOP))
        if number:
            for x in range(left, left + _WIDTH, 12):
                pen.line((x, height(cutoff), min(x + 5, left + _WIDTH - 1), height(cutoff)), _INK)
    return picture


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        draw(*sounds(Path(folder))).quantize(128).save(_PICTURE, optimize=True)
