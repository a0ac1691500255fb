"""Prune, make smaller, distil, quantize: in order, into a GGUF with the source's tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.events import Estimated, Event, ignore
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.stages import DistillStage, Stage, StructuredStage, staged_model

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
DISTILL = DistillStage(
    steps=20, evaluate_every=10, tokens=4096, top_k=64, learning_rate=2e-3, intermediate_weight=0
)


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    """Six blocks; with two of them it has 53 % of its parameters."""
    return tiny_model("llama-deep")


def made(
    source: Path, folder: Path, *stages: Stage, method: str = "llama.cpp", format_name: str = "F16"
) -> Compressed:
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method=method,
            format=format_name,
            calibration=MIX,
            stages=tuple(stages),
        )
    )
    return compress(recipe, folder, None, ignore)


@pytest.mark.parametrize(
    "stage",
    [
        StructuredStage(blocks="50%"),
        StructuredStage(blocks="2", neurons="64", kv_groups="1", channels="32"),
    ],
)
def test_a_smaller_model_is_as_large_as_its_headers_said(
    source: Path, tmp_path: Path, stage: StructuredStage
) -> None:
    result = made(source, tmp_path / "out", stage)
    spec = read_model(result.folder / result.file)
    planned = staged_model(read_model(source), [stage])
    assert {t.name: t.shape for t in spec.tensors} == {t.name: t.shape for t in planned.tensors}
    assert result.job_predicted is not None
    assert result.job_predicted.stages[-1].disk_bytes == result.size_bytes
    assert {check.name for check in result.checks if check.passed} >= {"size", "token ids"}


def test_a_student_is_distilled_between_pruning_and_rounding(source: Path, tmp_path: Path) -> None:
    """R41, R101: the share is held, the cost is told first, the curve is kept."""
    heard: list[Event] = []
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="gptq",
            format="Q4_0",
            calibration=MIX,
            stages=(
                StructuredStage(blocks="2"),
                DISTILL,
            ),
        )
    )
    result = compress(recipe, tmp_path / "out", None, heard.append)
    (history,) = result.distillations
    assert [point.step for point in history.points] == [0, 10, 20]
    assert history.points[-1].divergence < history.points[0].divergence
    job = result.job_predicted
    assert job is not None
    names = [stage.stage for stage in job.stages]
    assert {"structured pruning", "teacher's logits", "distillation"} <= {*names}
    assert isinstance(heard[0], Estimated) and "of memory" in heard[0].text
    written = json.loads(result.model_dump_json())
    assert written["job_predicted"]["stages"][3]["disk_bytes"] > 0


def test_pruned_weights_stay_zero_through_distillation(source: Path, tmp_path: Path) -> None:
    import numpy as np

    from edgecomp.models.float_conversion import float32_pieces
    from edgecomp.models.gguf.header import read_gguf_header

    result = made(source, tmp_path / "out", DISTILL, method="wanda")
    header = read_gguf_header(result.folder / result.file)
    for tensor in header.tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            weights = np.concatenate([p.ravel() for p in float32_pieces(header, tensor)])
            assert np.mean(weights == 0) == pytest.approx(0.5, abs=0.02), tensor.name
    assert result.distillations[0].points


def test_a_given_student_learns_from_the_source(
    source: Path, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    student = tiny_model("llama")
    stage = DISTILL.model_copy(update={"student": str(student)})
    result = made(source, tmp_path / "out", stage)
    assert read_model(result.folder / result.file).layers == 2


def test_a_student_with_another_tokenizer_is_refused(
    source: Path, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    original = tiny_model("llama")
    student = tmp_path / "student"
    shutil.copytree(original, student)
    tokenizer = json.loads((student / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][::-1]
    (student / "tokenizer.json").write_text(json.dumps(tokenizer))
    stage = DISTILL.model_copy(update={"student": str(student)})
    with pytest.raises(CompressionSettingsInvalid, match="does not share its teacher's tokenizer"):
        made(source, tmp_path / "out", stage)
    assert not (tmp_path / "out").exists()
