"""Compression alone: one method on one model, checked, without evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from edgecomp.calibration.calibration import CalibrationRecord
from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.common.atomic import (
    copy_file,
    copy_folder,
    replacing,
    replacing_folder,
    require_writable,
    write_text,
)
from edgecomp.common.errors import CompressionSettingsInvalid, ConstraintsImpossible, JobTooLarge
from edgecomp.common.events import Estimated, Listener, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import physical_cores
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import Effort, Mix, Rounding
from edgecomp.common.validation_text import format_validation_error
from edgecomp.devices.finding import find_device
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS, huggingface_bytes
from edgecomp.formats.onnx_facts import onnx_artifact_bytes, require_onnx_format
from edgecomp.formats.onnx_formats import ONNX_FORMATS, ONNX_MIXTURE
from edgecomp.formats.optimum_formats import OPTIMUM_FORMATS, optimum_bytes
from edgecomp.formats.presets import MIXTURE, PRESETS
from edgecomp.making.artifact import Artifact
from edgecomp.making.gguf import UNROUNDED, make_artifact, needs_calibration, with_resolved_types
from edgecomp.making.huggingface import make_huggingface_artifact
from edgecomp.making.mixed_precision import (
    BitAllocation,
    check_size_budget,
    file_bytes,
    memory_bytes,
)
from edgecomp.making.onnx import make_onnx_artifact
from edgecomp.making.onnx_mix import check_onnx_size
from edgecomp.making.optimum import make_optimum_artifact
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.early_checks import (
    check_cache,
    check_calibration,
    check_disk,
    check_template,
)
from edgecomp.pipeline.run import Run
from edgecomp.planning.huggingface_device_map import device_map
from edgecomp.planning.job_cost import HowMade, estimate_compression
from edgecomp.planning.plan import JobCost
from edgecomp.planning.provider_choice import chosen_provider
from edgecomp.recipes.artifact_name import PREFIX
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.distillation import History
from edgecomp.recipes.recipe import Recipe, write_recipe
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.sparsity import parse_sparsity
from edgecomp.recipes.stages import (
    DistillStage,
    PruneStage,
    Stage,
    staged_model,
)
from edgecomp.recipes.tuning import Tuned

PRUNERS: tuple[str, ...] = get_args(PruneStage.model_fields["method"].annotation)
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
METHODS = (*ROUNDINGS, *PRUNERS)

USUAL_CONTEXT = 2048
"""Tokens a compressed model is set up for where nobody says, or what it was trained for."""


class Compressed(FrozenModel):
    """What `compress` made."""

    schema_version: Literal[1] = 1
    folder: Path
    file: str
    size_bytes: int
    projector: str | None = None
    """The name of the file beside it that reads pictures or sounds (mmproj)."""

    projector_bytes: int = 0
    types: dict[str, str]
    checks: tuple[CheckResult, ...]
    notes: tuple[str, ...] = ()
    """What an execution provider's package needs, and what of its graph stays with the CPU."""

    calibration: CalibrationRecord | None
    job_predicted: JobCost | None = None
    distillations: tuple[History, ...] = ()
    mixture: BitAllocation | None = None
    tuning: Tuned | None = None


class CompressionRequest(FrozenModel):
    """What one asks of `compress`: a method onto a format, within which limits."""

    model: str
    method: str | None = None
    """None: the one that loses least."""

    format: str
    sparsity: str = "50%"
    constraints: Constraints = Constraints()
    calibration: CalibrationMix
    any_calibration: bool = False
    """Go on although the calibration does not match the task (R30, R35)."""

    stages: tuple[Stage, ...] = ()
    mix: Mix | None = None
    provider: str = "cpu"
    """The execution provider of ONNX Runtime; `auto`: the one that fits this machine."""

    effort: Effort = "default"


def compression_recipe(wanted: CompressionRequest) -> Recipe:
    """The recipe of one method, after the request's stages.

    Raises CompressionSettingsInvalid for a method, format or sparsity that is none, or that cannot
    be had together.
    """
    default = _default_method(wanted.format)
    mix = wanted.mix or ("optimal" if wanted.format in (MIXTURE, ONNX_MIXTURE) else None)
    wanted = wanted.model_copy(update={"method": wanted.method or default, "mix": mix})
    _check_request(wanted)
    pruning = wanted.method in PRUNERS
    # Pruned before it is distilled: what is left makes up for what went.
    cut = [{"method": wanted.method, "sparsity": wanted.sparsity}] if pruning else []
    distilled = [stage for stage in wanted.stages if isinstance(stage, DistillStage)]
    context = wanted.constraints.context or _usual_context(wanted.model)
    try:
        return Recipe.model_validate(
            {
                "model": wanted.model,
                "device": "auto",
                "constraints": wanted.constraints,
                "runtime": _runtime_of(wanted.format),
                "provider": chosen_provider(wanted.provider, find_device("auto")),
                "format": wanted.format,
                "mix": wanted.mix,
                "stages": [*(s for s in wanted.stages if s not in distilled), *cut, *distilled],
                "rounding": _rounding_after_pruning(wanted.format) if pruning else wanted.method,
                "effort": wanted.effort,
                "settings": RunSettings(context=context, threads=physical_cores()),
                "importance": _rounds_to_gguf(wanted.format),
                "calibration": wanted.calibration,
                "any_calibration": wanted.any_calibration,
            }
        )
    except ValidationError as error:
        fault = format_validation_error(error.errors()[0])
        raise CompressionSettingsInvalid(f"The settings are refused: {fault}.") from error


