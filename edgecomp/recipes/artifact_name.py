"""What an artifact's file is called: by its format, or by what a mixture of types is.

A mixture began as a preset and resembles it no longer, in size or in types; two of them are told
apart by a hash of their types.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.recipe import Recipe

PREFIX, MIX = "model-", "mix-"
DIGITS = 8


def artifact_stem(recipe: Recipe, model: ModelSpec, types: Mapping[str, str]) -> str:
    """The name, without its end, of the file of `model` whose tensors have these types:
    `model-Q4_K_M`, or `model-mix-4.4bpw-0a1b2c3d` with its bits a weight."""
    if not recipe.tensor_types:
        return PREFIX + recipe.format
    bits = sum(8 * TENSOR_TYPES[types[t.name]].size_bytes(t.elements) for t in model.tensors)
    per_weight = bits / sum(tensor.elements for tensor in model.tensors)
    return f"{PREFIX}{MIX}{per_weight:.1f}bpw-{_types_digest(recipe)}"


def is_stem_of(stem: str, recipe: Recipe) -> bool:
    """Whether a file, or a folder, of this name was made by `recipe`."""
    if recipe.runtime != "llama.cpp":
        return stem == recipe.format
    if not recipe.tensor_types:
        return stem == PREFIX + recipe.format
    return stem.startswith(PREFIX + MIX) and stem.endswith(f"-{_types_digest(recipe)}")


def _types_digest(recipe: Recipe) -> str:
    said = json.dumps([recipe.format, recipe.tensor_types], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:DIGITS]
