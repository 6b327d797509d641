"""What the dashboard shows, offers and says: keys, footers, themes, orders, words."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
import soundfile
from textual.color import Color
from textual.widgets import Input, OptionList, RichLog

from engine.planning.recipes import by_number
from engine.player import listening_sets
from tests.tui.conftest import Gate, opened, screen_text, until
from tests.tui.test_listen import begin_test, listen_to_second, restored  # noqa: F401  (a fixture)
from tui.app import RestoreApp
from tui.commands import Palette
from tui.screens.blind import BlindScreen
from tui.screens.dialogs import Choice
from tui.screens.open_dialog import OpenDialog, complete
from tui.screens.pages import HelpPage, ModelsPage
from tui.screens.recipe import ParameterRow, RecipeScreen
from tui.settings import config_folder, load_settings
from tui.theming import load_themes
from tui.widgets.key_line import KeyLine
from tui.widgets.song_table import SongTable
from tui.widgets.spectrogram import Spectrogram
from tui.widgets.stage_checklist import StageChecklist
from tui.widgets.variant_list import VariantList

SHIPPED = ("ember", "paper", "contrast", "sixteen")


def footer(app) -> str:
    return screen_text(app).splitlines()[-1]


def colors(app, widget) -> set[str]:
    """Colours of the ink in a widget."""
    found = set()
    for y in range(widget.size.height):
        for segment in widget.render_line(y):
            if segment.text.strip() and segment.style is not None and segment.style.color is not None:
                found.add(segment.style.color.name)
    return found


# --- themes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", SHIPPED)
def test_every_shipped_theme_starts_from_the_settings(drive, songs, quick, theme):
    settings = load_settings()
    settings.theme = theme
    settings.save()
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        assert app.theme == theme and "Two.mp3" in screen_text(app) and not app._notifications

    drive(app, script)


@pytest.mark.parametrize("theme", SHIPPED)
def test_every_shipped_theme_is_taken_from_the_palette(drive, theme):
    app = RestoreApp([])
    other = "ember" if theme != "ember" else "paper"

    async def script(pilot):
        app.theme = other
        await pilot.pause(0.1)
        app.action_change_theme()
        await until(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*theme)
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(pilot, lambda: app.theme == theme and app.screen is app.home)
        await pilot.pause(0.2)
        assert "open a folder of music" in screen_text(app)

    drive(app, script)


@pytest.mark.parametrize("value", ["nonsense", "$nothing", "}"])
def test_a_theme_that_cannot_be_used_is_told_and_not_taken(drive, home, value):
    (config_folder() / "themes").mkdir(parents=True)
    (config_folder() / "themes/odd.toml").write_text(f'primary = "#123456"\n[variables]\nborder = "{value}"\n')
    settings = load_settings()
    settings.theme = "odd"
    settings.save()
    app = RestoreApp([])

    async def script(pilot):
        await pilot.pause(0.2)
        assert app.theme == "ember" and any("odd cannot be used" in n.message for n in app._notifications)
        app.theme = "paper"
        app.theme = "odd"
        await pilot.pause(0.2)
        assert app.theme == "paper"

    drive(app, script)


def test_our_own_themes_stand_first(drive):
    app = RestoreApp([])

    async def script(pilot):
        app.action_change_theme()
        await until(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.pause(0.6)
        options = app.screen.query_one(OptionList)
        shown = [str(options.get_option_at_index(n).prompt) for n in range(6)]
        own = [theme.name for theme in load_themes()[0]]
        assert [line.strip() for line in shown[: len(own)]] == own

    drive(app, script)


def test_another_theme_recolours_what_was_painted_before(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: "CPU" in screen_text(app))
        panels = [app.home.query_one(name) for name in ("#stages", "#machine", "#table")]
        await until(pilot, lambda: colors(app, panels[0]))
        before = [colors(app, panel) for panel in panels]
        app.theme = "paper"
        await pilot.pause(0.4)
        after = [colors(app, panel) for panel in panels]
        assert all(not old & new for old, new in zip(before, after, strict=True)), (before, after)
        await pilot.press("end", "l")
        await until(pilot, lambda: isinstance(app.screen.focused, VariantList))
        picture = app.screen.query_one("#picture", Spectrogram)
        await until(pilot, lambda: picture._picture is not None)
        light = colors(app, picture)
        app.theme = "ember"
        await pilot.pause(0.4)
        assert not light & colors(app, picture)

    drive(app, script, size=(130, 40))


@pytest.mark.parametrize("theme", SHIPPED[:3])
def test_how_a_variant_was_made_is_legible_under_the_cursor_and_beside_it(drive, restored, quick, theme):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)
    app.theme = theme

    async def script(pilot):
        screen = await listen_to_second(pilot)
        listing = screen.query_one(VariantList)
        seen = 0
        for y in range(listing.size.height):
            for segment in listing.render_line(y):
                style = segment.style
                if segment.text.strip() and style is not None and style.color is not None and style.bgcolor is not None:
                    ink, paper = (Color.from_rich_color(c) for c in (style.color, style.bgcolor))
                    assert contrast(ink, paper) >= 4.5, (theme, segment.text, ink, paper)
                    assert not style.dim
                    seen += 1
        assert seen >= 6 and "Plain decode → Offline" in screen_text(app)

    drive(app, script)


def test_the_terminals_own_colours_keep_the_cursor_legible(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)
    app.theme = "sixteen"

    async def script(pilot):
        screen = await listen_to_second(pilot)
        listing = screen.query_one(VariantList)
        under = [s.style for y in range(listing.size.height) for s in listing.render_line(y) if "generated" in s.text]
        assert under and all(style.color.name != "default" for style in under), under

    drive(app, script)


def contrast(one: Color, other: Color) -> float:
    """WCAG's ratio of luminances."""

    def luminance(color: Color) -> float:
        parts = [c / 255 for c in color.rgb]
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# --- keys and what they offer -----------------------------------------------------------------------------


