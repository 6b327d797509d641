"""Our AudioSR: against the package where that is installed, and from tiny checkpoints of the real architecture."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import shutil
import subprocess
import sys
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra 'ai'")
pytest.importorskip("safetensors", reason="needs the extra 'ai'")

from engine.audio.resample import resample  # noqa: E402
from engine.errors import NotPossibleError, UsageError  # noqa: E402
from engine.machine import measurements  # noqa: E402
from engine.models import audiosr  # noqa: E402
from engine.models.audiosr import mel as mels  # noqa: E402
from engine.models.audiosr import sampler  # noqa: E402
from engine.models.audiosr.checkpoint import load, write_compact  # noqa: E402
from engine.models.audiosr.network import AudioSR, Frugal  # noqa: E402
from engine.models.runtime import device as devices  # noqa: E402
from engine.planning import costs  # noqa: E402
from engine.run.events import BatchDone, Progress, SongWarning, TaskFailed  # noqa: E402
from engine.run.session import Session  # noqa: E402
from engine.stages.audiosr import AudioSr, AudioSrParams  # noqa: E402
from tests.conftest import another_song, execute, write_mp3  # noqa: E402
from tests.models.checkpoints import tiny_audiosr  # noqa: E402

needs_package = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("audiosr", "librosa", "einops", "yaml")),
    reason="needs the package audiosr (kagayoi-audiosr) as the reference",
)


@pytest.fixture(scope="session")
def compact(tmp_path_factory):
    """The tiny model as the program keeps it."""
    folder = tmp_path_factory.mktemp("audiosr")
    write_compact(tiny_audiosr(folder / "pytorch_model.bin"), folder / "audiosr-basic.safetensors")
    return folder / "audiosr-basic.safetensors"


@pytest.fixture
def model(compact, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("MP3RESTORE_MODELS", str(folder))
    shutil.copy(compact, folder)
    devices.unload_all()
    yield folder / compact.name
    devices.unload_all()


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "sr.toml"
    path.write_text(
        'format = 1\n[defaults.audiosr]\nsteps = 2\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n'
        '[variants.02_audiosr_direct]\nchain = ["decode", "audiosr"]\nsuffix = ".up"\n'
        '[variants.03_audiosr_lp]\nchain = ["decode", "lowpass", "audiosr"]\nsuffix = ".lp_up"\n'
        '[variants.10_full_chain]\nchain = ["decode", "denoise", "audiosr"]\nsuffix = ".full"\n'
    )
    return str(path)


@pytest.fixture
def mono(tmp_path, piece):
    """A song whose channels are equal, which is computed once: half of the time, where nothing depends on them."""
    (tmp_path / "mono").mkdir()
    return write_mp3(tmp_path / "mono" / "Two.mp3", np.repeat(piece[:, :1], 2, axis=1))


# --- the same as the package -----------------------------------------------------------------------------


@needs_package
def test_every_part_computes_what_the_package_does():
    from benchmarks.audiosr import compare

    differences = {name: difference for name, (difference, _, _) in compare(tiny=True, steps=4).items()}
    assert differences.pop("DDIM mel") < 1e-3
    assert len(differences) == 7 and max(differences.values()) < 1e-4, differences


# --- the parts -------------------------------------------------------------------------------------------


def test_mel_bands_are_where_they_are_said_to_be():
    edges = mels.edges()
    assert np.allclose(edges[[0, -1]], [20, 24000]) and (np.diff(edges) > 0).all()
    linear = np.diff(edges[edges < 950])
    assert np.allclose(linear, linear[0], rtol=1e-6)  # Slaney's scale is linear below 1 kHz
    assert (
        mels.bands_below(24000) == 256
        and edges[mels.bands_below(15000) + 1] <= 15000 < edges[mels.bands_below(15000) + 2]
    )
    tone = torch.sin(2 * math.pi * 5000 * torch.arange(48000) / 48000)[None]
    heard = mels.log_mel(tone)
    assert heard.shape == (1, 1, 100, 256) and heard.min() >= math.log(1e-5) - 1e-4
    assert abs(edges[1 + int(heard[0, 0, 50].argmax())] - 5000) < 80


def gaussian(mean, spread):
    """What an ideal model says of data that is Gaussian: v for the best guess of the signal."""
    powers = sampler.signal_power()

    def predict(x, time):
        a = powers[time]
        gain = math.sqrt(a) * spread**2 / (a * spread**2 + 1 - a)
        signal = mean + gain * (x - math.sqrt(a) * mean)
        noise = (x - math.sqrt(a) * signal) / math.sqrt(1 - a)
        return math.sqrt(a) * noise - math.sqrt(1 - a) * signal

    return predict


@pytest.mark.parametrize(("method", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("dpm++", 0.0)])
def test_samplers_draw_from_the_distribution_that_the_model_knows(method, eta):
    generator = torch.Generator().manual_seed(1)
    drawn = sampler.sample(
        gaussian(2.0, 0.5), lambda _: torch.randn(40000, generator=generator), 50, method=method, eta=eta
    )
    assert abs(float(drawn.mean()) - 2) < 0.03 and abs(float(drawn.std()) - 0.5) < 0.04


def test_dpm_solver_needs_fewer_steps():
    """Against the path itself, which for Gaussian data is known."""
    start = torch.randn(2000, generator=torch.Generator().manual_seed(2))
    mean, spread, powers = 0.3, 0.2, sampler.signal_power()

    def error(method, steps):
        drawn = sampler.sample(gaussian(mean, spread), lambda _: start, steps, method=method, eta=0.0)
        first, last = powers[sampler.times(steps, method)[-1]], powers[0]
        wide = [math.sqrt(a * spread**2 + 1 - a) for a in (first, last)]
        exact = math.sqrt(last) * mean + wide[1] / wide[0] * (start - math.sqrt(first) * mean)
        return float((drawn - exact).norm())

    assert error("dpm++", 10) < 0.2 * error("ddim", 20)
    assert error("dpm++", 40) < 0.3 * error("dpm++", 20)  # second order: half the step, a quarter of the error


@pytest.mark.parametrize("steps", [1, 2, 20, 50, 200, 500, 7, 999, 1000])
def test_every_number_of_steps_gives_so_many_times(steps):
    for method in ("ddim", "dpm++"):
        times = sampler.times(steps, method)
        assert (np.diff(times) > 0).all() and times[0] >= 0 and times[-1] < 1000
    assert len(times) == steps and (np.diff(times) > 0).all() and times[0] >= 0 and times[-1] < 1000
    seen = []
    sampler.sample(lambda x, t: x, lambda _: torch.ones(1), steps, after_step=seen.append)
    assert seen == list(range(1, steps + 1))


def test_the_vocoder_in_tiles_is_the_vocoder(compact):
    network = load(compact, "cpu")
    mel = torch.randn(1, 256, 300, generator=torch.Generator().manual_seed(0)) - 3
    with torch.inference_mode():
        whole, tiles = network.vocoder(mel), network.vocoder.in_tiles(mel, 64)
    assert whole.shape == (1, 480 * 300 + 16) and tiles.shape == (1, 480 * 300)
    assert (whole[:, : 480 * 300] - tiles).abs().max() < 1e-5


def test_noise_belongs_to_places():
    field = audiosr.NoiseField(7)
    long, late = field.draw(3, 0, (16, 128, 32)), field.draw(3, 100, (16, 28, 32))
    assert np.array_equal(long[:, 100:], late)
    others = [
        field.draw(4, 0, (16, 128, 32)),
        audiosr.NoiseField(8).draw(3, 0, (16, 128, 32)),
        field.draw(3, 128, (16, 128, 32)),
    ]
    assert all(abs(np.corrcoef(long.ravel(), other.ravel())[0, 1]) < 0.02 for other in others)
    assert abs(long.mean()) < 0.01 and abs(long.std() - 1) < 0.01


# --- files -----------------------------------------------------------------------------------------------


def test_the_compact_file_holds_what_is_needed_and_nothing_more(tmp_path, compact):
    published = tiny_audiosr(tmp_path / "pytorch_model.bin")
    state = torch.load(published, weights_only=True)["state_dict"]
    from safetensors import safe_open

    with safe_open(compact, "pt") as file:
        kept = set(file.keys())
    assert kept == {k for k in state if k != "model_ema.decay" and not k.startswith("first_stage_model.encoder")}
    audiosr.convert(published, tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * compact.stat().st_size
    one, other = load(compact, "cpu"), load(tmp_path / "half.safetensors", "cpu")
    assert one.scale == other.scale and isinstance(one, AudioSR)
    assert torch.allclose(one.unet.out[2].weight, other.unet.out[2].weight, atol=1e-3)


def test_what_is_not_audiosr_is_refused_and_not_run(tmp_path, compact):
    import pickle

    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path}/was-here",)

    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "other.bin")
    torch.save({"state_dict": Evil()}, tmp_path / "evil.bin")
    (tmp_path / "evil2.bin").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "short.bin").write_bytes(tiny_audiosr(tmp_path / "x.bin").read_bytes()[:100_000])
    for name in ("other.bin", "evil.bin", "evil2.bin", "short.bin"):
        with pytest.raises(NotPossibleError, match=r"not AudioSR's checkpoint|a file of Python|damaged: get it again"):
            audiosr.convert(tmp_path / name, tmp_path / "made.safetensors")
    assert not (tmp_path / "was-here").exists() and not list(tmp_path.glob("made*"))
    (tmp_path / "cut.safetensors").write_bytes(compact.read_bytes()[:-1000])
    with pytest.raises(NotPossibleError, match="get it again"):
        load(tmp_path / "cut.safetensors", "cpu")


def test_importing_the_runtime_is_quick_and_brings_nothing_else():
    code = (
        "import torch, time, sys; t = time.perf_counter(); import engine.models.audiosr.network;"
        "print(time.perf_counter() - t, [m for m in ('torchaudio', 'torchvision', 'transformers', 'librosa') if m in sys.modules])"
    )
    seconds, brought = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=__file__.split("/tests/")[0]
    ).stdout.split(maxsplit=1)
    assert brought.strip() == "[]" and float(seconds) < 5  # measured: 0.1 s; the machine may be busy


# --- songs -----------------------------------------------------------------------------------------------


def spectrum(audio):
    return np.abs(np.fft.rfft(audio * np.hanning(len(audio))[:, None], axis=0)).sum(axis=1)


def test_songs_get_a_band_above_and_stay_what_they_are_below(mono, model, recipe):
    session = Session([mono], recipe=recipe, variants=["01", "02", "03", "10"])
    assert not [t.impossible for t in session.tasks if t.impossible]
    events = execute(session)
    assert not [e for e in events if isinstance(e, TaskFailed)]
    cutoff = session.store.record(session.songs[0]).analysis.cutoff.hz
    plain, rate = soundfile.read(session.store.out / "01_baseline/Two.flac")
    song = resample(np.float32(plain), rate, 48000)
    for task, start in (("02_audiosr_direct/Two.up", cutoff), ("03_audiosr_lp/Two.lp_up", cutoff - 1500)):
        made, made_rate = soundfile.read(session.store.out / f"{task}.flac")
        assert made_rate == 48000 and made.shape == song.shape
        hz = np.fft.rfftfreq(len(song), 1 / 48000)
        added = spectrum(made - song)
        null = 20 * np.log10(np.linalg.norm(added[hz < start - 550]) / np.linalg.norm(spectrum(song)[hz < start - 550]))
        assert null < -60, null
        assert np.linalg.norm(added[hz > start]) > 100 * np.linalg.norm(added[hz < start - 550])
    markers = {t.id: session.store.marker(session.songs[0], t) for t in session.tasks}
    direct, full = markers["02_audiosr_direct"], markers["10_full_chain"]
    assert (
        "generated above" in direct.note and direct.recipe["model"] == {"model": audiosr.fingerprint("basic")}["model"]
    )
    assert full.rate == 48000 and direct.device == "cpu"
    steps = [e for e in events if isinstance(e, Progress) and e.stage == "audiosr" and not e.chunk]
    assert steps  # the sampler tells of its steps


FILLED = """
format = 1
[defaults.audiosr]
steps = 2
[defaults.restore]
engine = "learned"
[variants.01_baseline]
chain = ["decode"]
[variants.05_filled]
chain = ["decode", { stage = "restore", extend = false }]
[variants.03_audiosr_lp]
chain = ["decode", "lowpass", "audiosr"]
[variants.06_filled_lp]
chain = ["decode", { stage = "restore", extend = false }, "lowpass", "audiosr"]
"""


def test_holes_may_be_filled_before_the_band_above_is_made(mono, model, tmp_path):
    """AudioSR does not know an MP3's holes: it is given the song without them, and begins where it did."""
    (tmp_path / "filled.toml").write_text(FILLED)
    session = Session([mono], recipe=str(tmp_path / "filled.toml"), variants=["01", "03", "05", "06"])
    assert not [e for e in execute(session) if isinstance(e, TaskFailed)]
    song, tasks = session.songs[0], {t.id: t for t in session.tasks if t.is_final}
    audio = {}
    for name, task in tasks.items():
        made, rate = soundfile.read(session.store.output_path(song, task), dtype="float32", always_2d=True)
        audio[name] = resample(made, rate, 48000)
    note = session.store.marker(song, tasks["06_filled_lp"]).note
    assert "generated above" in note and note == session.store.marker(song, tasks["03_audiosr_lp"]).note
    start = session.store.record(song).analysis.cutoff.hz - 2050
    below = np.fft.rfftfreq(len(audio["01_baseline"]), 1 / 48000) < start
    filled, made = audio["05_filled"], audio["06_filled_lp"]
    holes, added = filled - audio["01_baseline"], made - filled
    changed = np.linalg.norm(spectrum(added)[below])
    assert changed < 1e-3 * np.linalg.norm(spectrum(filled)[below])
    assert np.linalg.norm(spectrum(holes)[below]) > 3 * changed
    assert np.linalg.norm(spectrum(added)[~below]) > 100 * changed


