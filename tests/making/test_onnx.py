"""ONNX artifacts of what the pipeline makes: pruned, made smaller, distilled, rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.checks.greedy_check import MORE_PROMPTS, PROMPTS
from edgecomp.common.errors import CompressionSettingsInvalid, ConstraintsImpossible
from edgecomp.common.events import Event, StageFinished, ignore
from edgecomp.common.folders import cache_folder
from edgecomp.compress.packed import read_packed_index
from edgecomp.formats.onnx_facts import onnx_artifact_bytes
from edgecomp.formats.onnx_mixture import OnnxMixture
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.models.onnx_folder import external_tensors, load_graph, read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import Recipe, read_recipe
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import DistillStage, Stage, StructuredStage, staged_model
from edgecomp.runtimes.protocol import find_runtime

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
DISTILL = DistillStage(
    steps=20, evaluate_every=10, tokens=4096, top_k=64, learning_rate=2e-3, intermediate_weight=0
)
WRITTEN = 12


def recipe_of(
    source: Path,
    *stages: Stage,
    format_name: str,
    max_size_bytes: int | None = None,
    **asked: Any,
) -> Recipe:
    return compression_recipe(
        CompressionRequest(
            model=str(source),
            format=format_name,
            constraints=Constraints(max_size_bytes=max_size_bytes),
            calibration=MIX,
            stages=tuple(stages),
            **asked,
        )
    )


def made(source: Path, folder: Path, *stages: Stage, format_name: str, **asked: str) -> Compressed:
    recipe = recipe_of(source, *stages, format_name=format_name, **asked)
    return compress(recipe, folder, None, ignore)


def newest(stage: str) -> Path:
    """The checkpoint that a stage wrote last."""
    found = (cache_folder() / "stages").glob(f"{stage}-*/checkpoint")
    return max(found, key=lambda path: path.stat().st_mtime)


def written_by_torch(checkpoint: Path, ids: list[list[int]]) -> list[list[int]]:
    """What transformers writes after rows of token ids, greedily."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    found = []
    for row in ids:
        out = model.generate(
            torch.tensor([row]), max_new_tokens=WRITTEN, do_sample=False, eos_token_id=-1
        )
        found.append(out[0, len(row) :].tolist())
    return found


def values(folder: Path, name: str) -> np.ndarray:
    """The numbers of an initializer in external data."""
    place = external_tensors(folder, load_graph(folder))[name]
    kind = onnx.helper.tensor_dtype_to_np_dtype(place.type)
    raw = place.file.read_bytes()[place.offset : place.offset + place.size_bytes]
    return np.frombuffer(raw, kind).reshape(place.shape)


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    """Six blocks."""
    return tiny_model("llama-deep")


@pytest.mark.slow
def test_a_student_with_fewer_blocks_writes_in_onnx_what_it_writes_in_torch(
    source: Path, tmp_path: Path
) -> None:
    stages = (StructuredStage(blocks="2"), DISTILL)
    result = made(source, tmp_path / "out", *stages, format_name="onnx-fp32")
    folder, runtime = result.folder / result.file, find_runtime("onnx")
    assert read_onnx_folder(folder).layers == 2
    (history,) = result.distillations
    assert history.points[-1].divergence < history.points[0].divergence
    prompts = [*PROMPTS, *MORE_PROMPTS]
    settings = RunSettings(context=128, threads=1, kv_type="F32")
    answers = runtime.complete(folder, settings, prompts, [WRITTEN] * len(prompts))
    ids = runtime.tokenize(folder, prompts, add_special=True, parse_special=True)
    expected = written_by_torch(newest("distillation"), ids)
    assert len(prompts) == 20
    for answer, tokens in zip(answers, expected, strict=True):
        assert list(answer.tokens) == tokens[: len(answer.tokens)]
    recipe = find_artifact(str(folder)).recipe
    assert recipe is not None and recipe.stages == stages
    heard: list[Event] = []
    gguf = recipe_of(source, *stages, format_name="F16", method="llama.cpp")
    compress(gguf, tmp_path / "gguf", None, heard.append)
    shared = {e.stage for e in heard if isinstance(e, StageFinished) and e.cached}
    assert shared >= {"calibration", "structured-pruning", "targets", "distillation"}