def test_g_opens_and_closes_the_log_from_table_and_checklist(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        log = app.home.query_one(RichLog)
        table = app.home.query_one(SongTable)
        assert not log.display  # nothing to say yet
        await pilot.press("end", "g")
        assert log.display and table.cursor == 1
        app.home.query_one(StageChecklist).focus()
        await pilot.press("g")
        assert not log.display

    drive(app, script, size=(130, 40))


def test_the_log_opens_when_it_has_something_to_say_and_there_is_room(drive, songs, quick):
    (songs / "bad.mp3").write_text("nothing")
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 3)
        await pilot.press("s")
        await until(pilot, lambda: app.library.finished is not None)
        assert app.home.query_one(RichLog).display
        await pilot.press("g")
        app.library._say("note", "more")
        await pilot.pause(0.5)
        assert not app.home.query_one(RichLog).display  # as it was chosen

    drive(app, script, size=(130, 40))


def test_v_in_the_table_asks_which_variant(drive, tmp_path, repeated, quick):
    (tmp_path / "long").mkdir()
    shutil.copy(repeated(12), tmp_path / "long/Long.mp3")
    app = RestoreApp([tmp_path / "long"], recipe=quick)

    async def script(pilot):
        await opened(pilot, 1)
        await pilot.press("v")
        await until(pilot, lambda: any("Nothing is being made" in n.message for n in app._notifications))
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        await pilot.pause(0.2)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        assert "Skip which variant of Long.mp3" in screen_text(app) and "11_offline" in screen_text(app)
        await pilot.press("1")
        await until(pilot, lambda: any("will be skipped" in n.message for n in app._notifications))
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        assert app.library.by_id["Long.mp3"].tasks["11_offline"].state == "skipped"

    drive(app, script)


