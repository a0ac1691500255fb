"""Make a run's artifact: calibrate, make smaller, weigh, round, lay out, check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.checks.artifact_checks import tensor_types
from edgecomp.common.atomic import replacing
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ArchitectureUnsupported
from edgecomp.common.events import Noted, Progress, Warned
from edgecomp.formats.exact_types import kept_tensors
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats.gguf_file_type import set_file_type
from edgecomp.formats.gguf_mix import fallbacks
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS
from edgecomp.formats.onnx_formats import ONNX_FORMATS
from edgecomp.formats.presets import PRESETS, SOURCE
from edgecomp.making.artifact import Artifact
from edgecomp.making.calibration_rows import StoredCalibration, calibrated_tokens
from edgecomp.making.expert_use import ExpertUse, expert_use
from edgecomp.making.float_model import float_export, torch_checkpoint
from edgecomp.making.gguf_checks import check_artifact, check_base, require
from edgecomp.making.learned import (
    importance_by_runtime,
    is_learned,
    learned_layout,
    types_of_weights,
    with_possible_rounding,
    with_readable_weights,
)
from edgecomp.making.mixed_precision import BitAllocation, bit_allocation
from edgecomp.making.projector import make_projector
from edgecomp.making.shrinking import shrunk_checkpoint, shrunk_export
from edgecomp.making.token_weights import token_weights
from edgecomp.making.tuning import tell_untuned, tuned_codes
from edgecomp.models.huggingface.model import gguf_names
from edgecomp.models.learned_layout import LearnedLayout
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.artifact_name import artifact_stem
from edgecomp.recipes.distillation import History
from edgecomp.recipes.recipe import Recipe
from edgecomp.recipes.tuning import Tuned
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types

UNROUNDED = ("source", "F32", "F16", "BF16")
"""Formats in which there is nothing to round."""


UNWEIGHED = ("Q8_0",)
"""Types that llama.cpp's quantizer rounds alike with and without importance, beside the floats."""


