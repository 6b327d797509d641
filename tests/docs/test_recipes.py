"""The reference of recipes tells what the stages and recipes are."""

from __future__ import annotations

import dataclasses

from docs import recipes
from engine.stages import STAGES


def test_the_reference_is_up_to_date():
    told = recipes.PAGE.read_text("utf-8")
    assert recipes.page(told) == told, "run: python -m docs.recipes"


def test_it_has_every_parameter_with_its_default_range_and_meaning():
    told = "\n".join(recipes.reference())
    for stage in STAGES.values():
        _, found, section = told.partition(f"\n### `{stage.name}`\n")
        assert bool(found) is not stage.implied, stage.name
        for field in dataclasses.fields(stage.Parameters):
            line = next(
                row for row in section.partition("\n### ")[0].splitlines() if row.startswith(f"| `{field.name}` ")
            )
            assert field.metadata["help"] in line
    assert "| `ceiling_dbtp` | `-1` | -20 to 0 dBTP | highest true peak |" in told
    assert "| `fill_holes` | `true` | true, false | fill the spectral holes below the cutoff with noise |" in told


def test_recipes_are_told_with_what_differs_from_the_defaults():
    told = "\n".join(recipes.reference()).partition("### `offline`")[2].partition("### ")[0]
    assert '| `11_offline` | the song | decode, then restore (engine "learned", pre_echo 0.5) | yes |' in told
    assert "| `07_mastered` | `11_offline`, else `01_baseline` | master | yes |" in told
    assert "| `09_denoised` | the song | decode, then denoise | when named |" in told


def test_what_stands_around_the_reference_stays():
    made = recipes.page("Mine.\n<!-- made by python -m docs.recipes -->\nold\n<!-- end -->\nMine, too.\n")
    assert made.startswith("Mine.\n") and made.endswith("\nMine, too.\n") and "\nold\n" not in made
