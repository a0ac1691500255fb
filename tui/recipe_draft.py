"""The recipe being edited, kept on disk so that it is read, and explained, as any recipe is."""

from __future__ import annotations

import re
from pathlib import Path

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import EdgecompError
from edgecomp.common.folders import config_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.recipes.calibration_mix import check_mix
from edgecomp.recipes.recipe import Recipe, read_recipe, write_recipe

LINE = re.compile(r", line (\d+)")


class Draft(FrozenModel):
    """A recipe that was read, or what is wrong with it and where."""

    recipe: Recipe | None
    fault: str = ""
    line: int | None = None
    warnings: tuple[str, ...] = ()


def draft_path() -> Path:
    return config_folder() / "draft.yaml"


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML."""
    write_recipe(draft_path(), recipe)
    return draft_path().read_text(encoding="utf-8")


def read_draft(text: str) -> Draft:
    """Check an edited recipe: its form, then whether its calibration suits the task."""
    path = draft_path()
    try:
        write_text(path, text)
        recipe = read_recipe(path)
        warnings = check_mix(
            recipe.calibration, recipe.constraints.task, override=recipe.any_calibration
        )
    except EdgecompError as error:
        fault = str(error).replace(str(path), "").replace("The recipe ,", "The recipe,")
        found = LINE.search(fault)
        return Draft(recipe=None, fault=fault, line=int(found[1]) if found else None)
    return Draft(recipe=recipe, warnings=warnings)
