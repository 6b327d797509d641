"""What was a Vorbis or AAC file before is known by its sound, also behind a coarse MP3; nothing else is taken for it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from engine.analysis.song import analyze
from engine.analysis.transform_grid import BLOCK, SIZE, TransformGridMeter
from engine.commands.demo import compose
from tests.conftest import RATE, vorbis, write_mp3

COARSE, FINE = 0.6, 0.3  # of libsndfile's Vorbis: quality 4 and 7
MIDDLING = 0.6  # of its LAME: about 128 kbit/s


@pytest.fixture(scope="module")
def song():
    return compose(12.0)[517:]


def aac(folder, audio, bits):
    path = folder / "song.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        stream.bit_rate = bits
        for start in range(0, len(audio), BLOCK):
            block = np.ascontiguousarray(audio[start : start + BLOCK].T, np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1).T


def left(audio):
    meter = TransformGridMeter()
    for start in range(0, len(audio), 4 * SIZE // BLOCK * BLOCK):
        meter.process(audio[start : start + 4 * SIZE // BLOCK * BLOCK])
    return meter.depth()


def test_an_mp3_that_was_vorbis_or_aac_is_known_and_one_that_was_not_is_not(tmp_path, song):
    was = {"vorbis": vorbis(tmp_path, song, COARSE), "aac": aac(tmp_path, song, 96_000), "neither": song}
    found = {
        name: analyze(write_mp3(tmp_path / f"{name}.mp3", audio, level=MIDDLING)).figures.earlier
        for name, audio in was.items()
    }
    assert min(found["vorbis"], found["aac"]) > 0.1, found
    assert found["neither"] == 0


def test_the_coarser_it_was_the_more_is_seen(tmp_path, song):
    coarse, fine = (left(vorbis(tmp_path, song, level)) for level in (COARSE, FINE))
    assert coarse > fine > 0


def test_wherever_its_blocks_begin(tmp_path, song):
    was = vorbis(tmp_path, song, COARSE)
    found = [left(was[start:]) for start in (0, 1, 37, 64, 127, 500)]
    assert min(found) > 0.7 * max(found)


@pytest.mark.parametrize(
    "sound",
    [
        lambda t, dice: np.zeros_like(t),
        lambda t, dice: dice.standard_normal(len(t)) * 0.1,
        lambda t, dice: np.sin(2 * np.pi * 1000 * t) * 0.3,
        lambda t, dice: np.sign(np.sin(2 * np.pi * RATE / BLOCK * t)) * 0.3,
        lambda t, dice: np.arange(len(t)) % BLOCK == 0,
        lambda t, dice: np.arange(len(t)) % 128 < 5,
        lambda t, dice: dice.standard_normal(BLOCK)[np.arange(len(t)) % BLOCK] * 0.1,
        lambda t, dice: np.round(np.sin(2 * np.pi * 441 * t) * 8) / 16,
    ],
    ids=["silence", "noise", "tone", "square", "clicks", "buzz", "loop", "steps"],
)
def test_a_regular_sound_is_not_taken_for_it(sound):
    time = np.arange(10 * RATE) / RATE
    one = sound(time, np.random.default_rng(5)).astype(np.float32)
    assert left(one[:, None]) == 0
    assert left(np.stack([one, -0.5 * one], axis=1)) == 0


def test_too_little_sound_tells_nothing(tmp_path, song):
    was = vorbis(tmp_path, song, COARSE)
    assert left(was[:SIZE]) == left(was[: SIZE - 1]) == left(was[:0]) == 0


@pytest.mark.slow
def test_no_lossless_piece_is_taken_for_it(music):
    for path in sorted(music.glob("*/128.mp3")):
        earlier = analyze(path).figures.earlier
        assert (earlier > 0.3) == (path.parent.name == "real_fishin"), path  # which was distributed as Vorbis
        assert earlier == 0 or path.parent.name.startswith("real_"), path