@pytest.fixture
def long_song(tmp_path, piece):
    """Seventeen seconds: two chunks. Its channels are equal, which halves the work."""
    (tmp_path / "long").mkdir()
    tune = np.repeat(np.tile(piece[:, :1], (3, 1))[: 17 * 44100], 2, axis=1)
    return write_mp3(tmp_path / "long" / "Long.mp3", tune, level=0.8).parent


def test_stopping_within_the_sampler_and_going_on_gives_the_same_bytes(long_song, tmp_path, model, recipe):
    execute(Session([long_song], tmp_path / "a", recipe, ["02"]))
    session = Session([long_song], tmp_path / "b", recipe, ["02"])
    stops = []

    def stop(event):
        if isinstance(event, Progress) and event.stage == "audiosr" and not event.chunk and event.fraction > 0.5:
            stops.append(event.fraction)
            session.stop()

    session.subscribe(stop)
    assert next(e for e in execute(session) if isinstance(e, BatchDone)).stopped and stops
    assert len(list((tmp_path / "b/_chunks").rglob("*.chunk"))) == 1  # the first chunk is kept, the second had begun
    again = execute(Session([long_song], tmp_path / "b", recipe, ["02"]))
    assert [e.reused for e in again if isinstance(e, Progress) and e.chunk and e.stage == "audiosr"] == [True, False]
    names = "02_audiosr_direct/Long.up.flac"
    assert (tmp_path / "a" / names).read_bytes() == (tmp_path / "b" / names).read_bytes()


def test_the_model_is_loaded_once_for_a_batch(mono, model, recipe, monkeypatch):
    from engine.models.audiosr import checkpoint

    another_song(mono, mono.with_name("One.mp3"))
    loads = []
    monkeypatch.setattr(checkpoint, "load", lambda path, device: loads.append(path) or load(path, device))
    execute(session := Session([mono.parent], recipe=recipe, variants=["02"]))
    assert (len(loads), session.outcome.done) == (1, 2)


# --- what does not depend on the weights: a stand-in for the network ---------------------------------------


@pytest.fixture
def pretend(monkeypatch, model):
    """Replaces the network by ``pretend.makes(audio, place)``, so that what is made is known."""
    holder = type("Pretend", (), {"makes": None, "heard": []})()

    def extend(self, pieces, after_step):
        holder.heard += [p.audio for p in pieces]
        return [holder.makes(p.audio, p.place) for p in pieces]

    monkeypatch.setattr(audiosr.Extender, "extend", extend)
    monkeypatch.setattr(audiosr.Extender, "vocode", lambda self, pieces: pieces)
    return holder


def made_of(tmp_path, audio, recipe, name="S", **options):
    """(what was added, at 48 kHz; the song at 48 kHz; the cutoff)."""
    library = tmp_path / name
    library.mkdir()
    write_mp3(library / "S.mp3", audio, level=0.8, **options)
    session = Session([library], recipe=recipe, variants=["01", "02"])
    assert not [e for e in execute(session) if isinstance(e, TaskFailed)]
    plain, rate = soundfile.read(session.store.out / "01_baseline/S.flac", dtype="float32", always_2d=True)
    made, _ = soundfile.read(session.store.out / "02_audiosr_direct/S.up.flac", dtype="float32", always_2d=True)
    song = resample(plain, rate, 48000)
    return made - song, song, session.store.record(session.songs[0]).analysis.cutoff.hz