@pytest.mark.slow
def test_a_model_with_fewer_blocks_and_neurons_gets_a_solvers_codes(
    source: Path, tmp_path: Path
) -> None:
    stage = StructuredStage(blocks="2", neurons="64")
    result = made(source, tmp_path / "out", stage, format_name="onnx-int4-32")
    assert {check.name for check in result.checks if check.passed} >= {"token ids", "size"}
    assert result.types.keys() == {
        tensor.name for tensor in staged_model(read_model(source), [stage]).tensors
    }
    index = read_packed_index(newest("rounding"))
    assert index is not None and set(index.tensors) >= {"blk.1.ffn_down.weight", "output.weight"}
    name = "model.layers.1.mlp.down_proj.MatMul.weight_Q4"
    assert values(result.folder / result.file, name).shape == (64, 2, 16)


def test_weights_that_were_pruned_of_a_smaller_model_are_zero_in_its_codes(
    source: Path, tmp_path: Path
) -> None:
    stage, asked = StructuredStage(blocks="2"), {"method": "wanda", "sparsity": "2:4"}
    result = made(source, tmp_path / "out", stage, format_name="onnx-int4-32", **asked)
    name = "model.layers.1.mlp.up_proj.MatMul.weight_Q4"
    codes = values(result.folder / result.file, name).reshape(96, 32)
    weights = np.stack([codes & 15, codes >> 4], axis=-1).reshape(-1, 4) - 8.0
    assert ((weights == 0).sum(axis=1) >= 2).all()


@pytest.mark.slow
def test_half_of_the_weights_are_zero_in_a_float_graph(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out", format_name="onnx-fp32", method="magnitude")
    weights = values(result.folder / result.file, "model.layers.1.mlp.up_proj.MatMul.weight")
    assert np.mean(weights == 0) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_a_given_student_becomes_onnx(
    source: Path, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    stage = DISTILL.model_copy(update={"student": str(tiny_model("llama"))})
    result = made(source, tmp_path / "out", stage, format_name="onnx-int8")
    assert read_onnx_folder(result.folder / result.file).layers == 2


@pytest.mark.parametrize(
    ("format_name", "said"),
    [
        ("onnx-fp16", "no attention in float16.*onnx-"),
        ("onnx-int4-64", "blocks of 64.*onnx-int4-32"),
    ],
)
def test_a_format_that_cannot_run_is_named_with_the_nearest_that_can(
    source: Path, tmp_path: Path, format_name: str, said: str
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=said):
        made(source, tmp_path / "out", format_name=format_name)
    assert not (tmp_path / "out").exists()


def test_a_mix_by_matrix_fills_the_size_and_its_folder_holds_it(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """The embedding and the head have types too, and q, k and v share one."""
    source = tiny_model("llama")
    mixture = OnnxMixture(read_model(source))
    room = mixture.frontier().largest_bytes - mixture.frontier().smallest_bytes
    smallest = onnx_artifact_bytes(mixture.model, "onnx-mix", types=mixture.smallest_types)
    limit = smallest + room // 3
    recipe = recipe_of(source, format_name="onnx-mix", method="gptq", max_size_bytes=limit)
    result = compress(recipe, tmp_path / "out", None, ignore)
    assert 0.95 * limit < result.size_bytes <= limit
    size = next(check for check in result.checks if check.name == "size")
    assert size.passed
    kinds = {name: kind for name, kind in result.types.items() if kind != "F32"}
    assert {"token_embd.weight", "output.weight"} <= kinds.keys()
    assert len(set(kinds.values())) > 1
    for layer in range(2):
        assert len({kinds[f"blk.{layer}.attn_{role}.weight"] for role in "qkv"}) == 1
    written = read_recipe(result.folder / "recipe.yaml")
    assert written.tensor_types == {name: kinds[name] for name in written.tensor_types}
    assert result.mixture is not None and result.mixture.sensitivities is not None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format_name": "onnx-mix", "max_size_bytes": 60_000}, "too small for onnx-mix.*about"),
        ({"format_name": "onnx-mix"}, "fills a size"),
        ({"format_name": "onnx-uint4-32", "method": "llama.cpp"}, "rounded by rtn, gptq"),
        ({"format_name": "onnx-int4-32", "mix": "attention-8-ffn-4"}, "types of mix"),
    ],
)
def test_what_no_mix_of_onnx_can_be_is_refused_by_name(
    source: Path, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises((CompressionSettingsInvalid, ConstraintsImpossible), match=said):
        compress(recipe_of(source, **asked), tmp_path / "out", None, ignore)
    assert not (tmp_path / "out").exists()
