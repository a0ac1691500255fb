"""The main job: a model, a device and constraints in; a proven bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from edgecomp.bundles.bundle import bundle_place, write_bundle
from edgecomp.bundles.versions import versions
from edgecomp.common.atomic import require_writable
from edgecomp.common.errors import (
    ArtifactRejected,
    CompressionSettingsInvalid,
    ConstraintsImpossible,
    JobTooLarge,
    RecipeInvalid,
)
from edgecomp.common.events import Estimated, Listener, Noted, Warned
from edgecomp.common.folders import config_folder, path_bytes
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import Effort, MixChoice, Rounding
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.evaluate.coherence import Coherence
from edgecomp.evaluate.comparison import Comparison
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.items import Bucket
from edgecomp.evaluate.questions import Questions, read_questions
from edgecomp.formats.cache_types import expected_cache_loss
from edgecomp.formats.format_facts import format_facts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_facts import NO_EXPERTS, facts_of_onnx_types
from edgecomp.formats.onnx_formats import ONNX_MIXTURE, judged_format
from edgecomp.formats.onnx_mixture import OnnxMixture
from edgecomp.formats.optimum_formats import OPTIMUM_FORMATS
from edgecomp.formats.presets import MIXTURE
from edgecomp.jobs import evaluation_stages as evaluation_stages
from edgecomp.jobs.asking import Asking, ask_until_decided
from edgecomp.jobs.cache_choice import measured_cache_losses
from edgecomp.jobs.evaluation_stages import evaluation_subjects
from edgecomp.jobs.kept_figures import report_run
from edgecomp.jobs.question_budget import decidable
from edgecomp.judging.verdict import (
    Efficiency,
    Evidence,
    Verdict,
    judge,
    repeats_base,
)
from edgecomp.making.artifact import Artifact
from edgecomp.making.gguf import make_artifact, needs_calibration, with_resolved_types
from edgecomp.making.huggingface import make_huggingface_artifact
from edgecomp.making.mixed_precision import (
    candidate_with_types,
    check_size_budget,
    expected_types,
    refined_loss,
)
from edgecomp.making.onnx import make_onnx_artifact
from edgecomp.making.onnx_mix import check_onnx_size
from edgecomp.measure.calibrate_here import calibrate_here
from edgecomp.measure.correct_rates import correct_rates
from edgecomp.measure.latency import Measurement, compare_with_plan
from edgecomp.models.model_name import result_folder
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.early_checks import check_cache, check_calibration, check_disk, check_model
from edgecomp.pipeline.run import Run
from edgecomp.planning.candidate import with_expected_loss
from edgecomp.planning.offload import placement_of
from edgecomp.planning.onnx_mixtures import onnx_candidate
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.planner import candidate_for_placement, make_plan, with_types
from edgecomp.planning.recipe_of_plan import Choices, effective_constraints, recipe_for
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, Recipe, method_of, sparsity_percent
from edgecomp.recipes.stages import staged_model
from edgecomp.reporting.report import ModelFacts, Report
from edgecomp.results.store import keep_result
from edgecomp.results.stored_run import Job

MAKERS = {"onnx": make_onnx_artifact, "transformers": make_huggingface_artifact}
"""What makes a runtime's artifact; `make_artifact` makes every other."""


class FitRequest(FrozenModel):
    """What one asks of `fit`: what for, within which limits, and how it is to be judged."""

    model: str
    device: str
    constraints: Constraints
    evaluation: EvaluationSettings
    rounding: Rounding | None = None
    """None: the one that loses least."""

    mix: MixChoice | None = None
    """None: the format's own size, mixed where our solvers choose few bits."""

    effort: Effort = "default"

    data: Path | None = None
    """The folder of evaluation data; None: the set that ships."""

    runtime: str = "llama.cpp"
    provider: str = "cpu"
    """The execution provider of ONNX Runtime; `auto`: the one that fits the device."""

    @property
    def settled_mix(self) -> MixChoice | None:
        """A mix is weighed by what our solvers lose: llama.cpp's own rounding keeps its own types,
        unless a mix is asked for."""
        return "none" if self.rounding == "llama.cpp" and self.mix is None else self.mix