def test_the_keys_at_the_bottom_are_those_that_work_now(drive, tmp_path, repeated, quick):
    (tmp_path / "long").mkdir()
    shutil.copy(repeated(12), tmp_path / "long/Long.mp3")
    app = RestoreApp([], recipe=quick)

    async def script(pilot):
        await until(pilot, lambda: "Open" in footer(app))
        assert not any(w in footer(app) for w in ("Start", "Pause", "Listen", "Stop"))
        app.open_path(str(tmp_path / "long"))
        await opened(pilot, 1)
        await until(pilot, lambda: "Start" in footer(app) and "Listen" in footer(app) and "Pause" not in footer(app))
        gate = Gate(app.session, "restore")
        await pilot.press("s")
        await until(pilot, lambda: gate.chunks == 1)
        await until(pilot, lambda: "p Pause" in footer(app) and "Start" not in footer(app) and "t Stop" in footer(app))
        await pilot.press("p")
        await until(pilot, lambda: "p Resume" in footer(app) and "Pause" not in footer(app))
        await pilot.press("p")
        await until(pilot, lambda: "p Pause" in footer(app))
        gate.open()
        await until(pilot, lambda: app.library.finished is not None)
        await until(pilot, lambda: "Start" in footer(app))

    drive(app, script)


def test_at_80_columns_the_keys_keep_listen_help_and_quit(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: all(w in footer(app) for w in ("l Listen", "? Help", "q Quit", "s Start")))
        await pilot.resize_terminal(50, 24)
        await until(pilot, lambda: all(w in footer(app) for w in ("l Listen", "? Help", "q Quit")))

    drive(app, script, (80, 24))


def test_dialogs_show_their_own_keys_over_those_beneath(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, Choice) and app.screen.query(KeyLine))
        await until(pilot, lambda: "Cancel" in footer(app))
        assert "Listen" not in footer(app) and "Start" not in footer(app)

    drive(app, script)


@pytest.mark.parametrize(
    ("key", "kind", "first"), [("", None, "Library"), ("e", RecipeScreen, "Recipe"), ("M", ModelsPage, "Models")]
)
def test_help_begins_with_the_screen_one_is_on(drive, key, kind, first):
    app = RestoreApp([])

    async def script(pilot):
        if key:
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, kind))
            app.screen.set_focus(None)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpPage))
        await until(pilot, lambda: "Signs" in screen_text(app) or first in screen_text(app))
        lines = [line.strip() for line in screen_text(app).splitlines() if line.strip()]
        assert lines[1].split("  ")[0].strip("▁ ") == first
        await pilot.press("escape")

    drive(app, script)


def test_the_same_words_are_not_said_twice_at_once(drive):
    app = RestoreApp([])

    async def script(pilot):
        for _ in range(3):
            app.notify("the same", timeout=5)
        app.notify("another", timeout=5)
        await until(pilot, lambda: any(n.message == "another" for n in app._notifications))
        assert sorted(n.message for n in app._notifications) == ["another", "the same"]

    drive(app, script)


# --- opening ----------------------------------------------------------------------------------------------


def test_the_welcome_opens_a_recent_folder(drive, songs, quick):
    settings = load_settings()
    settings.recent = ["/nowhere/at all", str(songs)]
    settings.save()
    app = RestoreApp([], recipe=quick)

    async def script(pilot):
        await pilot.pause(0.3)
        assert "/nowhere/at all" in screen_text(app)
        await pilot.press("1")
        await until(pilot, lambda: any("does not exist" in n.message for n in app._notifications))
        await pilot.press("2")
        await opened(pilot, 2)

    drive(app, script)