def noise(seconds, channels=2):
    return (0.1 * np.random.default_rng(5).standard_normal((int(seconds * 44100), channels))).astype(np.float32)


def seams(count):
    """Where chunks meet, in frames at 48 kHz."""
    geometry = AudioSr().geometry(None)
    return [(n * geometry.step, n * geometry.step + geometry.overlap) for n in range(1, count)]


@pytest.mark.parametrize("alike", [1.0, 0.5, 0.0])
def test_no_seam_is_heard_in_noise(tmp_path, recipe, pretend, alike):
    """Neighbours that made the same, something similar, or something else where they overlap: the level stays."""
    common = np.random.default_rng(1).standard_normal(48000 * 40).astype(np.float32)

    def makes(audio, place):
        own = np.random.default_rng(place).standard_normal(len(audio)).astype(np.float32)
        shared = common[place * audiosr.LATENT :][: len(audio)]
        made = 0.2 * (math.sqrt(alike) * shared + math.sqrt(1 - alike) * own)
        return np.repeat(made[:, None], audio.shape[1], axis=1)

    pretend.makes = makes
    added, _, _ = made_of(tmp_path, noise(26), recipe)
    level = np.sqrt(np.mean(added[48000:-48000] ** 2))
    for start, end in seams(3):
        thirds = np.linspace(start, end, 4).astype(int)
        for a, b in pairwise(thirds):
            assert abs(20 * np.log10(np.sqrt(np.mean(added[a:b] ** 2)) / level)) < 0.2