class Fitted(FrozenModel):
    """What `fit` hands back: where the bundle is, and its report."""

    schema_version: Literal[1] = 1
    folder: Path
    report: Report


def fit(wanted: FitRequest, output: Path | None, listen: Listener) -> Fitted:
    """Plan, make, check, evaluate, measure and bundle, for one runtime.

    Raises ConstraintsImpossible or JobTooLarge before any work, and what the stages raise.
    """
    model, device, runtime = wanted.model, wanted.device, wanted.runtime
    constraints = wanted.constraints
    choices = Choices(
        runtime=runtime,
        provider=wanted.provider,
        rounding=wanted.rounding,
        mix=wanted.settled_mix,
        effort=wanted.effort,
    )
    # The format is not chosen yet; nearly all of them are calibrated.
    texts = preset_mix(constraints.task)
    ready = _ready(model, runtime, output, wanted.data, wanted.evaluation)
    check_calibration(texts, constraints.task, wanted.data, any_calibration=False)
    profile = _profile(device, runtime, listen)
    plan = make_plan(ready.spec, profile, constraints, choices=choices)
    chosen = _chosen(plan)
    recipe = recipe_for(model, device, constraints, chosen, wanted.evaluation, choices)
    if constraints.kv_type == "auto" and chosen.settings.kv_type != "F16":
        run = Run(read_model(model, weights=True), recipe, wanted.data, listen)
        losses = measured_cache_losses(run, ready.questions.text)
        choices = choices._replace(cache_losses=losses)
        plan = make_plan(ready.spec, profile, constraints, choices=choices)
        chosen = _chosen(plan)
        recipe = recipe_for(model, device, constraints, chosen, wanted.evaluation, choices)
    return _make_bundle(ready, _Job(profile, plan, chosen, recipe, wanted.data, "fit"), listen)


def fit_recipe(
    recipe: Recipe, output: Path | None, data: Path | None, listen: Listener, job: Job = "run"
) -> Fitted:
    """Make, check, evaluate, measure and bundle what a recipe says; the results are kept as those
    of `job`.

    Raises RecipeInvalid where its format and context are no candidate of the model's plan, and
    what `fit` raises.
    """
    if recipe.format in OPTIMUM_FORMATS:
        raise RecipeInvalid(
            f"{recipe.format} is made without being judged. Make it with: edgecomp compress "
            f"{recipe.model} --method {recipe.rounding} --format {recipe.format}"
        )
    ready = _ready(recipe.model, recipe.runtime, output, data, recipe.evaluation)
    if needs_calibration(recipe, ready.spec):
        task = recipe.constraints.task
        check_calibration(recipe.calibration, task, data, any_calibration=recipe.any_calibration)
    profile = _profile(recipe.device, recipe.runtime, listen)
    plan = make_plan(
        ready.spec,
        profile,
        effective_constraints(recipe),
        choices=Choices(
            stages=recipe.stages,
            # Types that are listed are not chosen again.
            mix="none" if recipe.tensor_types else recipe.mix or "none",
            runtime=recipe.runtime,
            provider=recipe.provider,
            rounding=recipe.rounding,
            effort=recipe.effort,
        ),
    )
    row = _candidate_of(ready.spec, profile, plan, recipe)
    return _make_bundle(ready, _Job(profile, plan, row, recipe, data, job), listen)


def _onnx_candidate(made: ModelSpec, device: DeviceProfile, recipe: Recipe) -> Candidate:
    """The candidate of an ONNX recipe's types, whatever its limits; of a mixture whose types are
    still to be chosen, the smallest."""
    types, name = recipe.tensor_types, judged_format(recipe.format)
    if name == ONNX_MIXTURE and not types:
        types = OnnxMixture(made).smallest_types
    facts = facts_of_onnx_types(made, name, types)
    context = recipe.settings.context
    return onnx_candidate(made, device, effective_constraints(recipe), facts, context)


def _candidate_of(spec: ModelSpec, device: DeviceProfile, plan: Plan, recipe: Recipe) -> Candidate:
    """The plan's candidate that the recipe says, placed as the recipe says."""
    placement = placement_of(recipe.settings, device)
    made = staged_model(spec, recipe.stages)
    if recipe.format == ONNX_MIXTURE:
        return _onnx_candidate(made, device, recipe)
    if recipe.format == MIXTURE:
        types = recipe.tensor_types or expected_types(made, recipe)
        return candidate_with_types(made, recipe, types)
    rows = [
        row
        for row in plan.candidates
        if row.format == recipe.format
        # A provider of ONNX Runtime places the graph itself.
        and (recipe.runtime == "onnx" or bool(row.placement.gpus) == bool(placement.gpus))
    ]
    absent = recipe.settings.gpu_layers and not placement.gpus
    if not rows or absent or placement.gpu_layers > made.layers + 1:
        raise RecipeInvalid(
            f"The recipe's format {recipe.format} with {recipe.settings.gpu_layers} layers on the "
            f"GPU is no candidate of {spec.name} on {device.title}. `edgecomp plan` lists them."
        )
    if rows[0].placement == placement or recipe.runtime == "onnx":
        return rows[0]
    facts = next(row for row in format_facts(made) if row.name == recipe.format)
    return candidate_for_placement(
        made, device, effective_constraints(recipe), facts, placement, recipe.settings
    )


class _Ready(NamedTuple):
    """What a run begins with, looked through."""

    spec: ModelSpec
    """From the model's headers alone."""

    folder: Path
    questions: Questions


def _ready(
    model: str, runtime: str, output: Path | None, data: Path | None, wanted: EvaluationSettings
) -> _Ready:
    """The model's headers, the bundle's place, and the questions; refused where one of them shows
    that the run cannot end well."""
    folder = output or result_folder(model)
    bundle_place(folder)
    check_cache()
    spec = read_model(model)
    refuse_experts(spec, runtime)
    questions = read_questions(data, wanted)
    check_model(spec)
    return _Ready(spec, folder, questions)


def _profile(device: str, runtime: str, listen: Listener) -> DeviceProfile:
    """The device, calibrated in `runtime` where it is this machine; nothing is measured of
    transformers."""
    profile = find_device(device)
    measured = runtime == "transformers" or profile.kernel_rates_in(runtime) is not None
    if device == "auto" and not measured:
        require_writable(config_folder())
        # Half a minute once a machine, and every later plan predicts instead of guessing.
        calibrate_here(runtime, listen)
        profile = find_device(device)
    return profile


def refuse_experts(spec: ModelSpec, runtime: str) -> None:
    """Raises CompressionSettingsInvalid for a mixture of experts that ONNX Runtime or transformers
    is to run."""
    if runtime == "onnx" and spec.experts:
        raise CompressionSettingsInvalid(
            f"{spec.name} is a mixture of experts. {NO_EXPERTS} To have it judged, choose "
            "--runtime llama.cpp."
        )
    if runtime == "transformers" and spec.experts:
        raise CompressionSettingsInvalid(
            f"{spec.name} is a mixture of experts, and quantized checkpoints are for dense models "
            "here. Choose --runtime llama.cpp."
        )


class _Job(NamedTuple):
    """What is to be made, and for what."""

    device: DeviceProfile
    plan: Plan
    chosen: Candidate
    recipe: Recipe
    data: Path | None
    kept_as: Job


def _make_bundle(ready: _Ready, job: _Job, listen: Listener) -> Fitted:
    plan, chosen = job.plan, job.chosen
    for text in (*plan.notices, *chosen.notes):
        listen(Warned(text=text))
    if plan.job:
        listen(Estimated(text=plan.job.sentence, seconds=plan.job.seconds))
        _tell_budget(job, listen)
    made = staged_model(ready.spec, job.recipe.stages)
    if job.recipe.runtime == "onnx":
        check_onnx_size(made, job.recipe)
    else:
        check_size_budget(made, job.recipe)
    # A package for another provider is beside the artifact that was judged.
    copies = 1 if job.recipe.provider == "cpu" else 2
    check_disk(ready.folder, copies * chosen.file_bytes + ready.spec.projector_bytes)
    report = _run_stages(ready.questions, job, listen)
    write_bundle(report, ready.folder)
    keep_result(report_run(report, ready.folder, job.kept_as), listen)
    return Fitted(folder=ready.folder, report=report)


