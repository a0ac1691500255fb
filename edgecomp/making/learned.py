"""Families without a row here: importance from llama.cpp's own graph, and where codes go, from the
float file that its converter wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecomp.common.digests import file_digest
from edgecomp.common.events import Noted, Progress, Warned
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.formats.exporting import default_float_type, find_exporter
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.models.huggingface.quantization_config import converted_method
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.models.learned_layout import LearnedLayout, NameOf
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT, ModelSpec
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.runtimes.llama_cpp.client import LlamaCpp

Types = Mapping[str, str | None]
"""The type of each tensor; None: kept to the bit."""


def is_learned(model: ModelSpec) -> bool:
    """Whether a model's layout is not known by a row here."""
    return model.layout != "known"


def with_readable_weights(run: Run) -> Run:
    """The run, of the GGUF file that llama.cpp's converter makes of a checkpoint whose quantized
    weights only it reads: MXFP4 stays what it is there."""
    model = run.model
    if model.source == "gguf" or not converted_method(read_json(model.path / "config.json")):
        return run
    run.listen(
        Warned(
            text=f"The source is quantized ({model.quantization}): what is lost is measured "
            "against it, not against the original."
        )
    )
    float_type = default_float_type(model)

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"source-{float_type}.gguf"
        find_exporter("gguf").export(model, path, float_type, progress)
        return StoredFile(path=path, sha256=file_digest(path))

    made = run.stage("convert", "Reading the quantized weights", StoredFile, {}, work)
    source = read_model(made.path)
    kept = {name: getattr(model, name) for name in ("name", "licence", "projector")}
    return run.of_model(source.model_copy(update=kept))


def with_possible_rounding(run: Run) -> Run:
    """The run, without what AWQ needs to know of a family: which norm scales which matrix."""
    if not is_learned(run.model) or not run.recipe.rounding.startswith("awq"):
        return run
    run.listen(
        Noted(
            text=f"{run.model.architecture} has no row here that says where AWQ's scales could be "
            "folded: its matrices are rounded by GPTQ."
        )
    )
    return run.following(run.recipe.model_copy(update={"rounding": "gptq"}))


def learned_layout(run: Run, base: StoredFile, checkpoint: Path, done: list[Any]) -> LearnedLayout:
    """Which of the checkpoint's rows each matrix of the float file `base` consists of."""

    def work(folder: Path, progress: Progress) -> LearnedLayout:
        answer = run.torch.call(
            "learn_layout", progress, checkpoint=str(checkpoint), float_file=str(base.path)
        )
        return LearnedLayout.model_validate(answer)

    inputs = {"base": base.sha256, "stages": done}
    return run.stage("layout", "Matching weights by content", LearnedLayout, inputs, work)


def importance_by_runtime(
    run: Run, source: StoredFile, calibration: StoredCalibration
) -> StoredFile:
    """The importance matrix of the float file `source`, from llama.cpp's own graph."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "importance.gguf"
        run.torch.end()  # The float model takes its memory.
        LlamaCpp().importance(
            source.path,
            calibration.tokens.path,
            path,
            datasets=[f"{k}: {v}" for k, v in calibration.record.origins.items()],
            threads=run.threads,
            progress=progress,
        )
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "file": source.sha256,
        "tokens": calibration.record.tokens_sha256,
        "threads": run.threads,
    }
    return run.stage("importance", "Measuring importance", StoredFile, inputs, work)


def types_of_weights(layout: LearnedLayout, types: Types, name_of: NameOf) -> dict[str, str | None]:
    """The type of each of the checkpoint's weights, by what `name_of` calls it, given those of GGUF
    tensors: where all tensors that it went into have the same."""
    found: dict[str, set[str | None]] = defaultdict(set)
    for name in layout.tensors:
        for weight in layout.weights_in(name):
            found[name_of(weight) or weight].add(types.get(name))
    return {weight: next(iter(kinds)) for weight, kinds in found.items() if len(kinds) == 1}


def losses_of_tensors(
    measured: Sensitivities, layout: LearnedLayout, model: ModelSpec, name_of: NameOf
) -> Sensitivities:
    """What each type costs each GGUF tensor, given what it costs the checkpoint's weights, which
    `name_of` names: a tensor's share of a weight's loss is its share of the rows."""
    of_weight = {row.name: row for row in measured.tensors}
    elements = {tensor.name: tensor.elements for tensor in model.tensors}
    tensors = [row for row in measured.tensors if row.name in (EMBEDDING, OUTPUT)]
    ends = {row.name for row in tensors}
    for name in layout.tensors:
        if name in ends:
            continue
        rows = [of_weight.get(name_of(weight) or weight) for weight in layout.weights_in(name)]
        known = {row.name: row for row in rows if row}
        if not known or None in rows or name not in elements:
            continue
        kinds = set.intersection(*({*row.losses} for row in known.values()))
        whole = sum(row.elements for row in known.values())
        share = min(1.0, elements[name] / whole)
        losses = {kind: share * sum(r.losses[kind] for r in known.values()) for kind in kinds}
        tensors.append(TensorSensitivity(name=name, elements=elements[name], losses=losses))
    return Sensitivities(tensors=tuple(tensors))
