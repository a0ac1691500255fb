"""The main job for quantized checkpoints: made, checked, judged in transformers, and bundled."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.bundles.bundle import verify_bundle
from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.events import Event, Warned, ignore
from edgecomp.common.tasks import Mix, Rounding
from edgecomp.devices.finding import find_device
from edgecomp.jobs.fit import FitRequest, Fitted, fit, fit_recipe
from edgecomp.making.compress_job import CompressionRequest, compression_recipe
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings
from edgecomp.runtimes.transformers.kernels import KERNELS

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
FEW = EvaluationSettings(items=2, windows=4, window_tokens=128)


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama-long")


@pytest.fixture(scope="module")
def heard() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def fitted(
    source: Path,
    tmp_path_factory: pytest.TempPathFactory,
    heard: list[Event],
    lasting_torch: None,
) -> Fitted:
    """A recipe of `compress`, carried out as `run` does."""
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="gptq",
            format="gptq-int4-g32",
            calibration=MIX,
            any_calibration=True,
            constraints=Constraints(task="knowledge", context=256),
        )
    ).model_copy(update={"evaluation": FEW, "device": "office-laptop-ddr4"})
    return fit_recipe(recipe, tmp_path_factory.mktemp("fitted") / "out", None, heard.append)


def test_a_quantized_checkpoint_is_judged_beside_its_float_source(
    fitted: Fitted, source: Path
) -> None:
    report = fitted.report
    assert report.recipe.runtime == report.measurement.runtime == "transformers"
    assert report.artifact.base.path == source
    assert report.divergence.kl_mean > 0.001
    assert report.comparison.unpaired_items == 0 and report.comparison.categories
    assert report.verdict.missing == ()
    names = [check.name for check in report.artifact.checks]
    assert names == ["token ids", "greedy text", "token ids", "values"]
    memory = next(row for row in report.predictions if row.quantity == "peak memory")
    assert memory.predicted > 0 and memory.measured == report.measurement.peak_memory_bytes


@pytest.mark.skipif(not KERNELS["gptq"].missing, reason="the kernels of GPTQ are installed")
def test_that_it_was_judged_as_floats_is_told_and_reported(
    fitted: Fitted, heard: list[Event]
) -> None:
    said = [row.text for row in heard if isinstance(row, Warned)]
    floats = [text for text in said if "floats that its codes stand for" in text]
    assert len(floats) == 1 and floats[0] in fitted.report.notices


def test_the_bundle_is_whole_starts_and_has_the_servers_launch_lines(fitted: Fitted) -> None:
    folder = fitted.folder
    assert verify_bundle(folder).faults == ()
    found = find_artifact(str(folder))
    assert (found.runtime, found.recipe) == ("transformers", fitted.report.recipe)
    for script, beginning, option in (
        ("vllm.sh", ["exec", "vllm", "serve"], "--max-model-len"),
        ("sglang.sh", ["exec", "python3", "-m", "sglang.launch_server"], "--context-length"),
    ):
        path = folder / script
        assert subprocess.run(["sh", "-n", path]).returncode == 0
        line = shlex.split(path.read_text().splitlines()[-1])
        assert line[: len(beginning)] == beginning
        assert line[line.index(option) + 1] == "256"
        assert f"./{found.path.name}" in line and (folder / found.path.name).is_dir()


def test_a_damaged_checkpoint_is_named(fitted: Fitted) -> None:
    config = next(fitted.folder.glob("*/config.json"))
    text = config.read_text()
    said = json.loads(text)
    try:
        config.write_text(json.dumps(said | {"vocab_size": 1}))
        assert any("config.json" in fault for fault in verify_bundle(fitted.folder).faults)
    finally:
        config.write_text(text)


def test_a_plan_for_transformers_names_formats_and_why_some_are_out(source: Path) -> None:
    plan = make_plan(
        read_model(source),
        find_device("office-laptop-ddr4"),
        Constraints(context=256),
        choices=Choices(runtime="transformers"),
    )
    assert plan.chosen is not None and plan.chosen.format == "compressed-tensors-int8-g32"
    out = {row.format: row.rejections[0].text for row in plan.candidates if row.rejections}
    assert "groups of 64 must divide" in out["gptq-int4-g64"]
    assert {row.format for row in plan.candidates} == {
        f"{layout}-int{bits}-g{group}"
        for layout in ("gptq", "compressed-tensors")
        for bits in (4, 8)
        for group in (32, 64, 128)
    }


@pytest.mark.parametrize(
    ("constraints", "mix", "rounding", "said"),
    [
        (Constraints(kv_type="Q8_0"), None, None, "--kv-type is for llama"),
        (Constraints(), "attention-8-ffn-4", None, "--mix is for llama"),
        (Constraints(), None, "llama.cpp", "rounded by rtn, gptq"),
    ],
)
def test_what_quantized_checkpoints_cannot_have_is_refused(
    source: Path, constraints: Constraints, mix: Mix | None, rounding: Rounding | None, said: str
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=said):
        make_plan(
            read_model(source),
            find_device("office-laptop-ddr4"),
            constraints,
            choices=Choices(mix=mix, rounding=rounding, runtime="transformers"),
        )


def test_experts_are_refused_before_any_work(tiny_model: Callable[..., Path]) -> None:
    wanted = FitRequest(
        model=str(tiny_model("mixtral")),
        device="office-laptop-ddr4",
        constraints=Constraints(context=256),
        evaluation=FEW,
        runtime="transformers",
    )
    with pytest.raises(CompressionSettingsInvalid, match="mixture of experts"):
        fit(wanted, None, ignore)
