"""Packages for other execution providers: the same codes, and what is said of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgecomp.bundles.bundle import read_manifest, verify_bundle
from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.events import ignore
from edgecomp.jobs.fit import FitRequest, fit
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.making.provider_package import codes_check
from edgecomp.models.onnx_folder import CONFIG, DATA, GRAPH
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
Q, K, V = (np.full((4, 2, 16), value, np.uint8) for value in (1, 2, 3))


def graph_of(folder: Path, matrices: Mapping[str, NDArray[np.uint8]]) -> Path:
    """A folder whose graph has these codes in external data."""
    folder.mkdir()
    tensors = [
        numpy_helper.from_array(values, f"model.layers.0.attn.{name}.MatMul.weight_Q4")
        for name, values in matrices.items()
    ]
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph([node], "codes", ends[:1], ends[1:], tensors)
    onnx.save(
        helper.make_model(graph), folder / GRAPH, save_as_external_data=True, location=DATA,
        size_threshold=0,
    )  # fmt: skip
    return folder


def test_codes_that_one_graph_fuses_and_another_parts_are_the_same(tmp_path: Path) -> None:
    fused = graph_of(tmp_path / "fused", {"qkv_proj": np.concatenate([Q, K, V])})
    # In whatever order the graph lists them.
    parted = graph_of(tmp_path / "parted", {"v_proj": V, "q_proj": Q, "k_proj": K})
    found = codes_check(fused, parted, same=True)
    assert found.passed and found.warning is None
    assert found.detail.startswith("1 of 1")


@pytest.mark.parametrize("same", [True, False])
def test_other_codes_are_a_fault_where_they_are_ours_and_else_a_warning(
    tmp_path: Path, same: bool
) -> None:
    judged = graph_of(tmp_path / "judged", {"qkv_proj": np.concatenate([Q, K, V]), "o_proj": Q})
    package = graph_of(tmp_path / "package", {"q_proj": Q, "k_proj": V, "v_proj": K, "o_proj": Q})
    found = codes_check(judged, package, same=same)
    assert found.passed is not same
    assert found.detail.startswith("1 of 2")
    assert same or "--method" in (found.warning or "")


def test_a_copy_whose_weights_differ_is_a_fault(tmp_path: Path) -> None:
    judged = graph_of(tmp_path / "judged", {"o_proj": Q})
    package = graph_of(tmp_path / "package", {"o_proj": K})
    assert not codes_check(judged, package, same=False).passed
    assert codes_check(judged, graph_of(tmp_path / "copy", {"o_proj": Q}), same=True).passed


def asked(source: Path, format_name: str, provider: str) -> CompressionRequest:
    return CompressionRequest(
        model=str(source), format=format_name, calibration=MIX, provider=provider
    )


def test_a_provider_is_refused_for_other_formats(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"cuda is for ONNX formats, not Q4_K_M"):
        compression_recipe(asked(tiny_model("llama"), "Q4_K_M", "cuda"))


def test_a_format_without_products_there_is_refused_with_the_nearest(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = compression_recipe(asked(tiny_model("llama"), "onnx-int4-32", "coreml"))
    with pytest.raises(CompressionSettingsInvalid, match=r"no products of int4.*onnx-fp32"):
        compress(recipe, tmp_path / "out", None, ignore)


@pytest.mark.slow
@pytest.mark.usefixtures("lasting_torch")
def test_compress_writes_the_package_with_the_codes_of_its_twin(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = compression_recipe(asked(tiny_model("llama"), "onnx-int4-32", "dml"))
    made = compress(recipe, tmp_path / "out", None, ignore)
    assert made.file == "onnx-int4-32-dml"
    checks = {check.name: check.detail for check in made.checks}
    assert checks["package-codes"] == "11 of 11 matrices have the judged artifact's codes"
    nats = float(checks["package-graph"].split("it is ")[1].split()[0])
    assert 0 < nats < 0.05
    config = json.loads((made.folder / made.file / CONFIG).read_text())
    session = config["model"]["decoder"]["session_options"]
    assert session["provider_options"] == [{"dml": {"enable_graph_capture": "1"}}]
    assert any("onnxruntime-directml" in note for note in made.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("lasting_torch")
def test_fit_judges_the_twin_and_bundles_the_package_beside_it(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    wanted = FitRequest(
        model=str(tiny_model("llama-long")),
        device="rtx-3060-12gb",
        constraints=Constraints(context=256, task="knowledge"),
        evaluation=EvaluationSettings(items=2),
        runtime="onnx",
        provider="auto",
    )
    report = fit(wanted, tmp_path / "out", ignore).report
    manifest = read_manifest(tmp_path / "out")
    assert report.recipe.provider == "cuda"
    assert manifest.package and manifest.package.endswith("-cuda")
    assert verify_bundle(tmp_path / "out").faults == ()
    assert "onnxruntime-genai-cuda" in (tmp_path / "out" / "chat-cuda.py").read_text()
    assert any("CUDA was not run" in text for text in report.notices)
    chat = [sys.executable, str(tmp_path / "out" / "chat-cuda.py"), "Hello"]
    told = subprocess.run(chat, capture_output=True, text=True, timeout=120)
    assert told.returncode != 0 and "cuda" in told.stderr.lower()