def _tell_budget(job: _Job, listen: Listener) -> None:
    """What the time for questions can decide here, by the speeds of the plan."""
    each = job.plan.job.question_seconds if job.plan.job else None
    budget = job.recipe.evaluation.budget_seconds
    if budget and each and job.recipe.device == "auto":
        found = decidable(each, budget)
        told = Noted if found.enough else Warned
        listen(told(text=found.sentence))


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


def _run_stages(questions: Questions, job: _Job, listen: Listener) -> Report:
    """Make the artifact, prove it, judge it."""
    spec = read_model(job.recipe.model, weights=True)
    run = Run(spec, job.recipe, job.data, listen)
    with run.torch.kept():
        artifact = MAKERS.get(job.recipe.runtime, make_artifact)(run)
    recipe = with_resolved_types(job.recipe, artifact)
    chosen = _with_final_tensor_types(spec, job.device, job.chosen, recipe)
    chosen = _with_refined_loss(spec, chosen, artifact, recipe)
    job = job._replace(recipe=recipe, chosen=chosen)
    found = _prove(run, artifact, questions, job)
    _correct_rates(run, artifact, found.measurement, recipe)
    here = _candidate_here(spec, recipe, chosen)
    rivals = (row for row in job.plan.candidates if not row.rejections and row != chosen)
    return Report(
        model=_facts(spec, recipe, run),
        device_title=job.device.title,
        recipe=recipe,
        chosen=chosen,
        others=tuple(rivals),
        job_predicted=job.plan.job,
        artifact=artifact,
        predictions=compare_with_plan(here, found.measurement),
        measurement=found.measurement,
        divergence=found.divergence,
        divergence_by_capability=found.divergence_by_capability,
        coherence=found.coherence,
        comparison=found.comparison,
        verdict=_verdict(artifact, found, job),
        notices=(*found.notes, *_notices(artifact, found.measurement, job)),
        versions=versions(),
    )


def _correct_rates(run: Run, artifact: Artifact, measurement: Measurement, recipe: Recipe) -> None:
    """Let what was measured here speak for later plans, which predict nothing of transformers."""
    if recipe.runtime == "transformers":
        return
    if recipe.runtime == "onnx":
        made = staged_model(run.model, recipe.stages)
        judged = judged_format(recipe.format)
        facts = facts_of_onnx_types(made, judged, recipe.tensor_types)
        correct_rates(made, facts.weights, measurement, recipe.runtime)
        return
    made = read_model(artifact.file.path)
    weights = layered_weights(made, {tensor.name: tensor.dtype for tensor in made.tensors})
    correct_rates(made, weights, measurement, recipe.runtime)


class _Proof(NamedTuple):
    """What was found out about an artifact beside its base."""

    divergence: DivergenceSummary
    divergence_by_capability: dict[Bucket, DivergenceSummary]
    coherence: Coherence
    comparison: Comparison
    measurement: Measurement
    notes: tuple[str, ...]
    """How the runtime runs base and artifact, where not as they are."""


def _prove(run: Run, artifact: Artifact, questions: Questions, job: _Job) -> _Proof:
    """From cheap to dear. Raises ArtifactRejected for an artifact that writes garbage."""
    (items, text), recipe = questions, job.recipe
    base, made = evaluation_subjects(run, artifact)
    notes = (*base.runtime.notes(base.path), *made.runtime.notes(made.path))
    for note in notes:
        run.listen(Warned(text=note))
    divergence = evaluation_stages.divergence(base, made, text, recipe.evaluation)
    coherence = evaluation_stages.coherence(base, made, divergence)
    if not coherence.coherent:
        # R102, R103: no long evaluation of what writes no text.
        marks = ", ".join(f"{found.mark} ({found.evidence})" for found in coherence.findings[:3])
        raise ArtifactRejected(f"{job.chosen.label} writes garbage: {marks}. {coherence.remedy}")
    task, repeats = recipe.constraints.task, repeats_base(divergence)
    asking = Asking(base, made, recipe.evaluation, task, repeats)
    asked = ask_until_decided(asking, items)
    for text in asked.notices:
        run.listen(Warned(text=text))
    return _Proof(
        divergence=divergence,
        coherence=coherence,
        divergence_by_capability=evaluation_stages.divergence_by_capability(base, made, items),
        comparison=asked.comparison,
        measurement=evaluation_stages.measurement(made, recipe.settings, text, recipe.measurement),
        notes=notes,
    )