def _default_method(format_name: str) -> str:
    if format_name in OPTIMUM_FORMATS:
        return "rtn"
    onnx = ONNX_FORMATS.get(format_name)
    return "awq+gptq" if onnx is None or onnx.is_solved else "llama.cpp"


def _rounding_after_pruning(format_name: str) -> str:
    """What leaves the zeros of a pruned model where they are: rounding to nearest, by llama.cpp's
    quantizer where there is a choice of its own."""
    onnx = ONNX_FORMATS.get(format_name)
    ours = format_name in HUGGINGFACE_FORMATS or (onnx is not None and onnx.is_solved)
    return "rtn" if ours else "llama.cpp"


def _runtime_of(format_name: str) -> str:
    if format_name in HUGGINGFACE_FORMATS:
        return "transformers"
    onnx = format_name in ONNX_FORMATS or format_name in OPTIMUM_FORMATS
    return "onnx" if onnx else "llama.cpp"


def _check_request(wanted: CompressionRequest) -> None:
    """Raises CompressionSettingsInvalid for what is not known, or cannot be had together."""
    if wanted.method not in METHODS:
        raise CompressionSettingsInvalid(
            f"There is no method {wanted.method!r}. Known: {', '.join(METHODS)}."
        )
    known = (*PRESETS, *HUGGINGFACE_FORMATS, *ONNX_FORMATS, *OPTIMUM_FORMATS)
    if wanted.format not in known:
        raise CompressionSettingsInvalid(
            f"There is no format {wanted.format!r}. Known: {', '.join(known)}."
        )
    more = wanted.method != "rtn" or wanted.stages or wanted.mix
    if wanted.format in OPTIMUM_FORMATS and more:
        raise CompressionSettingsInvalid(
            f"{wanted.format} is made of the source, rounded to nearest by ONNX Runtime's "
            "quantizer. Leave out --method and what shrinks or mixes, or choose a GGUF format, or "
            "an ONNX one of the builder's, such as onnx-int4-32."
        )
    limits = wanted.constraints
    mixture = wanted.format in (MIXTURE, ONNX_MIXTURE)
    if mixture and not (limits.max_size_bytes or limits.max_memory_bytes):
        raise CompressionSettingsInvalid(
            f"The format {wanted.format} fills a size. Say which: --max-size 4GB, or --max-memory "
            "6GB."
        )
    if limits.max_memory_bytes and wanted.format not in (*PRESETS, ONNX_MIXTURE):
        raise CompressionSettingsInvalid(
            f"--max-memory is that of llama.cpp, which does not run {wanted.format}. Leave it out, "
            f"or choose a GGUF format or {ONNX_MIXTURE}."
        )
    parse_sparsity(wanted.sparsity)


def _rounds_to_gguf(format_name: str) -> bool:
    return format_name in PRESETS and PRESETS[format_name].base not in UNROUNDED


def _usual_context(model: str) -> int:
    trained = read_model(model).context_length
    return min(trained or USUAL_CONTEXT, USUAL_CONTEXT)


