"""What each stem goes through, changed in the dashboard."""

from __future__ import annotations

import pytest
from textual.widgets import Input, OptionList

from engine.planning import recipes
from engine.planning.recipes import Each
from tests.tui.conftest import until
from tests.tui.test_dashboard import screen_text
from tui.app import RestoreApp
from tui.screens.dialogs import Choice
from tui.screens.recipe import ParameterRow, RecipeScreen
from tui.screens.routing import ChainDialog, RoutingTable, Steps, stages_for_stems

TWO = """
format = 1
[variants.04_stems]
chain = ["decode", "separate"]
[variants.05_stems_enhanced]
from = "04_stems"
chain = [{ each = { drums = ["restore"], vocals = ["denoise", { stage = "restore", top_hz = 18000 }] } }]
"""


def routing(recipe):
    """Stage names by stem."""
    each = next(item for item in recipe.variants["05_stems_enhanced"].chain if isinstance(item, Each))
    return {stem: [step.stage for step in steps] for stem, steps in each.stems}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return str(path)


async def open_routing(pilot, app):
    await pilot.press("e")
    await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
    await pilot.press("end", "tab")
    await until(pilot, lambda: isinstance(app.focused, RoutingTable))
    return app.focused


async def change(pilot, app, *keys):
    """Open the dialog of the stem under the cursor, press keys in it, take what came out."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ChainDialog))
    await pilot.press(*keys)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
    await pilot.pause(0.2)


@pytest.mark.parametrize("size", [(80, 24), (140, 42)])
def test_a_stem_is_given_another_chain_by_keys_alone_and_it_is_saved(drive, recipe, size):
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        table = await open_routing(pilot, app)
        assert "denoise > restore" in screen_text(app)
        assert "passes as it is" in screen_text(app)
        await pilot.press("home")
        await change(pilot, app, "d")  # vocals without the denoiser
        assert isinstance(app.focused, RoutingTable)  # where one was
        assert app.focused is not table
        await pilot.press("down")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        app.screen.query_one(OptionList).highlighted = stages_for_stems().index("lowpass")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("K", "enter")  # before the restorer
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.pause(0.2)
        assert "lowpass > restore" in screen_text(app)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home)
        saved = recipes.load("two")
        assert routing(saved) == {"vocals": ["restore"], "drums": ["lowpass", "restore"]}
        kept = saved.variants["05_stems_enhanced"].steps()[0][1]
        assert kept.params.top_hz == 18000  # what was set for a stage stays with it

    drive(app, script, size)


def test_cancelling_changes_nothing_and_the_last_treated_stem_is_kept(drive, tmp_path):
    path = tmp_path / "one.toml"
    path.write_text(TWO.replace('drums = ["restore"], ', "").replace('"denoise", ', ""))
    app = RestoreApp([], recipe=str(path))

    async def script(pilot):
        await open_routing(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        await pilot.press("d", "d", "K", "J", "escape")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await change(pilot, app, "d")
        assert any("One stem at least" in n.message for n in app._notifications)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home)
        assert routing(recipes.load("one")) == {"vocals": ["restore"]}

    drive(app, script)


def test_only_stages_that_fit_one_stem_are_offered():
    offered = stages_for_stems()
    assert {"restore", "denoise", "audiosr"} <= set(offered)
    assert not {"decode", "separate", "remix", "collect", "master"} & set(offered)


def test_an_empty_chain_says_how_to_add_a_stage(drive, recipe):
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        await open_routing(pilot, app)
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChainDialog))
        assert "press a to add a stage" in screen_text(app)
        assert isinstance(app.focused, Steps)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        await pilot.pause(0.2)
        each = app.screen.query_one(RoutingTable).each
        assert [step.stage for step in each.of("accompaniment")] == [stages_for_stems()[0]]

    drive(app, script)


def shown_stages(app):
    """The titles of what parameters are shown of, as far as they are for one stem."""
    titles = [str(label.render()) for label in app.screen.query(".stage-title")]
    return [title for title in titles if ":" in title]


def test_only_the_stem_under_the_cursor_has_its_parameters_shown(drive, recipe):
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        await open_routing(pilot, app)
        await pilot.press("home")
        await until(pilot, lambda: shown_stages(app) == ["vocals: DeepFilterNet denoiser", "vocals: Offline restorer"])
        await pilot.press("down")
        await until(pilot, lambda: shown_stages(app) == ["drums: Offline restorer"])
        await pilot.press("down")  # bass passes
        await until(pilot, lambda: shown_stages(app) == [])
        await pilot.press("up")
        await until(pilot, lambda: shown_stages(app) == ["drums: Offline restorer"])
        row = next(row for row in app.screen.query(ParameterRow) if row.item.name == "top_hz")
        row.query_one(Input).value = "17000"
        await pilot.pause(0.2)
        row.query_one(Input).value = "1"  # too low: refused, and told where, also when it is not to be seen
        await pilot.pause(0.2)
        await pilot.press("up")
        await until(pilot, lambda: len(shown_stages(app)) == 2)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: any("05_stems_enhanced, drums: top_hz" in n.message for n in app._notifications))
        await pilot.press("down")
        await until(pilot, lambda: len(shown_stages(app)) == 1)
        row = next(row for row in app.screen.query(ParameterRow) if row.item.name == "top_hz")
        row.query_one(Input).value = "17500"
        await pilot.pause(0.2)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is app.home)
        steps = recipes.load("two").variants["05_stems_enhanced"].steps()
        assert {stem: step.params.top_hz for stem, step in steps if step.stage == "restore"} == {
            "vocals": 18000.0, "drums": 17500.0,
        }  # fmt: skip

    drive(app, script)


def test_stems_that_are_not_made_here_are_told(drive, recipe, monkeypatch, tmp_path):
    """Without a model it is Spleeter's two that one is told of."""
    monkeypatch.setenv("MP3RESTORE_MODELS", str(tmp_path / "none"))
    app = RestoreApp([], recipe=recipe)

    async def script(pilot):
        table = await open_routing(pilot, app)
        rows = [str(table.get_option_at_index(n).prompt) for n in range(table.option_count)]
        assert {row.split()[0] for row in rows if "(not made)" not in row} == {"vocals", "accompaniment"}
        assert "by Spleeter (2 stems)" in screen_text(app)

    drive(app, script)


def test_who_runs_through_the_variants_changes_none_of_them(drive):
    """The values of one variant's fields arrive when the cursor is on another already."""
    app = RestoreApp([], recipe="stems")

    async def script(pilot):
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RecipeScreen))
        for _ in range(3):
            await pilot.press(*["down"] * 5)
            await pilot.press(*["up"] * 5)
        await pilot.pause(0.5)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.home)  # and asks for nothing to be kept

    drive(app, script)
