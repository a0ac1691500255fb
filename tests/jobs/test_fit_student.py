"""A recipe with every kind of stage and a mix, from `edgecomp run` to its bundle; a killed
distillation goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.bundles.bundle import Manifest
from edgecomp.jobs.fit import Fitted
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, MeasurementSettings, Recipe, write_recipe
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import DistillStage, PruneStage, StructuredStage

STEPS = 3000
"""Long enough to be killed on the way, and stopped early afterwards."""


def recipe(model: Path) -> Recipe:
    return Recipe(
        model=str(model),
        device="office-laptop-ddr4",
        constraints=Constraints(context=256, max_size_bytes=120_000),
        runtime="llama.cpp",
        format="Q4_0",
        mix="optimal",
        stages=(
            StructuredStage(blocks="2"),
            PruneStage(method="wanda", sparsity="20%"),
            DistillStage(
                steps=STEPS, evaluate_every=10, patience=20, tokens=4096, learning_rate=0.1,
                warmup_share=0,
            ),
        ),
        rounding="gptq",
        settings=RunSettings(context=256, threads=1),
        importance=True,
        calibration=CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64),
        evaluation=EvaluationSettings(items=1, windows=2, window_tokens=64),
        measurement=MeasurementSettings(repeats=1, decode_tokens=4),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills by process group")
def test_r101_a_killed_distillation_goes_on_and_ends_in_a_judged_bundle(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_model("llama-deep")
    write_recipe(tmp_path / "recipe.yaml", recipe(model))
    command = [
        sys.executable, "-m", "edgecomp.cli", "run", str(tmp_path / "recipe.yaml"),
        "-o", str(tmp_path / "bundle"), "--json",
    ]  # fmt: skip
    cache = tmp_path / "cache"
    environment = {**os.environ, "EDGECOMP_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = "stages/distillation-*/checkpoint/distillation.json"
    deadline = time.monotonic() + 240
    while not list(cache.glob(state)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (kept,) = cache.glob(state)
    before = kept.read_text()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "The job takes about" in done.stderr
    report = Fitted.model_validate_json(done.stdout).report
    (history,) = report.artifact.distillations
    assert history.stopped_early
    first = history.points[0]
    assert f'"divergence": {first.divergence}' in before
    assert report.artifact.size_bytes <= 120_000
    assert report.chosen.file_bytes == report.artifact.size_bytes
    assert report.recipe.tensor_types
    bundle = tmp_path / "bundle"
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    assert read_model(bundle / manifest.artifact).layers == 2
    assert report.model.parameters == read_model(model).parameters
    text = (bundle / "report.md").read_text()
    assert "Distillation" in text and "Types, tensor by tensor" in text