def importance_matrix(
    run: Run, calibration: StoredCalibration, checkpoint: Path, done: list[Any]
) -> StoredFile:
    """The importance matrix of a checkpoint, computed block by block in a worker."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "importance.gguf"
        run.in_torch(
            "importance",
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            destination=str(path),
            datasets=[f"{k}: {v}" for k, v in calibration.record.origins.items()],
        )
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "threads": run.threads,
        "stages": done,
    }
    return run.stage("importance", "Measuring importance", StoredFile, inputs, work)


def chosen_codes(
    run: Run,
    checkpoint: Path,
    calibration: StoredCalibration,
    types: Mapping[str, str | None],
    done: list[Any],
) -> StoredFile:
    """The checkpoint with the codes that the recipe's rounding chose for its blocks; tensors whose
    type is None are kept to the bit."""
    rounding = run.recipe.rounding
    weights = token_weights(run, checkpoint, calibration, done)
    weighed = {"token_weights": str(weights.path)} if weights else {}

    def work(folder: Path, progress: Progress) -> StoredFile:
        return run.checkpoint_from_torch(
            "round",
            folder,
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            rounding=rounding,
            types=types,
            **weighed,
        )

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "rounding": rounding,
        "types": types,
        "stages": done,
        "threads": run.threads,
    }
    if weights:
        inputs["token_weights"] = weights.sha256
    title = f"Rounding by {rounding.upper()}"
    return run.stage("rounding", title, StoredFile, inputs, work, any_runtime=True)


def quantize(
    run: Run,
    source: StoredFile,
    types: dict[str, str],
    importance: StoredFile | None,
    codes: StoredFile | None,
    layout: LearnedLayout | None = None,
) -> StoredFile:
    """The artifact's file: laid out by llama.cpp's quantizer, with `codes` put in, by the learned
    `layout` if there is one, and the source's own blocks where they are in the artifact's type.

    Where `codes` hold all that importance would weigh, llama.cpp is given none, and is told every
    tensor's type instead: its own rule would choose others without.
    """
    recipe = run.recipe
    overrides = recipe.tensor_types
    spec = read_model(source.path)
    if recipe.importance and not importance:
        overrides = {name: types[name] for name in _matrices(spec)}
    name = f"{artifact_stem(recipe, spec, types)}.gguf"
    kept = _kept(run, types)
    unweighed = _unweighed(types, measured=importance is not None) if recipe.importance else ()

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / name
        run.torch.end()  # The quantizer takes its memory: what needs torch is done.
        with replacing(path) as temporary:
            LlamaCpp().quantize(
                source.path,
                temporary,
                Types(
                    preset=recipe.format,
                    overrides=overrides,
                    importance=importance.path if importance else None,
                    unweighed=unweighed,
                ),
                threads=run.threads,
                progress=progress,
            )
            if codes:
                find_gguf_exporter().insert_codes(temporary, codes.path, layout)
            if kept:
                find_gguf_exporter().insert_stored(temporary, run.model, kept)
            if recipe.tensor_types:
                set_file_type(temporary)
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "base": source.sha256,
        "name": name,
        "format": recipe.format,
        "overrides": overrides,
        "importance": importance.sha256 if importance else None,
        "codes": codes.sha256 if codes else None,
        "kept": kept,
    }
    return run.stage("compression", f"Quantizing to {recipe.format}", StoredFile, inputs, work)


def _unweighed(types: dict[str, str], *, measured: bool) -> tuple[str, ...]:
    """The tensors that llama.cpp's quantizer cannot put into their type without an importance that
    nothing measures: the embedding, and where it was not `measured`, since no byte depends on it,
    all others of such types."""
    return tuple(
        name
        for name, kind in types.items()
        if TENSOR_TYPES[kind].needs_importance and (not measured or name == EMBEDDING)
    )


class BuildResult(NamedTuple):
    """A file, and what its making brought to light."""

    file: StoredFile
    spec: ModelSpec
    """The float file that was rounded: the source itself where there are no stages."""

    run: Run
    """By the recipe as it was followed: with the types that its mix chose."""

    calibration: StoredCalibration | None = None
    importance: StoredFile | None = None
    histories: tuple[History, ...] = ()
    mixture: BitAllocation | None = None
    expert_use: ExpertUse | None = None
    tuning: Tuned | None = None


def make_artifact(run: Run) -> Artifact:
    """Make the artifact and check it. Raises ArtifactRejected, naming the check it failed."""
    folder = run.model.path if run.model.source == "huggingface" else None
    asked = run
    run = with_possible_rounding(with_readable_weights(run))
    base = float_export(run)
    checkpoint = torch_checkpoint(run)
    checked = check_base(run, base, checkpoint or folder)
    checks = checked.results
    require(run, checks, base.path)
    if not checked.walks:
        checkpoint = None
    if run.recipe.format == SOURCE:
        made = BuildResult(
            StoredFile(path=run.model.path, sha256=run.source_digest), run.model, run
        )
    else:
        made = quantize_or_mix(run, base, checkpoint)
    file, recipe = made.file, made.run.recipe
    planned = planned_file_bytes(
        # The float file's own header is the artifact's, where stages came between it and the plan.
        made.spec if recipe.stages or is_learned(run.model) else run.model,
        recipe.format,
        tensor_types_of(
            made.spec, recipe.format, importance=recipe.importance, overrides=recipe.tensor_types
        ),
    )
    checks += check_artifact(made.run, file, planned, made.spec).results
    require(run, checks, file.path)
    types = tensor_types(file.path)
    return Artifact(
        file=file,
        size_bytes=file.path.stat().st_size,
        types=types,
        fallbacks={}
        if recipe.format == SOURCE
        else fallbacks(made.spec, types, PRESETS[recipe.format]),
        checks=checks,
        calibration=made.calibration.record if made.calibration else None,
        base=base,
        projector=make_projector(asked, file),
        importance=made.importance,
        distillations=made.histories,
        mixture=made.mixture,
        expert_use=made.expert_use,
        tuning=made.tuning,
    )


def needs_calibration(recipe: Recipe, spec: ModelSpec) -> bool:
    """Whether text is shown to the model `spec` on the way to a recipe's artifact."""
    name = recipe.format
    if name in ONNX_FORMATS:
        solved = recipe.rounding != "llama.cpp" and ONNX_FORMATS[name].is_solved
        return bool(recipe.stages or recipe.mix) or solved
    if name not in PRESETS:
        return name in HUGGINGFACE_FORMATS
    if recipe.stages or recipe.mix or _solves(recipe):
        return True
    if not recipe.importance:
        return False
    types = tensor_types_of(
        spec, recipe.format, importance=recipe.importance, overrides=recipe.tensor_types
    )
    return bool(spec.experts or _left_to_llama_cpp(spec, types, None))


def _solves(recipe: Recipe) -> bool:
    return recipe.rounding != "llama.cpp" and recipe.format not in UNROUNDED


def _float_spec(run: Run, file: StoredFile) -> ModelSpec:
    """The headers of a float file of the run's model, with the projector that goes along, which the
    limits count."""
    return read_model(file.path).model_copy(update={"projector": run.model.projector})