def test_paths_are_completed(drive, tmp_path, monkeypatch):
    (tmp_path / "Music & more/Albums").mkdir(parents=True)
    (tmp_path / "Music & more/a.mp3").write_text("x")
    (tmp_path / "Music & more/a.txt").write_text("x")
    (tmp_path / "Music & more/.hidden").mkdir()
    (tmp_path / "esc\x1b[31m").mkdir()
    start = str(tmp_path) + os.sep
    assert complete(start + "mus") == start + "Music & more" + os.sep
    assert complete(start + "Music & more/") == start + "Music & more/Albums" + os.sep
    assert complete(start + "Music & more/a.") == start + "Music & more/a.mp3"
    assert complete(start + "esc") is None and complete("mus") is None and complete("/does/not/e") is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert complete("~/Mus") == "~/Music & more" + os.sep and complete("~nobody-there/x") is None
    app = RestoreApp([])

    async def script(pilot):
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OpenDialog))
        field = app.screen.query_one("#path", Input)
        field.focus()
        field.value = start + "mus"
        await until(pilot, lambda: field._suggestion)
        await pilot.press("tab")
        assert field.value == start + "Music & more" + os.sep

    drive(app, script)


# --- the table --------------------------------------------------------------------------------------------


def test_facts_are_on_the_screen_before_any_run(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: all(v.facts is not None for v in app.library.songs))
        await pilot.pause(0.4)
        text = screen_text(app)
        assert "17.5k" in text and "LAME" in text and "CBR" in text
        assert all(v.analysis is None and v.duration > 1 and v.damage is not None for v in app.library.songs)
        first = app.library.songs[0]
        first.facts = replace(first.facts, duration=1.0)
        await pilot.press("c", "c", "c")
        table = app.home.query_one(SongTable)
        assert table.sort_name == "length" and table.rows[-1] is first

    drive(app, script, size=(160, 40))


def test_variants_stand_in_order_of_their_numbers_everywhere(drive, songs, tmp_path):
    names = ["11_b", "2_z", "07_a", "plain"]
    assert sorted(names, key=by_number) == ["2_z", "07_a", "11_b", "plain"]
    app = RestoreApp([songs], recipe="offline")

    async def script(pilot):
        await opened(pilot, 2)
        assert [t.id for t in app.library.final] == ["01_baseline", "07_mastered", "11_offline"]
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        listing = app.screen.query_one("#variants", OptionList)
        shown = [str(listing.get_option_at_index(n).id) for n in range(listing.option_count)]
        assert shown == sorted(shown, key=by_number) and "07_mastered" in shown
        assert list(app.screen._variants)[-1] == "07_mastered"  # the recipe itself keeps its order

    drive(app, script)


def test_the_sorted_column_has_a_sign(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        table = app.home.query_one(SongTable)
        assert "Song▴" in table.render_line(0).text
        await pilot.press("c", "c")
        assert table.sort_name == "damage" and "lost▾" in table.render_line(0).text

    drive(app, script, size=(130, 36))


def test_below_120_columns_names_have_the_whole_width(drive, songs, quick):
    app = RestoreApp([songs], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        assert app.home.query_one(SongTable).size.width > 110
        assert "Artist/One.mp3" in screen_text(app)

    drive(app, script, size=(118, 36))


# --- recipe, listening ------------------------------------------------------------------------------------


def test_the_first_tab_in_the_recipe_goes_to_the_first_field_and_units_show_at_80_columns(drive):
    app = RestoreApp([], recipe="offline")

    async def script(pilot):
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen) and app.screen.query(ParameterRow))
        await pilot.press("tab")
        first = app.screen.query(ParameterRow).first()
        assert app.screen.focused is first.query_one(Input)
        app.screen.query_one("#variants").focus()
        await pilot.press("end")
        await pilot.pause(0.5)
        assert "dB" in screen_text(app) and "Hz" in screen_text(app)
        assert "None" not in screen_text(app)  # a parameter that is a word has no range

    drive(app, script, (80, 24))