def test_no_seam_is_heard_in_a_swept_tone(tmp_path, recipe, pretend):
    at = np.arange(48000 * 40) / 48000
    tone = (0.1 * np.sin(2 * np.pi * (16500 * at + 40 * at**2))).astype(np.float32)
    pretend.makes = lambda audio, place: np.repeat(
        tone[place * audiosr.LATENT :][: len(audio), None], audio.shape[1], axis=1
    )
    added, _, cutoff = made_of(tmp_path, noise(26), recipe)
    first = np.flatnonzero(16500 + 80 * at > cutoff + 200)[0]
    level = np.sqrt(np.convolve(added[:, 0] ** 2, np.ones(4800) / 4800, "valid"))[first:-48000]
    assert 20 * np.log10(level.max() / level.min()) < 0.2


def test_one_gain_and_one_level_for_the_whole_song_and_no_dc(tmp_path, recipe, pretend):
    pretend.makes = lambda audio, place: audio
    quiet_and_loud = noise(26) * np.repeat([0.05, 1.0], 13 * 44100)[:, None].astype(np.float32) + np.float32(0.05)
    added, song, cutoff = made_of(tmp_path, quiet_and_loud, recipe)
    levels = [float(np.sqrt(np.mean(a**2))) for a in pretend.heard[:3]]
    assert max(levels) > 5 * min(levels)  # what is quiet is heard quiet
    assert all(abs(a.mean()) < 1e-3 for a in pretend.heard)
    # What goes through unchanged adds nothing, and takes away what was left above the cutoff.
    hz = np.fft.rfftfreq(len(song), 1 / 48000)
    assert np.linalg.norm(spectrum(added)[hz < cutoff - 600]) < 1e-3 * np.linalg.norm(spectrum(song)[hz < cutoff - 600])


