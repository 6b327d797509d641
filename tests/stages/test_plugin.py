"""Plug-ins: hosted apart, in step, and nobody's problem but their song's.

What a host is asked for is tested with one of our own in pedalboard's place; with pedalboard and real plug-ins where
both are here: MP3RESTORE_TEST_VST3 names a folder with ZaMaximX2.vst3 (Debian's package zam-plugins).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from engine.audio import plugin_host
from engine.audio.plugin_host import through_plugin
from engine.errors import NotPossibleError, SongError, UsageError
from engine.machine.warm_child import Pool
from engine.run.events import TaskDone, TaskFailed
from engine.run.session import Session
from engine.stages import STAGES
from engine.stages.plugin import settings_in
from tests.conftest import execute

RATE = 44100
STAGE = STAGES["plugin"]
HOST = '''
"""What the program uses of pedalboard, with a plug-in that is 300 frames late and says so."""
import os, time
import numpy as np

class Parameter:
    range = (-60.0, 12.0)

class Plugin:
    is_effect = True
    parameters = {"gain_db": Parameter(), "mood": Parameter()}
    gain_db, mood = 0.0, "good"

    @property
    def raw_state(self):
        return b""

    @raw_state.setter
    def raw_state(self, data):
        if data != b"loud":
            raise RuntimeError("no state of mine")
        self.gain_db = 6.0

    def reset(self):
        self.late, self.skip = None, 300

    def process(self, audio, rate, buffer_size, reset):
        assert audio.dtype == np.float32 and audio.shape[0] == 2 and not reset
        print("a plug-in that talks")
        match self.mood:
            case "crash":
                os.abort()
            case "hang":
                time.sleep(1000)
            case "nan":
                audio = audio * np.nan
            case "raise":
                raise KeyError("inside")
        late = np.zeros((2, 300), np.float32) if self.late is None else self.late
        audio = np.concatenate([late, audio], axis=1)
        self.late = audio[:, audio.shape[1] - 300:]
        out = audio[:, :audio.shape[1] - 300][:, self.skip:]
        self.skip = max(0, self.skip - (audio.shape[1] - 300))
        return out * np.float32(10 ** (self.gain_db / 20))

def load_plugin(path, plugin_name=None):
    if "bad" in path:
        raise ImportError("not a plug-in\\n  at all")
    return Plugin()
'''


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A folder with a plug-in, and a host for it."""
    folder = tmp_path / "host"
    (folder / "nice.vst3" / "Contents").mkdir(parents=True)
    (folder / "nice.vst3" / "Contents" / "nice.so").write_bytes(b"machine code")
    (folder / "bad.vst3").write_bytes(b"")
    (folder / "pedalboard.py").write_text(HOST)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.syspath_prepend(folder)
    pool = Pool("engine.audio.plugin_process")
    monkeypatch.setattr(plugin_host, "_children", pool)
    yield folder
    pool.close()


@pytest.fixture
def song(tmp_path, piece):
    soundfile.write(tmp_path / "s.flac", piece[:RATE], RATE, subtype="PCM_24")
    return tmp_path / "s.flac"


def run(song, plugin, channels=2, **options):
    return np.concatenate(list(through_plugin(song, channels, plugin, **options)))


def session(song, plugin, **params):
    settings = "".join(f", {name} = '{value}'" for name, value in params.items())
    recipe = song.parent / "r.toml"
    recipe.write_text(
        'format = 1\n[variants.01_baseline]\nchain = ["decode"]\nsuffix = ""\n[variants.20_plugin]\n'
        f"from = '01_baseline'\nchain = [{{ stage = 'plugin', path = '{plugin}'{settings} }}]\nsuffix = ''\n"
    )
    return Session([song], song.parent / "out", str(recipe))


def test_the_song_comes_back_in_step_and_as_long(host, song):
    audio = soundfile.read(song, dtype="float32")[0]
    assert np.array_equal(run(song, host / "nice.vst3"), audio)
    louder = run(song, host / "nice.vst3", settings={"gain_db": -6.0})
    np.testing.assert_allclose(louder, audio * 10 ** (-6 / 20), atol=1e-6)
    soundfile.write(song, audio[:1], RATE, subtype="PCM_24")
    assert np.array_equal(run(song, host / "nice.vst3"), audio[:1])
    soundfile.write(song, audio[:, :1], RATE, subtype="PCM_24")
    assert np.array_equal(run(song, host / "nice.vst3", 1, mono=True), audio[:, :1])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mood": "crash"}, "crashed on this song"), ({"mood": "hang"}, "did not answer for 3 seconds"),
        ({"mood": "nan"}, "not numbers"), ({"mood": "raise"}, "failed: KeyError"), ({"volume": 3.0}, "no parameter 'volume'; it has gain_db"),
    ],
)  # fmt: skip
def test_whatever_a_plugin_does_is_told_in_a_sentence_and_the_next_song_goes_on(host, song, settings, told):
    with pytest.raises(SongError, match=told) as error:
        run(song, host / "nice.vst3", settings=settings, patience=3.0)
    assert str(error.value).startswith("The plug-in nice.vst3 ") and "\n" not in str(error.value)
    assert len(run(song, host / "nice.vst3")) == RATE


