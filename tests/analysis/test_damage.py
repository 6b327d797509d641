"""What was done to a song is found, and nothing that was not; what is worth doing follows from it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile
import soxr

from engine.analysis import tried
from engine.analysis.dynamics import loudness_range
from engine.analysis.excerpts import LENGTH, Excerpts
from engine.analysis.findings import findings, generation
from engine.analysis.generations import own_place
from engine.analysis.mp3_grid import GRANULE
from engine.analysis.pre_echo import rises
from engine.analysis.song import analyze
from engine.analysis.tried import Line
from engine.analysis.verdict import verdict_of
from engine.audio.loudness import LoudnessMeter
from engine.commands.analyze import verdict_row
from engine.compare.selftest import encode_mp3
from engine.library.damage_report import told
from engine.run.events import SongDone, SongLeft, TaskSkipped
from engine.run.session import Session
from tests.conftest import RATE, execute, mp3restore, write_mp3

BEST, COARSE = 0.0, 0.75  # of libsndfile's LAME: 320 and about 96 kbit/s


@pytest.fixture(scope="module")
def files(tmp_path_factory, piece):
    """The piece as it is, once and twice encoded, and as a lossless file that was an MP3."""
    folder = tmp_path_factory.mktemp("generations")
    coarse = write_mp3(folder / "coarse.mp3", piece, level=COARSE)
    decoded, _ = soundfile.read(coarse, dtype="float32")
    soundfile.write(folder / "original.flac", piece, RATE)
    soundfile.write(folder / "fake.flac", decoded, RATE)
    soundfile.write(folder / "shifted.flac", decoded[777:] * 0.7, RATE)
    write_mp3(folder / "good.mp3", piece, level=BEST)
    write_mp3(folder / "again.mp3", decoded, level=BEST)
    write_mp3(folder / "again shifted.mp3", decoded[777:], level=BEST)
    return {path.stem + path.suffix: analyze(path) for path in folder.iterdir()}


def test_what_was_an_mp3_before_is_known_and_nothing_else(files):
    kinds = {name: generation(found).kind for name, found in files.items()}
    assert kinds == {
        "original.flac": "no mp3", "fake.flac": "was mp3", "shifted.flac": "was mp3", "coarse.mp3": "once",
        "good.mp3": "once", "again.mp3": "again", "again shifted.mp3": "again",
    }  # fmt: skip


def test_an_encoders_blocks_lie_where_its_tag_says(files):
    for name in ("coarse.mp3", "good.mp3"):
        found = files[name]
        assert abs(found.figures.grid.first.place - own_place(found.mpeg)) <= 1
    assert files["coarse.mp3"].figures.grid.first.depth > 3 * files["good.mp3"].figures.grid.first.depth


def test_good_files_are_left_alone_and_damaged_ones_are_not(files):
    left = {name for name, found in files.items() if verdict_of(found).leave}
    assert left == {"original.flac", "good.mp3"}
    assert "another MP3" in verdict_of(files["again.mp3"]).reason


def test_fewer_bits_leave_more_holes_and_a_narrower_treble(files):
    coarse, good = files["coarse.mp3"].figures, files["good.mp3"].figures
    assert coarse.holes.share > good.holes.share + 0.01
    assert coarse.stereo is not None and good.stereo is not None
    assert coarse.stereo.merged > good.stereo.merged + 0.1


def test_what_was_missing_before_a_good_encoding_is_no_damage(piece, tmp_path):
    dull = soxr.resample(soxr.resample(piece, RATE, 34000), 34000, RATE)
    for mode in ("CONSTANT", "VARIABLE"):
        found = analyze(write_mp3(tmp_path / "dull.mp3", dull, mode=mode, level=BEST))
        assert found.cutoff.hz is not None and found.cutoff.hz < 17500
        assert generation(found).kind == "once" and verdict_of(found).leave, mode


@pytest.mark.parametrize(("level", "edge", "leave"), [(0.6, 24000, True), (0.6, 30000, True), (0.85, 24000, False)])
def test_music_that_ends_below_what_its_encoder_kept_needs_no_top_and_fewer_bits(piece, tmp_path, level, edge, leave):
    dull = soxr.resample(soxr.resample(piece, RATE, edge), edge, RATE)
    found = analyze(write_mp3(tmp_path / "dull.mp3", dull, level=level))
    assert found.ends_by_itself and found.mpeg.bitrate < 170_000
    verdict = verdict_of(found)
    assert verdict.leave == leave and "below what its encoder kept" in verdict.reason
    assert verdict.recipe == ("" if leave else "offline")  # there is no top that a model should make
    ends = next(one for one in findings(found) if one.topic == "cutoff")
    assert ends.severity == "slight" and "sound ends" in ends.sentence


@pytest.mark.parametrize("coding", ["V5", "V4"])
def test_ffmpeg_does_not_say_what_it_kept_and_nobody_is_accused_of_that(piece, tmp_path, coding):
    encode_mp3(tmp_path / "own.mp3", piece, RATE, coding)
    found = analyze(tmp_path / "own.mp3")
    assert found.mpeg.lame.encoder == "Lavf" and not found.mpeg.lame.lowpass
    assert generation(found).kind == "once"


def test_every_finding_is_judged_and_said_in_a_sentence(files):
    for found in files.values():
        for one in findings(found):
            assert one.severity in ("fine", "slight", "clear", "heavy")
            assert one.figure and one.sentence.endswith(".") and len(one.sentence) < 100


@pytest.mark.parametrize("size", [1, 1000, LENGTH, 1 << 20])
def test_excerpts_are_the_same_however_a_stream_is_cut(size):
    stream = np.arange(40 * LENGTH, dtype=np.float32)[:, None]
    size = max(size, 500)
    cut = Excerpts(len(stream))
    found = [piece for at in range(0, len(stream), size) for piece in cut.take(stream[at : at + size])]
    found += cut.rest()
    whole = Excerpts(len(stream))
    assert [p[0, 0] for p in found] == [p[0, 0] for p in [*whole.take(stream), *whole.rest()]]
    assert all(p[0, 0] % GRANULE == 0 and (np.diff(p[:, 0]) == 1).all() for p in found) and 14 <= len(found) <= 17


def test_a_stream_that_never_ends_gives_few_excerpts():
    cut = Excerpts(0)
    block = np.zeros((LENGTH, 1), np.float32)
    assert sum(1 for _ in range(2000) for _ in cut.take(block)) < 250


def test_the_loudness_range_is_that_of_ebu_tech_3342():
    for levels, expected in (((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20)):
        meter = LoudnessMeter(48000, 2)
        for level in levels:
            tone = 10 ** (level / 20) * np.sin(2 * np.pi * 1000 * np.arange(20 * 48000) / 48000)
            meter.process(np.repeat(tone[:, None], 2, axis=1).astype(np.float32))
        assert abs(loudness_range(meter.steps) - expected) <= 1


def test_noise_ahead_of_attacks_is_seen():
    def energies(noise: float):
        track = np.full(4000, 1e-6)
        for at in range(200, 4000, 200):
            track[at : at + 20] = 1.0
            track[at - 12 : at] += noise
        return track

    assert np.median(rises(energies(0.0))) < 0.5 and 8 < np.median(rises(energies(1e-5))) < 12


def test_mono_is_called_mono(piece, tmp_path):
    same = np.repeat(piece[:, :1], 2, axis=1)
    same[:, 1] += 1e-4 * piece[:, 1]
    soundfile.write(tmp_path / "near.wav", same, RATE, subtype="FLOAT")
    said = next(one for one in findings(analyze(tmp_path / "near.wav")) if one.topic == "stereo")
    assert "mono but for next to nothing" in said.sentence


def test_a_sound_that_repeats_with_the_blocks_is_no_mp3(tmp_path):
    wave = 0.5 * np.sign(np.sin(2 * np.pi * np.arange(4 * RATE) / GRANULE))
    soundfile.write(tmp_path / "square.wav", np.repeat(wave[:, None], 2, axis=1), RATE)
    assert generation(analyze(tmp_path / "square.wav")).kind != "was mp3"


STRANGE = {
    "silence": (np.zeros((88200, 2)), 44100), "constant": (np.full((88200, 2), 0.5), 44100),
    "one sample": (np.full((1, 2), 0.5), 44100), "telephone": (np.random.default_rng(0).random((24000, 1)) - 0.5, 8000),
    "fast": (np.random.default_rng(0).random((192000, 2)) - 0.5, 192000),
    "no numbers": (np.where(np.arange(88200)[:, None] % 99 == 0, np.nan, 0.1) * np.ones((1, 2)), 44100),
    "opposite": ((np.random.default_rng(0).random((88200, 1)) - 0.5) * [[1, -1]], 44100),
    "six channels": (np.random.default_rng(0).random((48000, 6)) - 0.5, 48000),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.filterwarnings("error")
def test_strange_songs_get_a_report_too(name, tmp_path):
    audio, rate = STRANGE[name]
    soundfile.write(tmp_path / "song.wav", audio.astype(np.float32), rate, subtype="FLOAT")
    found = analyze(tmp_path / "song.wav")
    assert ("too short" in verdict_row(found).text) == (name == "one sample")
    assert verdict_row(found).text and all(one.sentence for one in findings(found))
    json.dumps(told(found), allow_nan=False)


def test_the_shared_music_is_judged_as_it_deserves(music, tmp_path):
    """A few that are hard; ``python -m benchmarks.damage`` looks at all of it."""
    for name in ("gm_rock", "apollo_32k_1", "real_fishin"):
        reference, rate = soundfile.read(music / name / "ref.flac", frames=5 * RATE, dtype="float32")
        assert generation(analyze(music / name / "ref.flac")).kind == "no mp3"
        good = analyze(write_mp3(tmp_path / "good.mp3", reference, rate, level=BEST))
        assert generation(good).kind == "once" and verdict_of(good).leave, name
        poor = analyze(music / name / "128.mp3")
        assert generation(poor).kind == "once"
        decoded, _ = soundfile.read(music / name / "128.mp3", frames=5 * RATE, dtype="float32")
        again = analyze(write_mp3(tmp_path / "again.mp3", decoded[1105:], rate, level=BEST))
        assert generation(again).kind == "again" and not verdict_of(again).leave, name


# --- the recipe auto follows the verdict ------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_self_test(tmp_path, monkeypatch):
    """Whatever self-test was made on this machine."""
    monkeypatch.setattr(tried, "place", lambda: tmp_path / "data" / "mp3restore" / "selftest.json")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def library(tmp_path, piece):
    folder = tmp_path / "library"
    folder.mkdir()
    write_mp3(folder / "=good.mp3", piece, level=BEST)
    write_mp3(folder / "poor.mp3", piece, level=COARSE)
    return folder


def made(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*.flac")}


def test_auto_leaves_alone_what_is_good_and_says_so(library, tmp_path):
    out = tmp_path / "out"
    events = execute(Session([library], out, "auto"))
    assert made(out) == {
        "01_baseline/=good.flac", "01_baseline/poor.flac", "11_offline/poor.offline.flac", "07_mastered/poor.master.flac"
    }  # fmt: skip
    assert [e.song for e in events if isinstance(e, SongLeft)] == ["=good.mp3"]
    assert all(e.outcome == "done" for e in events if isinstance(e, SongDone)) and events[-1].left == 1
    again = execute(Session([library], out, "auto"))
    assert {e.outcome for e in again if isinstance(e, SongDone)} == {"up to date"}
    plan = next(p for p in Session([library], out, "auto").states() if p.song.id == "=good.mp3")
    assert plan.outcomes["11_offline"].reason == plan.left != ""
    shown = mp3restore("--no-tui", "--dry-run", library, "--out", out).stdout
    assert "left" in shown and "2 left alone" in shown


@pytest.mark.parametrize("named", [{"recipe": "offline"}, {"recipe": "auto", "variants": ["11"]}])
def test_who_names_a_recipe_or_a_variant_gets_it(library, tmp_path, named):
    out = tmp_path / "out"
    execute(Session([library / "=good.mp3"], out, "auto"))
    execute(Session([library / "=good.mp3"], out, **named))
    assert "11_offline/=good.offline.flac" in made(out)


def tested(*found: tuple[str, str, bool], recipe: str = "offline") -> None:
    """Keep a self-test in which variants, at some bitrate, helped or harmed."""
    lines = [Line(coding, variant, 10, 2.0, 1.0 if helped else 3.0, 0, 0.0) for coding, variant, helped in found]
    tried.keep(tried.place(), recipe, lines)


def test_auto_goes_by_the_listeners_own_self_test_and_says_so(library, tmp_path):
    tested(("96", "11_offline", True), ("96", "07_mastered", False), ("320", "11_offline", True))
    out = tmp_path / "out"
    events = execute(Session([library], out, "auto"))
    assert made(out) == {
        "01_baseline/=good.flac", "01_baseline/poor.flac", "11_offline/poor.offline.flac",
        "11_offline/=good.offline.flac", "07_mastered/=good.master.flac",
    }  # fmt: skip
    assert not [e for e in events if isinstance(e, SongLeft)] and events[-1].left == 0
    reason = (
        "In your self-test at 96, 11_offline came out nearer to the original, 07_mastered came out farther from it."
    )
    skipped = [e.reason for e in events if isinstance(e, TaskSkipped) and e.variant == "07_mastered"]
    assert skipped == [f"Left out. {reason}"]
    plan = next(p for p in Session([library], out, "auto").states() if p.song.id == "poor.mp3")
    assert plan.outcomes["07_mastered"].reason == skipped[0] and not plan.left
    told = json.loads(mp3restore("analyze", "--json", library).stdout)
    why = {item["file"].rpartition("/")[2]: item["verdict"]["reason"] for item in told}
    assert why["poor.mp3"].endswith(f". {reason}") and "at 320" in why["=good.mp3"]


def test_what_only_harmed_is_not_made_of_such_songs(library, tmp_path):
    tested(("96", "11_offline", False), ("96", "07_mastered", False))
    events = execute(Session([library], tmp_path / "out", "auto"))
    assert not [name for name in made(tmp_path / "out") if not name.startswith("01_baseline")]
    told = {e.song: e.reason for e in events if isinstance(e, SongLeft)}
    assert "In your self-test at 96, 07_mastered and 11_offline came out farther from it." in told["poor.mp3"]


@pytest.mark.parametrize(
    ("coding", "recipe", "program"), [("96", "mine.toml", ""), ("96", "offline", "0.0.1"), ("192", "offline", "")]
)
def test_a_self_test_of_something_else_says_nothing(files, monkeypatch, coding, recipe, program):
    if program:
        monkeypatch.setattr(tried, "__version__", program)
    tested((coding, "11_offline", False), recipe=recipe)
    monkeypatch.undo()
    last = tried.last()
    assert last is None or coding == "192"
    assert verdict_of(files["coarse.mp3"], last) == verdict_of(files["coarse.mp3"])


def test_the_damage_that_an_earlier_encoding_did_is_what_experience_is_asked_of(files):
    again = files["again.mp3"]
    before = str(generation(again).before)
    found = tried.SelfTest("offline", "", (Line(before, "11_offline", 9, 2.0, 1.0, 0, 0.0),))
    assert again.mpeg.bitrate > 300_000 and found.like(again).coding == before
    assert found.like(files["original.flac"]) is None and found.like(files["good.mp3"]) is None


def test_the_report_of_a_run_tells_of_all_songs_and_is_no_formula(library, tmp_path):
    out = tmp_path / "out"
    execute(Session([library], out, "offline", ["01"]))
    with (out / "_report" / "damage.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["song"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert rows["=good.mp3"]["verdict"] == "leave" and rows["poor.mp3"]["verdict"] == "restore"
    whole = json.loads((out / "_report" / "damage.json").read_text("utf-8"))
    assert {item["verdict"]["leave"] for item in whole} == {True, False} and all(item["findings"] for item in whole)


def test_the_report_is_written_again_only_where_it_would_be_another(library, tmp_path):
    out = tmp_path / "out"
    table, whole = out / "_report" / "damage.csv", out / "_report" / "damage.json"

    def written_by_a_run() -> bool:
        before = table.stat().st_mtime_ns if table.exists() else None
        execute(Session([library], out, "offline", ["01"]))
        return table.stat().st_mtime_ns != before

    assert written_by_a_run() and not written_by_a_run()
    whole.unlink()
    assert written_by_a_run() and whole.exists()
    tested(("128", "11_offline", False), recipe="offline")  # what the self-test found is told, too
    assert written_by_a_run() and not written_by_a_run()
    (library / "poor.mp3").rename(library / "moved.mp3")
    assert written_by_a_run() and "moved.mp3" in table.read_text("utf-8-sig")
