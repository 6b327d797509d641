"""The mixer, driven by keys and the mouse, and heard on a software sound card."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from engine.dsp.mix import Strip, placed
from engine.library.layout import LISTENING
from engine.library.mixes import read_mixes
from engine.planning.task import State
from engine.player.listening_sets import of_paths
from engine.player.renderer import Renderer
from engine.run.session import Session
from tests.conftest import execute
from tests.stages.test_stems import models  # noqa: F401
from tests.tui.conftest import opened, screen_text, until
from tui.app import Listening, RestoreApp
from tui.screens.dialogs import Choice
from tui.screens.listen import ListenScreen
from tui.screens.mixer import MixerScreen
from tui.widgets.mixer_strip import MixerStrip

RATE = 48000
RECIPE = """
format = 1
[variants.01_baseline]
chain = ["decode"]
suffix = ""
[variants.04_stems]
chain = ["decode", { stage = "separate", model = "spleeter-2stems" }]
suffix = ""
[variants.06_remixed]
from = ["04_stems"]
chain = ["remix"]
suffix = ".remix"
[variants.07_mastered]
from = ["06_remixed", "01_baseline"]
chain = ["master"]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mixed.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def song(tmp_path, models, recipe):  # noqa: F811
    """A library with one song, in stems and remixed."""
    rng = np.random.default_rng(3)
    audio = 0.05 * rng.standard_normal((9 * 44100, 2)) + 0.2 * np.sin(np.arange(9 * 44100) / 20)[:, None]
    (tmp_path / "lib").mkdir()
    soundfile.write(tmp_path / "lib" / "Song.wav", audio.astype(np.float32), 44100)
    execute(Session([tmp_path / "lib"], recipe=recipe))
    return tmp_path / "lib"


def stems_on_disk(folder, lengths=(6, 6, 6), channels=2, **files):
    """Noises as files that are called like stems, and as arrays."""
    made = {}
    for number, (name, seconds) in enumerate(zip(("vocals", "drums", "bass"), lengths, strict=True)):
        audio = 0.1 * np.random.default_rng(number).standard_normal((int(seconds * RATE), channels)).clip(-3, 3)
        made[name] = audio.astype(np.float32)
        soundfile.write(folder / f"{name}.wav", made[name], RATE, subtype="FLOAT")
    return made


def files_app(folder, names=("vocals", "drums", "bass")):
    return RestoreApp([], listening=Listening(of_paths([folder / f"{name}.wav" for name in names])))


async def in_mixer(pilot, key="t"):
    """From the listen screen (or the table) into the mixer, with everything loaded."""
    app = pilot.app
    if key == "t":
        await until(pilot, lambda: isinstance(app.screen, ListenScreen) and app.screen.player is not None)
        await until(pilot, lambda: not app.screen.player.loading)
        await pilot.pause(0.2)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(app.screen, MixerScreen))
    await until(pilot, lambda: not app.screen._player.loading)
    await pilot.pause(0.2)
    return app.screen


def test_every_key_sets_what_it_says(drive, tmp_path):
    stems_on_disk(tmp_path)
    app = files_app(tmp_path)

    async def script(pilot):
        mixer = await in_mixer(pilot)
        player = mixer._player
        strips = lambda: [stem.strip for stem in player.stems_of("stems")]  # noqa: E731
        await pilot.press("up", "up", "up")
        assert strips()[0] == Strip(db=1.5)
        await pilot.press("shift+down", "right", "less_than_sign", "less_than_sign", "m")
        assert strips() == [Strip(db=-1.5), Strip(pan=-0.2, muted=True), Strip()]
        await pilot.press("3", "s", "greater_than_sign", "shift+right")
        assert strips()[2] == Strip(pan=0.2, solo=True)
        assert len(player.mix_of("stems")) == 1
        await pilot.pause(0.2)
        text = screen_text(app)
        for words in ("-1.5 dB", "vocals", "drums", "bass", "0 dB", "only to be heard"):
            assert words in text, words
        await pilot.press("0")
        assert strips()[2] == Strip() and len(player.mix_of("stems")) == 2  # drums are still muted
        for _ in range(200):
            mixer.action_louder(-1)
        assert strips()[2].db == -60
        await pilot.press("backspace")
        assert strips() == [Strip()] * 3
        await pilot.press("left", "left", "left", "s", "m")  # solo and muted at once: muted wins, and nothing is left
        assert player.mix_of("stems") == {}
        await pilot.press("m", "s", "full_stop")
        await until(pilot, lambda: player.position == player.rate)
        await pilot.press("comma")
        await until(pilot, lambda: player.position == 0)
        await pilot.press("tab")
        await pilot.pause(0.1)
        assert "no original here" in [n.message for n in app._notifications][-1]
        await pilot.press("k")
        await pilot.pause(0.1)
        assert "no remix to keep it for" in [n.message for n in app._notifications][-1]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ListenScreen))

    drive(app, script)


