"""The main job: a model, a device and constraints in; a proven bundle out."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from edgecomp import __version__
from edgecomp.bundle import check_destination, write_bundle
from edgecomp.constraints import Constraints
from edgecomp.detect import calibrate_here
from edgecomp.device import DeviceProfile, find_device
from edgecomp.errors import ConstraintsImpossible, JobTooLarge
from edgecomp.evaluate.comparison import compare_results
from edgecomp.evaluate.datasets import available, read_benchmark
from edgecomp.evaluate.items import Item
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.events import Listener, Warned
from edgecomp.measure.latency import compare_with_plan
from edgecomp.model import ModelSpec, read_model
from edgecomp.pipeline import Run
from edgecomp.plan import Candidate, Plan
from edgecomp.planner import make_plan
from edgecomp.recipe import Recipe, recipe_for
from edgecomp.report import ModelFacts, Report
from edgecomp.value import Value
from edgecomp.verdict import Efficiency, Evidence, judge

PACKAGES = ("llama-cpp-python", "gguf", "torch", "transformers", "tokenizers", "numpy")


class Fitted(Value):
    """What `fit` hands back: where the bundle is, and its report."""

    schema_version: Literal[1] = 1
    folder: Path
    report: Report


def fit(
    model: str,
    device: str,
    constraints: Constraints,
    output: Path | None,
    data: Path | None,
    listen: Listener,
) -> Fitted:
    """Plan, make, check, evaluate, measure and bundle.

    Raises ConstraintsImpossible or JobTooLarge before any work, and what the stages raise.
    """
    spec = read_model(model)
    folder = output or Path(f"{spec.path.stem if model != 'demo' else 'demo'}-edge")
    check_destination(folder)
    profile = find_device(device)
    if device == "auto" and profile.calibration is None:
        # Half a minute once a machine, and every later plan predicts instead of guessing.
        calibrate_here(listen)
        profile = find_device(device)
    plan = make_plan(spec, profile, constraints)
    chosen = _chosen(plan)
    for text in (*plan.notices, *chosen.notes):
        listen(Warned(text=text))
    recipe = recipe_for(model, device, constraints, chosen)
    spec = read_model(model, weights=True)
    report = _carry_out(spec, profile, plan, chosen, recipe, data, listen)
    write_bundle(report, folder)
    return Fitted(folder=folder, report=report)


def _chosen(plan: Plan) -> Candidate:
    if plan.chosen is None:
        raise ConstraintsImpossible(
            f"No artifact of {plan.model} meets the constraints on {plan.device_title}. "
            f"{plan.nearest or ''}".strip()
        )
    if plan.job and plan.job.refusals:
        raise JobTooLarge(
            f"This machine cannot make {plan.chosen.label} of {plan.model}. "
            + " ".join(plan.job.refusals)
            + " Free some, or make it on a larger machine."
        )
    return plan.chosen


def _carry_out(
    spec: ModelSpec,
    device: DeviceProfile,
    plan: Plan,
    chosen: Candidate,
    recipe: Recipe,
    data: Path | None,
    listen: Listener,
) -> Report:
    run = Run(spec, recipe, data, listen)
    artifact = run.artifact(chosen.file_bytes)
    text = evaluation_text(data)
    divergence = run.divergence(artifact, text)
    coherence = run.coherence(artifact, divergence)
    items = evaluation_items(data, recipe.evaluation.items)
    comparison = compare_results(
        run.answers(artifact.base, items, "base").results,
        run.answers(artifact.file, items, "artifact").results,
    )
    measurement = run.measurement(artifact, text)
    predictions = compare_with_plan(chosen, measurement)
    verdict = judge(
        Evidence(
            comparison=comparison,
            divergence=divergence,
            coherence=coherence,
            task=recipe.constraints.task,
            efficiency=Efficiency(
                base_bytes=artifact.base.path.stat().st_size,
                artifact_bytes=artifact.size_bytes,
                decode_tokens_per_second=measurement.at(
                    chosen.speed.prompt_tokens
                ).decode_tokens_per_second.median,
                peak_memory_bytes=measurement.peak_memory_bytes,
            ),
            bits=chosen.bits_per_weight,
            calibration=artifact.calibration.mix if artifact.calibration else None,
        )
    )
    return Report(
        model=_facts(spec, recipe, run),
        device_title=device.title,
        recipe=recipe,
        chosen=chosen,
        others=tuple(row for row in plan.candidates if not row.rejections and row != chosen),
        job_predicted=plan.job,
        artifact=artifact,
        predictions=predictions,
        measurement=measurement,
        divergence=divergence,
        coherence=coherence,
        comparison=comparison,
        verdict=verdict,
        notices=(*plan.notices, *chosen.notes),
        versions=versions(),
    )


def _facts(spec: ModelSpec, recipe: Recipe, run: Run) -> ModelFacts:
    return ModelFacts(
        name=spec.name,
        architecture=spec.architecture,
        parameters=spec.parameters,
        source=recipe.model,
        source_sha256=run.source_digest,
        source_bits_per_weight=spec.bits_per_weight,
        licence=spec.licence,
    )


def evaluation_text(data: Path | None) -> str:
    """The text whose predictions are compared: the data folder's, or the one that ships."""
    if data and (data / "wikitext2_test.txt").is_file():
        return (data / "wikitext2_test.txt").read_text(encoding="utf-8")
    return divergence_text()


def evaluation_items(data: Path | None, limit: int) -> tuple[Item, ...]:
    """The questions: those of the data folder's benchmarks, or the set that ships."""
    if data is None:
        return own_items(limit=limit)
    rows = [row for row in available(data) if row.metric != "pass@1"]
    return tuple(item for row in rows for item in read_benchmark(row, data, limit=limit))


def versions() -> dict[str, str]:
    """Versions of everything that decides the bytes or the figures."""
    return {
        "edgecomp": __version__,
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
