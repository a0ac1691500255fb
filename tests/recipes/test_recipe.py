"""Recipes survive a round trip, and a broken one is refused by line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import RecipeInvalid
from edgecomp.common.tasks import Mix, MixChoice
from edgecomp.formats.solved_types import SOLVED_TYPES
from edgecomp.planning.recipe_of_plan import chosen_mix
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import Recipe, read_recipe, write_recipe
from edgecomp.recipes.run_settings import RunSettings

RECIPE = Recipe(
    model="demo",
    device="auto",
    constraints=Constraints(task="reasoning", max_size_bytes=10**8),
    runtime="llama.cpp",
    format="Q4_0",
    settings=RunSettings(context=2048, threads=2),
    importance=True,
    calibration=preset_mix("reasoning"),
)


def test_a_recipe_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", RECIPE)
    assert read_recipe(tmp_path / "recipe.yaml") == RECIPE


def test_r87_the_reasoning_preset_is_the_256_128_128_mix() -> None:
    """R87-R90: 512 samples, 75 % of them specific to the task."""
    mix = preset_mix("reasoning")
    assert mix.samples == {"math": 256, "general_reasoning": 128, "text": 128}
    specific = mix.samples["math"] + mix.samples["general_reasoning"]
    assert mix.total == 512 and specific / mix.total == 0.75


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("context: 2048", "context: -1", r"line \d+: settings.context"),
        ("importance: true", "importanse: true", "importanse"),
        ("format: Q4_0", "format: [", "not valid YAML"),
        ("format: Q4_0", "format: " + "[" * 10_000, "not valid YAML"),
        ("model: demo", 'model: "\\ud800"', "half of a character"),
        ("model: demo", "model: 2020-99-99", "a value that is none"),
    ],
)
def test_a_broken_recipe_is_refused_where_it_breaks(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, RECIPE)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecipeInvalid, match=said):
        read_recipe(path)


def test_a_missing_recipe_is_an_explained_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_the_types_that_recipes_solve_are_those_that_have_a_solver() -> None:
    from edgecomp.compress.gguf_types import GGUF_GRIDS

    assert set(SOLVED_TYPES) == set(GGUF_GRIDS)


@pytest.mark.parametrize(
    ("choice", "format_name", "mix"),
    [
        (None, "Q4_K_M", "same-size"),
        (None, "Q8_0", None),
        (None, "IQ2_XXS", "same-size"),
        (None, "IQ1_M", None),
        (None, "F16", None),
        (None, "source", None),
        ("none", "Q4_K_M", None),
        ("optimal", "Q4_K_M", "optimal"),
    ],
)
def test_types_are_mixed_unless_told_otherwise_where_solvers_choose_few_bits(
    choice: MixChoice | None, format_name: str, mix: Mix | None
) -> None:
    assert chosen_mix(choice, format_name) == mix
