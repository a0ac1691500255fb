"""Hugging Face folders are evaluated in transformers, alone and beside their float folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import quantized_checkpoints as made_by

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.common.errors import QuantizationUnsupported
from edgecomp.common.events import ignore
from edgecomp.jobs.evaluation import Evaluation, EvaluationRequest, evaluate_artifact
from edgecomp.runtimes.transformers.kernels import KERNELS


@pytest.fixture(scope="module")
def folders(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    base, folder = tiny_model("llama-long"), tmp_path_factory.mktemp("folders")
    config = {"quant_method": "gptq", "bits": 8, "group_size": 32}
    made_by.write_quantized(base, folder / "eight", config, made_by.gptq_parts, bits=8)
    return {"base": base, "eight": folder / "eight"}


@pytest.fixture(scope="module")
def beside(folders: dict[str, Path]) -> Evaluation:
    request = EvaluationRequest(artifact=str(folders["eight"]), base=str(folders["base"]), limit=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecomp.jobs.evaluation.physical_cores", lambda: 1)
        absent = KERNELS["gptq"]._replace(packages={"gptqmodel": "no_such_module"})
        patch.setitem(KERNELS, "gptq", absent)
        return evaluate_artifact(request, ignore)


def test_a_quantized_folder_is_judged_beside_its_float_folder(beside: Evaluation) -> None:
    assert beside.divergence is not None
    assert 0 < beside.divergence.kl_mean < 0.05
    assert beside.coherence.prompts == 8
    assert beside.comparison is not None and beside.comparison.unpaired_items == 0
    assert beside.verdict is not None and beside.verdict.missing == ()
    efficiency = beside.efficiency
    assert efficiency is not None and efficiency.artifact_bytes < efficiency.base_bytes
    assert efficiency.decode_tokens_per_second > 0 and efficiency.peak_memory_bytes > 0


@pytest.mark.skipif(not KERNELS["gptq"].missing, reason="the kernels of GPTQ are installed")
def test_that_it_ran_as_floats_is_said(beside: Evaluation) -> None:
    assert [text for text in beside.notices if "floats that its codes stand for" in text]


def test_the_recipe_beside_a_folder_that_compress_made_is_its_own(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from edgecomp.making.compress_job import CompressionRequest, compression_recipe
    from edgecomp.recipes.calibration_mix import preset_mix
    from edgecomp.recipes.recipe import write_recipe

    wanted = CompressionRequest(
        model=str(folders["base"]), format="gptq-int8-g32", calibration=preset_mix("general")
    )
    recipe = compression_recipe(wanted)
    write_recipe(tmp_path / "recipe.yaml", recipe)
    own, other = tmp_path / "gptq-int8-g32", tmp_path / "other"
    shutil.copytree(folders["eight"], own)
    shutil.copytree(folders["eight"], other)
    found = find_artifact(str(own))
    assert (found.runtime, found.recipe) == ("transformers", recipe)
    assert 8 < found.bits_per_weight < 16
    assert find_artifact(str(other)).recipe is None


def test_a_quantization_that_nothing_reads_is_refused_at_once(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["base"], tmp_path / "nf4")
    config = json.loads((folder / "config.json").read_text())
    method = {"quant_method": "hqq"}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    with pytest.raises(QuantizationUnsupported, match=r"hqq.*before its quantization"):
        evaluate_artifact(EvaluationRequest(artifact=str(folder)), ignore)