def test_enter_begins_wherever_the_cursor_is(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        await begin_test(pilot, screen, "home", "down")

    drive(app, script)


def test_after_a_blind_test_what_plays_is_what_is_highlighted_and_gets_the_star(drive, restored, quick):  # noqa: F811
    from engine.library.verdicts import read_verdict

    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        await pilot.press("2")
        player = screen.player
        assert player.current == "11_offline"
        await begin_test(pilot, screen)
        assert isinstance(app.screen, BlindScreen)
        await pilot.press("b", "a")  # A is the plain decode
        assert player.current == "01_baseline"
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        await pilot.pause(0.3)
        listing = screen.query_one(VariantList)
        keys = [c.key for c in screen._candidates]
        assert keys[listing.highlighted] == player.current == "11_offline"
        await pilot.press("f")
        assert read_verdict(screen._set.folder).favourite == "11_offline"

    drive(app, script)


def test_two_quick_steps_to_other_songs_end_at_the_last(drive, songs, quick, piece):
    for number in range(3):
        soundfile.write(songs / f"Zz{number}.mp3", piece, 44100, format="MP3")
    app = RestoreApp([songs], recipe=quick)
    opening, most = [], []

    async def script(pilot):
        await opened(pilot, 5)
        await pilot.press("home", "l")
        await until(pilot, lambda: getattr(app.screen, "player", None) is not None)
        screen = app.screen
        before = type(screen.player).open

        def counted(self, candidates):
            opening.append(1)
            most.append(len(opening))
            try:
                before(self, candidates)
            finally:
                opening.pop()

        type(screen.player).open = counted
        try:
            await pilot.press("pagedown", "pagedown", "pagedown")
            await until(pilot, lambda: screen.player is not None)
            await until(pilot, lambda: "Zz1.mp3" in screen_text(app) and "4/5" in screen_text(app))
        finally:
            type(screen.player).open = before
        assert max(most) == 1  # never two at once
        assert screen._set.title == "Zz1.mp3"

    drive(app, script)


def test_the_picture_has_round_ticks_and_a_time_axis(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        screen = await listen_to_second(pilot)
        picture = screen.query_one("#picture", Spectrogram)
        await until(pilot, lambda: picture._picture is not None)
        await pilot.pause(0.2)
        lines = [picture.render_line(y).text for y in range(picture.size.height)]
        labels = [line[:6].strip() for line in lines if line[:6].strip()]
        assert labels == ["20k", "15k", "10k", "5k"]
        assert "╵0:00" in lines[-1] and "╵0:0" in lines[-1][12:]

    drive(app, script)


def test_folders_stand_beside_titles(drive, restored, quick):  # noqa: F811
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        await listen_to_second(pilot)
        assert "Offline restorer  11_offline" in screen_text(app) and "Plain decode  01_baseline" in screen_text(app)

    drive(app, script)


def test_a_ruined_variant_is_marked_in_table_stages_and_where_it_is_heard(drive, restored, quick, monkeypatch):  # noqa: F811
    words = "It is 12.3 dB quieter than the song."
    of_marker = listening_sets._of_marker

    def ruined(store, marker, *rest):
        return of_marker(store, replace(marker, ruined=words) if marker.task == "11_offline" else marker, *rest)

    monkeypatch.setattr(listening_sets, "_of_marker", ruined)
    app = RestoreApp([restored], recipe=quick)

    async def script(pilot):
        await opened(pilot, 2)
        await until(pilot, lambda: app.library.by_id["Two.mp3"].tasks["11_offline"].state == "done")
        table = app.home.query_one(SongTable)
        assert "!" not in table.render_line(2).text
        app.library.by_id["Two.mp3"].tasks["11_offline"].ruined = words
        await pilot.press("end")
        table.refresh()
        await pilot.pause(0.2)
        assert "●!" in table.render_line(2).text and "! lost much of the song" in screen_text(app)
        await pilot.press("l")
        await until(pilot, lambda: "12.3 dB quieter" in screen_text(app))
        assert "11_offline !" in screen_text(app)

    drive(app, script, size=(140, 42))