def test_the_image_stays_and_silence_stays_silent(tmp_path, recipe, model):
    """The real network, tiny: a song with nearly equal channels, and a silent part."""
    left = noise(12, 1)
    left[: 9 * 44100] = 0
    same = np.concatenate([left, left * np.float32(0.999)], axis=1)
    added, _, _ = made_of(tmp_path, same, recipe, "same")
    assert np.abs(added[: 8 * 48000]).max() < 1e-6  # within a chunk of which the rest is loud
    late = added[10 * 48000 :]
    assert np.corrcoef(late.T)[0, 1] > 0.99  # nearly equal channels get nearly the same, out of the same noise


def test_mono_songs_stay_mono_and_songs_without_a_cutoff_stay_what_they_are(tmp_path, recipe, pretend):
    pretend.makes = lambda audio, place: audio * 0.5
    added, song, _ = made_of(tmp_path, noise(6, 1), recipe)
    assert added.shape == song.shape and added.shape[1] == 1 and pretend.heard[0].shape == (audiosr.PIECE, 1)
    pretend.heard.clear()
    library = tmp_path / "full"
    library.mkdir()
    soundfile.write(library / "Full.flac", noise(3), 44100)
    session = Session([library], recipe=recipe, variants=["02"])
    events = execute(session)
    assert any("left it as it is" in e.text for e in events if isinstance(e, SongWarning)) and not pretend.heard


def test_mid_and_side_come_back_as_left_and_right(tmp_path, recipe, pretend):
    pretend.makes = lambda audio, place: audio * 0.5
    plain, _, _ = made_of(tmp_path, noise(6), recipe)
    other = tmp_path / "ms.toml"
    other.write_text((tmp_path / "sr.toml").read_text().replace("steps = 2", 'steps = 2\nstereo = "mid-side"'))
    turned, _, _ = made_of(tmp_path, noise(6), str(other), "ms")
    assert np.abs(turned - plain).max() < 1e-5


# --- when memory runs out, and when it takes too long ------------------------------------------------------