def compress(recipe: Recipe, output: Path, data: Path | None, listen: Listener) -> Compressed:
    """Carry out a recipe up to the checked artifact, and put it into the folder `output`.

    Raises NotWritable, DiskFull, JobTooLarge, ConstraintsImpossible, CompressionSettingsInvalid,
    CalibrationRefused, DataMissing or DataMalformed before any work, and what the stages raise.
    """
    output = output.expanduser()
    require_writable(output)
    check_cache()
    model = read_model(recipe.model)
    if needs_calibration(recipe, model):
        task = recipe.constraints.task
        check_calibration(recipe.calibration, task, data, any_calibration=recipe.any_calibration)
    job = _job(model, recipe, output)
    texts = list(model.notes)
    if recipe.runtime != "onnx":
        texts += find_gguf_exporter().reservations(model)
    if recipe.format not in OPTIMUM_FORMATS:
        check_template(model.path)
    for text in texts:
        listen(Warned(text=text))
    listen(Estimated(text=job.sentence, seconds=job.seconds))
    run = Run(read_model(recipe.model, weights=True), recipe, data, listen)
    with run.torch.kept():
        artifact = _maker(recipe.format)(run)
    shipped = artifact.package.file.path if artifact.package else artifact.file.path
    file = output / shipped.name
    if shipped.is_dir():
        with replacing_folder(file) as temporary:
            copy_folder(shipped, temporary)
        if recipe.format in HUGGINGFACE_FORMATS:
            places = device_map(
                read_model(file), artifact.types, find_device(recipe.device), recipe.settings
            )
            write_text(output / "device_map.json", json.dumps(places, indent=2) + "\n")
    else:
        with replacing(file) as temporary:
            copy_file(shipped, temporary)
    projector = artifact.projector
    beside = f"{PREFIX}{projector.end}" if projector else None
    if projector and beside:
        with replacing(output / beside) as temporary:
            copy_file(projector.file.path, temporary)
    write_recipe(output / "recipe.yaml", with_resolved_types(recipe, artifact))
    return Compressed(
        folder=output,
        file=file.name,
        size_bytes=artifact.size_bytes,
        projector=beside,
        projector_bytes=projector.size_bytes if projector else 0,
        types=artifact.types,
        checks=_checks(artifact),
        notes=artifact.package.notes if artifact.package else (),
        calibration=artifact.calibration,
        job_predicted=job,
        distillations=artifact.distillations,
        mixture=artifact.mixture,
        tuning=artifact.tuning,
    )


def _checks(artifact: Artifact) -> tuple[CheckResult, ...]:
    """Those of the artifact and of what is shipped with it, or for it."""
    beside = [part for part in (artifact.projector, artifact.package) if part]
    return (*artifact.checks, *(check for part in beside for check in part.checks))


def _maker(format_name: str) -> Callable[[Run], Artifact]:
    if format_name in OPTIMUM_FORMATS:
        return make_optimum_artifact
    if format_name in ONNX_FORMATS:
        return make_onnx_artifact
    return make_huggingface_artifact if format_name in HUGGINGFACE_FORMATS else make_artifact


def _job(model: ModelSpec, recipe: Recipe, output: Path) -> JobCost:
    """What the recipe costs here; refused where it is too much or cannot come out."""
    made = staged_model(model, recipe.stages)
    if recipe.format not in PRESETS:
        made = made.model_copy(update={"projector": None})
    if recipe.format in ONNX_FORMATS:
        require_onnx_format(made, recipe.format, recipe.provider)
        check_onnx_size(made, recipe)
    else:
        check_size_budget(made, recipe)
    if recipe.format in HUGGINGFACE_FORMATS:
        size = huggingface_bytes(made, recipe.format)
    elif recipe.format in ONNX_FORMATS:
        size = onnx_artifact_bytes(made, recipe.format, recipe.provider, recipe.tensor_types)
    elif recipe.format in OPTIMUM_FORMATS:
        size = optimum_bytes(made, recipe.format)
    else:
        size = file_bytes(made, recipe, recipe.tensor_types)
    limit = recipe.constraints.max_size_bytes
    if not recipe.mix:
        _require_limits(made, recipe, size)
    planned = min(size, limit) if limit else size
    planned += made.projector_bytes
    mix = None if recipe.tensor_types else recipe.mix
    how = HowMade(mix, recipe.rounding, recipe.effort, recipe.weighs_tokens)
    job = estimate_compression(model, recipe.format, planned, recipe.stages, how)
    if job.refusals:
        raise JobTooLarge(
            f"This machine cannot carry out the recipe. {' '.join(job.refusals)} Free some, or "
            "make it on a larger machine."
        )
    check_disk(output, planned)
    return job


def _require_limits(made: ModelSpec, recipe: Recipe, size_bytes: int) -> None:
    """Raises ConstraintsImpossible where the recipe's format passes a limit by itself."""
    limits = recipe.constraints
    shipped = size_bytes + made.projector_bytes
    if limits.max_size_bytes and shipped > limits.max_size_bytes:
        beside = made.projector_bytes
        more = f" with its projector of {format_size(beside)}" if beside else ""
        raise ConstraintsImpossible(
            f"{recipe.format} makes {format_size(shipped)} of this model{more}, more than "
            f"--max-size {format_size(limits.max_size_bytes)}. Choose a smaller --format, or fill "
            "the size with --mix optimal."
        )
    if limits.max_memory_bytes:
        memory = memory_bytes(made, recipe, recipe.tensor_types)
        if memory > limits.max_memory_bytes:
            raise ConstraintsImpossible(
                f"{recipe.format} of this model needs {format_size(memory)} at "
                f"{recipe.settings.context:,} tokens of context, more than --max-memory "
                f"{format_size(limits.max_memory_bytes)}. Choose a smaller --format, fill the "
                "memory with --mix optimal, or give a smaller --context."
            )