def _verdict(artifact: Artifact, found: _Proof, job: _Job) -> Verdict:
    speed = found.measurement.at(job.chosen.speed.prompt_tokens).decode_tokens_per_second
    return judge(
        Evidence(
            comparison=found.comparison,
            divergence=found.divergence,
            coherence=found.coherence,
            task=job.recipe.constraints.task,
            efficiency=Efficiency(
                base_bytes=path_bytes(artifact.base.path),
                artifact_bytes=artifact.size_bytes,
                decode_tokens_per_second=speed.median,
                peak_memory_bytes=found.measurement.peak_memory_bytes,
            ),
            method=method_of(job.recipe),
            sparsity_percent=sparsity_percent(job.recipe),
            bits=job.chosen.bits_per_weight,
            calibration=artifact.calibration.mix if artifact.calibration else None,
            expert_use=artifact.expert_use,
        )
    )


def _notices(artifact: Artifact, measurement: Measurement, job: _Job) -> tuple[str, ...]:
    return (
        *job.plan.notices,
        *job.chosen.notes,
        *sorted({check.warning for check in artifact.checks if check.warning}),
        *(artifact.package.notes if artifact.package else ()),
        *_remote_device_note(job.recipe, job.device),
        *_unused_gpu_note(job.recipe, measurement),
    )


def _with_final_tensor_types(
    spec: ModelSpec, device: DeviceProfile, chosen: Candidate, recipe: Recipe
) -> Candidate:
    """The candidate with the types that the recipe gives single tensors."""
    if not recipe.tensor_types:
        return chosen
    made = staged_model(spec, recipe.stages)
    constraints = recipe.constraints.model_copy(update={"kv_type": recipe.settings.kv_type})
    return with_types(chosen, made, device, constraints, recipe.tensor_types)


def _with_refined_loss(
    spec: ModelSpec, chosen: Candidate, artifact: Artifact, recipe: Recipe
) -> Candidate:
    """The candidate with the loss that is expected by what the run measured of each tensor."""
    refined = refined_loss(artifact.mixture, recipe.rounding) if artifact.mixture else None
    if refined is None:
        return chosen
    loss = refined + expected_cache_loss(spec, recipe.settings.kv_type)
    return with_expected_loss(chosen, loss, recipe.constraints.task)


def _candidate_here(spec: ModelSpec, recipe: Recipe, chosen: Candidate) -> Candidate:
    """What was planned for this machine, on which the artifact is measured: a prediction for
    another device says nothing about it."""
    if recipe.device == "auto" and recipe.provider == "cpu":
        return chosen
    unlimited = recipe.model_copy(update={"constraints": Constraints()})
    constraints = effective_constraints(unlimited)
    here = find_device("auto")
    if recipe.runtime == "onnx":
        return _onnx_candidate(staged_model(spec, recipe.stages), here, recipe)
    if recipe.runtime != "llama.cpp":
        choices = Choices(runtime=recipe.runtime, stages=recipe.stages)
        rows = make_plan(spec, here, constraints, choices=choices).candidates
        return next(row for row in rows if row.format == recipe.format)
    made = staged_model(spec, recipe.stages)
    facts = next(row for row in format_facts(made) if row.name == recipe.format)
    placement = placement_of(recipe.settings, here)
    row = candidate_for_placement(made, here, constraints, facts, placement, recipe.settings)
    return _with_final_tensor_types(spec, here, row, recipe)


def _remote_device_note(recipe: Recipe, device: DeviceProfile) -> tuple[str, ...]:
    if recipe.device == "auto":
        return ()
    return (
        f"Speed and memory were measured on this machine, not on {device.title}: what the plan "
        "says of that device is predicted only.",
    )


def _unused_gpu_note(recipe: Recipe, measured: Measurement) -> tuple[str, ...]:
    """That the runtime did not use the cards of this machine, which the plan counted on."""
    if recipe.device != "auto" or not recipe.settings.gpu_layers or len(measured.device_bytes) > 1:
        return ()
    return (
        f"The plan puts {recipe.settings.gpu_layers} layers on a GPU, and this build of "
        f"{measured.runtime} used none: install one that is built for it.",
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