def test_states_are_taken_and_strange_ones_refused(host, song):
    (host / "a.state").write_bytes(b"loud")
    assert (
        np.abs(run(song, host / "nice.vst3", state=host / "a.state")).max()
        > 1.5 * np.abs(run(song, host / "nice.vst3")).max()
    )
    (host / "a.state").write_bytes(b"rubbish")
    with pytest.raises(SongError, match="does not take its state"):
        run(song, host / "nice.vst3", state=host / "a.state")
    with pytest.raises(SongError, match="could not be loaded: not a plug-in at all"):
        run(song, host / "bad.vst3")


def test_a_whole_run_with_a_crash_and_without(host, song):
    events = execute(session(song, host / "nice.vst3", settings="mood = crash"))
    (failed,) = [e for e in events if isinstance(e, TaskFailed)]
    assert "crashed" in failed.reason and (song.parent / "out/01_baseline/s.flac").is_file()
    execute(session(song, host / "nice.vst3", settings="gain_db = 3"))
    tags = FLAC(song.parent / "out/20_plugin/s.flac")
    assert tags["mp3restore_note"] == ["through the plug-in nice"] and "gain_db = 3" in tags["mp3restore_chain"][0]
    assert not [
        e for e in execute(session(song, host / "nice.vst3", settings="gain_db = 3")) if isinstance(e, TaskDone)
    ]


def test_another_plugin_or_state_makes_another_result(host):
    def fingerprint(**params):
        return STAGE.fingerprint(STAGE.Parameters(**params))

    first = fingerprint(path=str(host / "nice.vst3"))
    (host / "a.state").write_bytes(b"1")
    with_state = fingerprint(path=str(host / "nice.vst3"), state=str(host / "a.state"))
    assert with_state["plugin"] == first["plugin"] and "state" not in first
    os.utime(host / "a.state", (1, 1))
    (host / "a.state").write_bytes(b"2")
    assert fingerprint(path=str(host / "nice.vst3"), state=str(host / "a.state"))["state"] != with_state["state"]
    (host / "nice.vst3").rename(host / "moved.vst3")
    assert fingerprint(path=str(host / "moved.vst3")) == first
    for path in ("", str(host / "gone.vst3"), "/", "a\0b"):
        with pytest.raises(NotPossibleError, match="plug-in"):
            fingerprint(path=path)


def test_without_the_host_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(plugin_host, "is_there", lambda: False)
    assert "pip install pedalboard" in STAGE.unavailable_reason(STAGE.Parameters(path="x.vst3"))


def test_settings_are_read():
    assert settings_in("a = 1; 999hz_db=-2.5;on = true; mode = Warm tube") == {
        "a": 1.0, "999hz_db": -2.5, "on": True, "mode": "Warm tube",
    }  # fmt: skip
    assert settings_in("") == {}
    for wrong in ("a", "= 3", "a ="):
        with pytest.raises(UsageError, match="settings must be like"):
            settings_in(wrong)


REAL = Path(os.environ.get("MP3RESTORE_TEST_VST3", "")) / "ZaMaximX2.vst3"


@pytest.mark.skipif(
    not REAL.is_dir() or importlib.util.find_spec("pedalboard") is None,
    reason="needs pedalboard and a real plug-in (MP3RESTORE_TEST_VST3)",
)
def test_a_real_limiter_that_looks_ahead_is_in_step(song):
    audio = soundfile.read(song, dtype="float32")[0]
    assert np.array_equal(run(song, REAL), audio)  # 480 frames late by itself, nothing to limit
    limited = run(song, REAL, settings={"threshold_db": -18.0})
    assert np.array_equal(limited, run(song, REAL, settings={"threshold_db": -18.0}))
    lag = np.fft.irfft(np.fft.rfft(limited[:, 0], 1 << 17) * np.conj(np.fft.rfft(audio[:, 0], 1 << 17))).argmax()
    assert lag == 0 and limited.shape == audio.shape and np.abs(limited - audio).max() > 0.05
    save = "import pedalboard, sys, numpy as n; p = pedalboard.load_plugin(sys.argv[1]); p.threshold_db = -18; p.process(n.zeros((2, 9999), 'f'), 44100); {}"
    for name, code in (("z.state", "p.raw_state"), ("z.vstpreset", "p.preset_data")):
        path = song.with_name(name)
        write = save.format(f"open(sys.argv[2], 'wb').write({code})")
        subprocess.run([sys.executable, "-c", write, REAL, path], check=True, capture_output=True)
        np.testing.assert_allclose(run(song, REAL, state=path), limited, atol=1e-3)
    with pytest.raises(SongError, match=r"has no parameter 'nope'; it has .*threshold_db"):
        run(song, REAL, settings={"nope": 1.0})
    with pytest.raises(SongError, match="does not take threshold_db = 40"):
        run(song, REAL, settings={"threshold_db": 40.0})