def test_every_rung_of_the_ladder_is_gone_down_and_told(songs, model, recipe, monkeypatch):
    """The "GPU" is the processor under another name; memory runs out until the processor itself is asked."""
    network = AudioSR.forward
    tried = []

    def forward(self, audio, top, noise, sampling, frugal, after_step):
        tried.append((len(audio), frugal))
        if len(tried) <= 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return network(self, audio, top, noise, sampling, frugal, after_step)

    monkeypatch.setattr(AudioSR, "forward", forward)
    session = Session([songs / "Two.mp3"], recipe=recipe, variants=["02"])
    events = execute(session)
    assert [e for e in events if isinstance(e, TaskFailed)]  # on the processor there is nothing further down
    assert tried == [(2, Frugal()), (2, Frugal(True, True))]
    tried.clear()
    monkeypatch.setattr(devices, "release", lambda device: None)
    monkeypatch.setattr(devices, "free_memory", lambda device: 1 << 40)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(devices, "measured", lambda *_: nullcontext())
    monkeypatch.setattr(AudioSR, "precision", lambda *_: "fp32")
    session = Session([songs / "Two.mp3"], recipe=recipe, variants=["02"])
    session.__dict__["device"] = "cuda"
    events = execute(session)
    assert not [e for e in events if isinstance(e, TaskFailed)]
    assert tried == [(2, Frugal()), (2, Frugal(True, True)), (2, Frugal())]
    marker = session.store.marker(session.songs[0], next(t for t in session.tasks if t.id == "02_audiosr_direct"))
    told = [e.text for e in events if isinstance(e, SongWarning)]
    assert marker.device == "cuda" and all(text in told for text in marker.warnings)
    assert any("shorter pieces" in w for w in marker.warnings) and any("by the processor" in w for w in marker.warnings)


def test_one_item_at_a_time_gives_what_a_batch_gives(compact):
    from engine.models.audiosr.network import Sampling, extended

    network = load(compact, "cpu")
    rows = np.float32(0.1) * np.random.default_rng(0).standard_normal((2, 122_880)).astype(np.float32)
    field, shape = audiosr.NoiseField(1), network.latent_shape(122_880)

    def run(frugal):
        draw = lambda n: np.stack([field.draw(n, 0, shape)] * 2)  # noqa: E731
        return extended(network, rows, 8000.0, draw, Sampling(2), frugal, "cpu", "fp32", lambda _: None)

    assert np.abs(run(Frugal()) - run(Frugal(True, True))).max() < 1e-4


def test_what_takes_hours_is_left_out_unless_it_is_named(songs, model, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "path", lambda: tmp_path / "measured.json")
    slow = tmp_path / "slow.toml"
    slow.write_text((tmp_path / "sr.toml").read_text().replace("steps = 2", "steps = 50"))
    session = Session([songs], recipe=str(slow))
    task = next(t for t in session.tasks if t.id == "02_audiosr_direct")
    assert "about 3 h" in task.impossible and "name it" in task.impossible
    assert not next(t for t in session.tasks if t.id == "01_baseline").impossible
    assert not Session([songs], recipe=str(slow), variants=["02"]).tasks[-1].impossible
    stage, params = AudioSr(), AudioSrParams(steps=50)
    costs.learn(stage, params, "cpu", 10.0, 100.0)
    assert costs.factor(stage, params, "cpu") == pytest.approx(10.0, rel=1e-3)
    assert json.loads((tmp_path / "measured.json").read_text())
    assert not next(t for t in Session([songs], recipe=str(slow)).tasks if t.id == "02_audiosr_direct").impossible
    assert costs.factor(stage, dataclasses.replace(params, steps=25), "cpu") == pytest.approx(7.15, rel=0.01)


@pytest.mark.parametrize("wrong", [{"model": "other"}, {"sampler": "euler"}, {"steps": 1}, {"stereo": "mono"}])
def test_wrong_parameters_are_told(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        AudioSrParams(**wrong)


def test_without_the_model_the_variant_is_not_possible_and_says_what_to_do(songs, tmp_path, monkeypatch, recipe):
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "none"))
    session = Session([songs], recipe=recipe)
    assert "mp3restore models get audiosr-basic" in next(t for t in session.tasks if t.id.startswith("02")).impossible
    assert next(e for e in execute(session) if isinstance(e, BatchDone)).failed == 0