def test_the_mouse_sets_fader_place_and_buttons(drive, tmp_path):
    stems_on_disk(tmp_path)
    app = files_app(tmp_path)

    async def script(pilot):
        mixer = await in_mixer(pilot)
        strip = lambda: mixer._player.stems_of("stems")[1].strip  # noqa: E731
        widget = mixer.query_one("#strip-1", MixerStrip)
        height, width = widget.size.height, widget.size.width
        await pilot.click(widget, offset=(width // 2, 3))  # the top of the fader
        assert strip().db == 12 and mixer._place == 1
        await pilot.click(widget, offset=(width // 2, height - 3))
        assert strip().db == -60
        await pilot.click(widget, offset=(2, height - 2))
        assert strip().pan == -1
        await pilot.click(widget, offset=(width // 4, height - 1))
        assert strip().muted
        await pilot.click(widget, offset=(3 * width // 4, height - 1))
        assert strip().solo and strip().muted

    drive(app, script, (120, 36))


def test_a_mix_is_kept_for_the_song_and_made_by_the_next_run(drive, song, recipe, tmp_path):
    app = RestoreApp([song], recipe=recipe)
    found = {}

    async def script(pilot):
        await opened(pilot, 1)
        before = app.session.song_plan(app.session.songs[0]).states
        assert set(before.values()) == {State.DONE}
        mixer = await in_mixer(pilot, "T")
        found["out"] = app.session.store.out
        assert "as in the recipe" in screen_text(app)
        names = [stem.name for stem in mixer._stems]
        assert names == ["vocals", "accompaniment", "residual"]
        await pilot.press("up", "up", "right", "shift+left", "shift+left", "right", "m")
        await pilot.pause(0.2)
        assert "k keeps it" in screen_text(app)
        await pilot.press("k")
        await pilot.pause(0.2)
        assert "your mix, kept" in screen_text(app)
        assert "press" not in screen_text(app).splitlines()[0]
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.home)
        view = app.library.songs[0]
        assert view.tasks["06_remixed"].state == "stale" and view.tasks["07_mastered"].state == "stale"
        assert view.tasks["04_stems"].state == "done" and view.mixes == {"06_remixed"}
        assert "your mix" in screen_text(app)
        await pilot.press("s")
        await until(pilot, lambda: not app.session.running and view.tasks["07_mastered"].state == "done")
        mixer = await in_mixer(pilot, "T")  # it is there again
        assert mixer._mix["vocals"] == Strip(db=1.0) and "your mix, kept" in screen_text(app)
        await pilot.press("backspace", "escape")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("3")
        await until(pilot, lambda: app.screen is mixer)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("2")
        await until(pilot, lambda: app.screen is app.home)

    drive(app, script)
    out = found["out"]
    mix = {"vocals": Strip(db=1.0), "accompaniment": Strip(pan=-0.2), "residual": Strip(muted=True)}
    assert read_mixes(out / LISTENING / "Song") == {"06_remixed": mix}
    stems = {name: soundfile.read(out / "04_stems" / "Song" / f"{name}.flac")[0] for name in mix}
    wanted = placed(stems["vocals"], 1.0, 0.0) + placed(stems["accompaniment"], 0.0, -0.2)
    remix = soundfile.read(out / "06_remixed" / "Song.remix.flac")[0]
    assert np.abs(remix - wanted).max() < 1e-5
    import mutagen

    note = mutagen.File(out / "06_remixed" / "Song.remix.flac")["MP3RESTORE_NOTE"][0]
    assert note == "remixed from vocals, accompaniment: vocals +1.0 dB; accompaniment 20% left; residual left out"
    assert all(state is State.DONE for state in Session([song], recipe=recipe).states()[0].states.values())


TREATED = RECIPE.replace('from = ["04_stems"]', 'from = ["05_enhanced"]').replace(
    "[variants.06",
    '[variants.05_enhanced]\nfrom = ["04_stems"]\nchain = [{ each = { vocals = ["denoise"] } }]\n[variants.06',
)


@pytest.mark.parametrize("treated", [False, True])
def test_what_is_heard_is_what_is_rendered(song, recipe, tmp_path, treated):
    """The renderer's output for a mix against the file that the remix makes of the same mix, equaliser and all."""
    from engine.library.mixes import keep_mix
    from engine.player.listening_sets import of_song
    from engine.player.player import Player
    from tests.player.soundcard import until as wait

    if treated:
        (tmp_path / "mixed.toml").write_text(TREATED)
    session = Session([song], recipe=recipe)
    one = session.songs[0]
    mix = {"vocals": Strip(db=-4.5, pan=0.7), "accompaniment": Strip(db=2.0, pan=-0.3), "residual": Strip(db=-1.0)}
    keep_mix(session.store.places.listening(one.key), "06_remixed", mix)
    execute(session)
    marker = session.store.marker(one, next(t for t in session.tasks if t.id == "06_remixed"))
    remix, rate = soundfile.read(session.store.out / marker.outputs[0].path, dtype="float32")
    listening = of_song(session.store, one, session.tasks)
    assert [(r.variant, r.stems, r.treated, r.further) for r in listening.remixes] == [
        ("06_remixed", "04_stems", treated, False)
    ]
    player = Player()
    try:
        player.open(listening.candidates)
        wait(lambda: not player.loading)
        assert player.rate == rate
        player.select("04_stems")
        player.set_match(False)
        for stem in player.stems_of("04_stems"):
            stem.strip, stem.enhanced = mix[stem.name], treated
        player.stems_changed()
        renderer = Renderer(rate)
        for place in range(3):
            track = player.track_of("04_stems", place)
            renderer.load(track.slot, np.asarray(track.samples()))
        renderer.mix(player.mix_of("04_stems"))
        renderer.play()
        heard = np.zeros((len(remix), 2), np.float32)
        for start in range(0, len(heard), 512):
            renderer.render(heard[start : start + 512])
        turned = player.gains()["04_stems"]
    finally:
        player.close()
    assert marker.fits["vocals"].equaliser(rate) is not None or not treated
    loud = remix * 10 ** ((turned - marker.gain) / 20)
    assert np.abs(heard[480:] - loud[480:]).max() < 1e-6 + 2**-22  # dither of 24 bits


def test_without_stems_a_sentence_says_how_to_get_them(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("T")
        await pilot.pause(0.2)
        assert app.screen is app.home
        assert "take the recipe 'stems'" in [n.message for n in app._notifications][-1]
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, ListenScreen) and app.screen.player is not None)
        await pilot.press("t")
        await pilot.pause(0.2)
        assert isinstance(app.screen, ListenScreen)
        assert any("take the recipe 'stems'" in n.message for n in app._notifications)

    drive(app, script)


def test_stems_that_are_not_made_yet(drive, tmp_path, songs, recipe, models):  # noqa: F811
    app = RestoreApp([songs], recipe=recipe)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("T")
        await pilot.pause(0.2)
        assert "not made yet: start the run (s)" in [n.message for n in app._notifications][-1]

    drive(app, script)


def test_stems_of_different_length_mono_and_one_that_is_no_audio(drive, tmp_path):
    stems_on_disk(tmp_path, lengths=(5, 2.5, 4), channels=1)
    (tmp_path / "bass.wav").write_bytes(b"not audio at all")
    app = files_app(tmp_path)

    async def script(pilot):
        mixer = await in_mixer(pilot)
        player = mixer._player
        assert player.frames == 5 * RATE
        await pilot.press("less_than_sign")
        assert mixer._mix["vocals"] == Strip()
        await pilot.press("3", "up", "s", "1", "s")
        await pilot.pause(0.2)
        text = screen_text(app)
        assert "mono" in text and "not there" in text and "+0.5 dB" in text
        assert player.gains()["stems"] <= 0
        (tmp_path / "vocals.wav").unlink()  # what is loaded goes on
        await pilot.press("space", "full_stop", "m", "m")
        assert len(player.mix_of("stems")) == 2

    drive(app, script)


def test_what_is_said_of_the_mix_is_whole_and_a_long_name_is_cut(drive, song, recipe):
    (song / "Song.wav").rename(song / "A Song With a Title That Goes On and On and On Until It Ends.wav")
    execute(Session([song], recipe=recipe))  # what was made moves with it
    app = RestoreApp([song], recipe=recipe)

    async def script(pilot):
        await opened(pilot, 1)
        await until(pilot, lambda: app.library.counts()["done"] == 1)
        await in_mixer(pilot, "T")
        await pilot.press("up")
        await pilot.pause(0.2)
        title = screen_text(app).splitlines()[0]
        assert "06_remixed: changed, k keeps it" in title and "…" in title and "It Ends.wav" in title
        assert "0.0 dB" not in title, "what nobody hears is not told"
        await pilot.resize_terminal(140, 42)
        await pilot.pause(0.3)
        assert "A Song With a Title That Goes On and On and On Until" in screen_text(app).splitlines()[0]

    drive(app, script, (80, 24))


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (140, 42)])
def test_every_size_shows_all_strips(drive, tmp_path, size):
    names = ("vocals", "drums", "bass", "guitar", "piano", "other", "residual")
    for name in names:
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((RATE, 2)), RATE)
    app = files_app(tmp_path, names)

    async def script(pilot):
        mixer = await in_mixer(pilot)
        strips = list(mixer.query(MixerStrip))
        assert len(strips) == 7
        for strip in strips:
            region = strip.region
            assert region.width >= 8 and region.right <= size[0] and region.bottom <= size[1]
        assert all(name[:4] in screen_text(app) for name in names)
        assert mixer.query_one("#transport").region.bottom <= size[1]

    drive(app, script, size)


def test_closing_while_it_plays_leaves_nothing_behind(drive, tmp_path):
    stems_on_disk(tmp_path)
    app = files_app(tmp_path)
    seen = {}

    async def script(pilot):
        mixer = await in_mixer(pilot)
        seen["player"] = mixer._player
        await pilot.press("space", "m", "up", "up")
        app.exit()

    drive(app, script)
    assert seen["player"]._output.child.poll() is not None and not seen["player"]._folder.path.exists()


# --- with sound -------------------------------------------------------------------------------------------


def test_gains_mutes_solos_and_places_are_heard(drive, sound_card, tmp_path):
    """Keys pressed while it plays, recorded from the card: every setting measured on what came out, and no click."""
    tracks = stems_on_disk(tmp_path, lengths=(40, 40, 40))
    app = files_app(tmp_path)
    found = {}

    async def script(pilot):
        mixer = await in_mixer(pilot)
        player = mixer._player
        player.set_match(False)
        player.set_region((0, 40 * RATE), looping=True)  # a busy machine takes its time with the keys
        await until(pilot, lambda: player.device_name)
        settled = []

        async def set_by(*keys):
            await pilot.press(*keys)
            begin = (5 + 5 * len(settled)) * RATE  # a place of its own in the song
            player.seek(begin)
            await until(pilot, lambda: player.position > begin + 2 * RATE)
            settled.append(((begin + RATE // 2, begin + 2 * RATE), dict(mixer._mix), player.gains()["stems"]))

        with sound_card.recording() as recordings:
            await pilot.press("space")
            await until(pilot, lambda: player.position > RATE)
            await set_by("up", "up", "up", "up", "up", "up")  # vocals +3 dB
            await set_by("right", "m")  # drums muted
            await set_by("right", *["less_than_sign"] * 5)  # bass to the left
            await set_by("1", "s")  # vocals solo
            await set_by("m")  # solo and muted: silence
            await set_by("m", "s", "2", *["m"] * 6)  # quick toggling
        found["heard"], found["settled"] = recordings[0], settled

    drive(app, script)
    heard = found["heard"]
    for (begin, stop), mix, gain in found["settled"]:
        wanted = mixed(tracks, mix)[begin:stop] * np.float32(10 ** (gain / 20))
        if wanted.any():
            assert is_in(heard, wanted), mix
        else:
            assert mix["vocals"].solo and mix["vocals"].muted and longest_silence(heard) > RATE
    assert len(found["settled"]) == 6


def mixed(tracks, mix):
    """What a mix of the tracks is, by the remix's own rule."""
    from engine.dsp.mix import in_the_mix

    parts = [placed(audio, mix[n].db, mix[n].pan) for n, audio in tracks.items() if in_the_mix(mix, n)]
    return np.add.reduce(parts) if parts else np.zeros_like(next(iter(tracks.values())))


def is_in(heard, wanted, frames=RATE // 5):
    """Whether a fifth of a second of ``wanted`` came out as it is; the machine may stall elsewhere."""
    from scipy.signal import correlate

    for probe in range(0, len(wanted) - frames, frames):
        piece = wanted[probe : probe + frames]
        loud = int(np.argmax(np.abs(piece).max(axis=0)))
        alike = correlate(heard[:, loud], piece[:, loud], "valid")
        for place in np.flatnonzero(alike > 0.5 * alike.max()):  # the loop passes here with other settings, too
            if np.abs(heard[place : place + frames] - piece).max() < 1e-5:
                return True
    return False


def longest_silence(heard):
    """Frames of the longest silence between the first and the last sound."""
    sounding = np.flatnonzero(np.abs(heard).max(axis=1) > 0)
    return int(np.diff(sounding).max())


def test_a_fader_moves_without_a_click(drive, sound_card, tmp_path):
    """A steady tone under key repeats: nothing above it that a step would make."""
    time = np.arange(20 * RATE) / RATE
    tone = (0.25 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    for name in ("vocals", "drums"):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([tone, tone], 1), RATE, subtype="FLOAT")
    app = files_app(tmp_path, ("vocals", "drums"))
    found = {}

    async def script(pilot):
        mixer = await in_mixer(pilot)
        await until(pilot, lambda: mixer._player.device_name)
        mixer._player.set_region((0, 20 * RATE), looping=True)
        with sound_card.recording() as recordings:
            await pilot.press("space")
            await until(pilot, lambda: mixer._player.position > RATE)
            await pilot.press("down", "up", *["down"] * 4, "m", "m", "shift+left", "shift+left", "s", "s", "m", "s")
            await pilot.pause(1.0)
        found["heard"] = recordings[0]

    drive(app, script)
    heard = found["heard"][:, 0].astype(np.float64)
    bends = np.abs(np.diff(heard, 2))
    silent = np.flatnonzero(heard == 0)  # before and after, while all is muted, and where the machine stalled
    for around in range(-2, 3):
        bends[np.clip(silent + around, 0, len(bends) - 1)] = 0
    levels = np.abs(heard[: len(heard) // 480 * 480]).reshape(-1, 480).max(axis=1)
    assert {0.5, 0.0} <= set(np.round(levels / levels.max(), 1)) and np.count_nonzero(bends) > RATE
    smooth = 0.5 * (2 * np.pi * 200 / RATE) ** 2  # the bend of both tones, and that of a raised-cosine ramp
    ramp = 0.5 * (np.pi / 480) ** 2
    assert bends.max() < 2 * (smooth + ramp)
