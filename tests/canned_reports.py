"""Reports of runs that were not made: real plans of a tiny model, with figures put in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecomp.bundles.bundle import MANIFEST, BundledFile, Manifest
from edgecomp.bundles.launchers import llama_server_script
from edgecomp.calibration.calibration import CalibrationRecord
from edgecomp.devices.finding import find_device
from edgecomp.evaluate.coherence import Coherence
from edgecomp.evaluate.comparison import Comparison, ScoreComparison, published
from edgecomp.evaluate.divergence import summarise
from edgecomp.evaluate.items import Category
from edgecomp.evaluate.statistics import Interval, Spread
from edgecomp.judging.verdict import REQUIRED, Efficiency, Evidence, judge
from edgecomp.making.artifact import Artifact
from edgecomp.measure.latency import DepthLatency, Measurement, compare_with_plan
from edgecomp.measure.machine import MachineState
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import recipe_for
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, MeasurementSettings
from edgecomp.reporting.report import ModelFacts, Report
from edgecomp.runtimes.protocol import DivergenceSamples

BASE_PERCENT = 60.0
MACHINE = MachineState(
    system="Linux", processor="a fixed processor", cores=4, memory_bytes=8 * 10**9,
    governor="performance", frequency_mhz=2400.0, load_before=0.1, python="3.11",
)  # fmt: skip


def scores(drops: Mapping[Category, float]) -> Comparison:
    """All required categories, fallen by `drops` points of 100 items, half a point otherwise."""
    return Comparison(categories=tuple(_score(name, drops.get(name, 0.5)) for name in REQUIRED))


def _score(category: Category, drop: float) -> ScoreComparison:
    row = published(category, category, BASE_PERCENT, BASE_PERCENT - drop)
    noise = Interval(low=drop - 1.5, high=drop + 1.5)
    return row.model_copy(update={"items": 100, "drop_interval": noise, "base_above_chance": True})


def canned_report(
    spec: ModelSpec,
    format_name: str,
    comparison: Comparison,
    *,
    decode: float = 50.0,
    kl: float = 0.05,
    base: str = "a" * 64,
    device_name: str = "office-laptop-ddr4",
    mix: CalibrationMix | None = None,
    constraints: Constraints | None = None,
    windows: int = 3,
) -> Report:
    """The report of `spec` in a format of its plan, as if it had been made and measured."""
    device = find_device(device_name)
    constraints = constraints or Constraints(context=256)
    plan = make_plan(spec, device, constraints)
    chosen = next(row for row in plan.candidates if row.format == format_name)
    recipe = recipe_for(
        str(spec.path), device.name, constraints, chosen, EvaluationSettings(items=2, windows=2)
    )
    # A real run of this recipe is to take little of the machine.
    recipe = recipe.model_copy(
        update={
            "settings": recipe.settings.model_copy(update={"threads": 1}),
            "measurement": MeasurementSettings(repeats=1, decode_tokens=4),
        }
    )
    if mix:
        recipe = recipe.model_copy(update={"calibration": mix})
    measurement = _measurement(chosen.settings, chosen.memory.total_bytes, decode)
    divergence = summarise(
        DivergenceSamples(
            kl=((kl,) * 8,) * windows,
            agree=((1.0,) * 8,) * windows,
            base_nll=((2.0,) * 8,) * windows,
            artifact_nll=((2.0 + kl,) * 8,) * windows,
        )
    )
    coherence = Coherence(coherent=True, prompts=8, findings=(), remedy=None)
    size = chosen.file_bytes
    verdict = judge(
        Evidence(
            comparison=comparison,
            divergence=divergence,
            coherence=coherence,
            efficiency=Efficiency(
                base_bytes=4 * size, artifact_bytes=size, decode_tokens_per_second=decode,
                peak_memory_bytes=measurement.peak_memory_bytes,
            ),
            bits=chosen.bits_per_weight,
            calibration=recipe.calibration,
        )
    )  # fmt: skip
    record = CalibrationRecord(
        mix=recipe.calibration, origins={}, rows=1, tokens_sha256="c" * 64, template_sha256=None,
        warnings=(),
    )  # fmt: skip
    return Report(
        model=ModelFacts(
            name=spec.name, architecture=spec.architecture, parameters=spec.parameters,
            source=str(spec.path), source_sha256="s" * 64, source_bits_per_weight=16.0,
            licence=None,
        ),
        device_title=device.title,
        recipe=recipe,
        chosen=chosen,
        others=tuple(row for row in plan.candidates if not row.rejections and row != chosen),
        job_predicted=None,
        artifact=Artifact(
            file=StoredFile(path=Path(f"model-{format_name}.gguf"), sha256="f" * 64),
            size_bytes=size, types={}, fallbacks={}, checks=(), calibration=record,
            base=StoredFile(path=Path("base.gguf"), sha256=base),
        ),
        predictions=compare_with_plan(chosen, measurement),
        measurement=measurement,
        divergence=divergence,
        coherence=coherence,
        comparison=comparison,
        verdict=verdict,
        notices=(),
        versions={},
    )  # fmt: skip


def _measurement(settings: Any, peak_bytes: int, decode: float) -> Measurement:
    def around(value: float) -> Spread:
        return Spread(median=value, p5=0.9 * value, p95=1.1 * value, count=5)

    row = DepthLatency(
        depth=128,
        first_token_seconds=around(0.2),
        prefill_tokens_per_second=around(600.0),
        decode_tokens_per_second=around(decode),
        token_seconds=around(1 / decode),
    )
    return Measurement(
        runtime="llama.cpp", settings=settings, machine=MACHINE, load_seconds=0.1,
        peak_memory_bytes=peak_bytes, peak_anonymous_bytes=peak_bytes, peak_file_backed_bytes=0,
        started_memory_bytes=10**7, buffer_bytes={}, memory_timeline=((0.0, peak_bytes, 0),),
        depths=(row,),
    )  # fmt: skip


def write_canned_bundle(report: Report, folder: Path) -> Path:
    """A bundle's small files, and an artifact of a few bytes in place of a model."""
    folder.mkdir(parents=True)
    artifact = report.artifact.file.path.name
    (folder / artifact).write_bytes(b"GGUF")
    (folder / "serve.sh").write_text(llama_server_script(artifact, report.recipe.settings))
    (folder / "Modelfile").write_text(f"FROM ./{artifact}\n")
    files = {
        path.name: BundledFile(
            size_bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.iterdir())
    }
    (folder / "report.json").write_text(report.model_dump_json())
    manifest = Manifest(
        artifact=artifact, files=files,
        recipe=report.recipe, device=report.device_title, source=report.model.source,
        source_sha256=report.model.source_sha256, calibration_sha256=None, versions={},
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder
