"""Stages as a recipe holds them: read, refused, and their sizes known before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.errors import (
    ArchitectureUnsupported,
    CompressionSettingsInvalid,
    RecipeInvalid,
)
from edgecomp.models.reading import read_model
from edgecomp.recipes.recipe import read_recipe, write_recipe
from edgecomp.recipes.stages import (
    DistillStage,
    PruneStage,
    Stage,
    StructuredStage,
    parse_distillation,
    shrinking_stages,
    staged_model,
)

from .test_recipe import RECIPE

ALL = (
    StructuredStage(blocks="50%"),
    PruneStage(method="wanda", sparsity="2:4"),
    DistillStage(minutes=10),
)


@pytest.fixture(scope="module")
def llama(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


def test_a_recipe_of_all_stages_reads_back_as_it_was_written(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"stages": ALL})
    write_recipe(tmp_path / "recipe.yaml", recipe)
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_stage_without_a_kind_prunes_as_in_recipes_of_before(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, RECIPE)
    stage = "stages:\n- method: wanda\n  sparsity: 2:4\n"
    path.write_text(path.read_text().replace("stages: []\n", stage))
    assert read_recipe(path).stages == (PruneStage(method="wanda", sparsity="2:4"),)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("{kind: distil, steps: 5}", "distil"),
        ("{kind: distill}", "steps or as minutes"),
        ("{kind: distill, steps: 5, minutes: 1}", "steps or as minutes"),
        ("{kind: structured, block: 50%}", "structured.block"),
        ("{method: wanda, sparsity: 150%}", "sparsity"),
    ],
)
def test_a_broken_stage_is_refused_by_field(tmp_path: Path, stage: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, RECIPE)
    path.write_text(path.read_text().replace("stages: []\n", f"stages:\n- {stage}\n"))
    with pytest.raises(RecipeInvalid, match=said):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("10min", DistillStage(minutes=10)),
        ("1.5 h", DistillStage(minutes=90)),
        ("500steps", DistillStage(steps=500)),
    ],
)
def test_a_budget_is_read_as_people_write_it(text: str, stage: DistillStage) -> None:
    assert parse_distillation(text) == stage


@pytest.mark.parametrize("text", ["10", "0min", "1.5steps", "ten minutes"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CompressionSettingsInvalid, match="budget"):
        parse_distillation(text)


def test_a_student_needs_a_budget() -> None:
    with pytest.raises(CompressionSettingsInvalid, match="how long"):
        shrinking_stages(None, None, None, "student")


@pytest.mark.parametrize(
    ("stage", "layers", "neurons", "kv_heads", "width"),
    [
        (StructuredStage(blocks="50%"), 1, 96, 2, 64),
        (StructuredStage(blocks="1", neurons="60%"), 1, 64, 2, 64),
        (StructuredStage(kv_groups="1", channels="50%"), 2, 96, 1, 64),
        (StructuredStage(channels="32"), 2, 96, 2, 32),
    ],
)
def test_the_sizes_that_stay_are_known_from_the_headers(
    llama: Path, stage: StructuredStage, layers: int, neurons: int, kv_heads: int, width: int
) -> None:
    made = staged_model(read_model(llama), [stage])
    found = (made.layers, made.feed_forward_length, made.kv_heads, made.embedding_length)
    assert found == (layers, neurons, kv_heads, width)
    by_name = {tensor.name: tensor.shape for tensor in made.tensors}
    assert by_name["blk.0.ffn_down.weight"] == (width, neurons)
    assert by_name["blk.0.attn_q.weight"] == (32 * kv_heads, width)
    assert made.parameters == sum(tensor.elements for tensor in made.tensors)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([StructuredStage(blocks="3")], "3 of the 2 blocks"),
        ([StructuredStage(neurons="half")], "no size"),
        ([StructuredStage(neurons="0%")], "0% of the .* neurons cannot be kept"),
        ([DistillStage(steps=5)], "nothing to distil"),
        ([StructuredStage(neurons="90%"), DistillStage(steps=5)], "nothing to distil"),
        ([StructuredStage(neurons="64"), DistillStage(steps=5)], "40 to 60 %"),
        ([StructuredStage(blocks="1"), DistillStage(steps=5, student="x")], "take the place"),
    ],
)
def test_stages_that_make_no_sense_for_a_model_are_refused_before_any_work(
    llama: Path, stages: list[Stage], said: str
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=said):
        staged_model(read_model(llama), stages)


def test_a_family_whose_tensors_are_not_known_is_not_narrowed(
    tiny_model: Callable[..., Path],
) -> None:
    with pytest.raises(ArchitectureUnsupported, match="gpt2"):
        staged_model(read_model(tiny_model("gpt2")), [StructuredStage(neurons="50%")])


def test_a_mixture_is_not_distilled_and_the_refusal_says_what_to_do(
    tiny_model: Callable[..., Path],
) -> None:
    stages = [StructuredStage(blocks="50%"), DistillStage(steps=5)]
    with pytest.raises(CompressionSettingsInvalid, match=r"4 experts.*Leave the distillation out"):
        staged_model(read_model(tiny_model("qwen3moe")), stages)


def test_a_mixture_is_not_made_narrower_but_loses_blocks(tiny_model: Callable[..., Path]) -> None:
    mixture = read_model(tiny_model("mixtral"))
    with pytest.raises(ArchitectureUnsupported, match="llama with experts"):
        staged_model(mixture, [StructuredStage(neurons="50%")])
    assert staged_model(mixture, [StructuredStage(blocks="50%")]).layers == 1