def quantize_or_mix(run: Run, base: StoredFile, checkpoint: Path | None) -> BuildResult:
    """The artifact's file. Without a checkpoint that torch can walk, llama.cpp's quantizer rounds
    what it holds, by importance."""
    recipe, spec, source = run.recipe, _float_spec(run, base), base
    types = tensor_types_of(
        spec, recipe.format, importance=recipe.importance, overrides=recipe.tensor_types
    )
    if not needs_calibration(recipe, spec):
        return BuildResult(quantize(run, base, types, None, None), spec, run)
    calibration = calibrated_tokens(run, base)
    if checkpoint is None:
        return _by_llama_cpp(run, base, calibration)
    shrunk = shrunk_checkpoint(run, base, checkpoint, calibration)
    if recipe.stages:
        source = shrunk_export(run, base, shrunk)
        spec = _float_spec(run, source)
    layout = None
    if is_learned(run.model):
        layout = learned_layout(run, source, shrunk.checkpoint, shrunk.done)
    importance = codes = mix = use = tuned = None
    if recipe.mix and not recipe.tensor_types:
        mix = bit_allocation(run, spec, shrunk.checkpoint, calibration, shrunk.done, layout)
    if mix:
        run = run.following(recipe.model_copy(update={"tensor_types": mix.types}))
    types = tensor_types_of(
        spec, recipe.format, importance=recipe.importance, overrides=run.recipe.tensor_types
    )
    kept = _kept(run, types)
    rounded = {name: kind for name, kind in types.items() if name not in kept}
    if _solves(recipe) and any(n.startswith("blk.") or n == spec.head_name for n in rounded):
        solved: Mapping[str, str | None] = rounded | dict.fromkeys(kept)
        if layout:
            name_of = gguf_names(shrunk.checkpoint)
            head = {spec.head_name: solved[spec.head_name]}
            solved = types_of_weights(layout, solved, name_of) | head
        codes = chosen_codes(run, shrunk.checkpoint, calibration, solved, shrunk.done)
        if layout:
            tell_untuned(run)
        else:
            codes, tuned = tuned_codes(run, shrunk.checkpoint, codes, calibration, shrunk.done)
    # Of a mixture it is measured in any case: it says how often each expert was asked.
    if recipe.importance and (spec.experts or _left_to_llama_cpp(spec, rounded, codes, layout)):
        if layout:
            importance = importance_by_runtime(run, source, calibration)
        else:
            importance = importance_matrix(run, calibration, shrunk.checkpoint, shrunk.done)
        use = _told_expert_use(run, importance)
    file = quantize(run, source, types, importance, codes, layout)
    histories = shrunk.histories
    return BuildResult(file, spec, run, calibration, importance, histories, mix, use, tuned)


def _by_llama_cpp(run: Run, base: StoredFile, calibration: StoredCalibration) -> BuildResult:
    """The artifact's file by llama.cpp's quantizer alone, by importance from its own graph; its
    types may be a mix that the plan's expected losses choose."""
    recipe, spec = run.recipe, _float_spec(run, base)
    if recipe.stages:
        raise ArchitectureUnsupported(
            spec.architecture, "pruned or distilled", ["models that torch can walk block by block"]
        )
    run.listen(
        Noted(
            text=f"Torch cannot walk {run.model.name} block by block here: llama.cpp's quantizer "
            "rounds it, by importance."
        )
    )
    mix = bit_allocation(run, spec, None, calibration, []) if recipe.mix else None
    if mix and not recipe.tensor_types:
        run = run.following(recipe.model_copy(update={"tensor_types": mix.types}))
    types = tensor_types_of(
        spec, recipe.format, importance=recipe.importance, overrides=run.recipe.tensor_types
    )
    importance = use = None
    if recipe.importance:
        importance = importance_by_runtime(run, base, calibration)
        use = _told_expert_use(run, importance)
    file = quantize(run, base, types, importance, None)
    return BuildResult(file, spec, run, calibration, importance, (), mix, use)


def _told_expert_use(run: Run, importance: StoredFile) -> ExpertUse | None:
    use = expert_use(importance.path)
    if use and use.seldom:
        run.listen(Warned(text=f"{use.sentence}. A larger --calibration may reach them."))
    return use


def _kept(run: Run, types: dict[str, str]) -> tuple[str, ...]:
    """The tensors whose blocks are the source's own; none where a stage changed the weights."""
    return () if run.recipe.stages else kept_tensors(run.model, types)


def with_resolved_types(recipe: Recipe, artifact: Artifact) -> Recipe:
    """The recipe with the types that its mix chose: what makes the same file again."""
    if artifact.mixture is None:
        return recipe
    return recipe.model_copy(update={"tensor_types": artifact.mixture.types})


def _left_to_llama_cpp(
    spec: ModelSpec,
    types: dict[str, str],
    codes: StoredFile | None,
    layout: LearnedLayout | None = None,
) -> list[str]:
    """The tensors among `types` that an importance matrix covers and whose codes no solver chose:
    where there are none, measuring importance would change no byte."""
    from edgecomp.compress.packed import read_packed_index

    index = read_packed_index(codes.path) if codes else None
    solved = set(index.tensors if index else ())
    if layout and codes:
        solved = set(layout.solved(solved, gguf_names(codes.path)))
    return [
        name
        for name in _matrices(spec)
        if (name.startswith("blk.") or name == OUTPUT)
        and name in types
        and not TENSOR_TYPES[types[name]].is_float
        and types[name] not in UNWEIGHED
        and name not in solved
    ]


def _matrices(spec: ModelSpec) -> list[str]:
    return [tensor.name for tensor in spec.tensors if len(tensor.shape) > 1]
