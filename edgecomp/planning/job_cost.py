"""What the job itself needs on the machine that does it: memory, time and disk, stage by stage.

Shown before work starts (R19, R101), and refused where the machine cannot do it. Rates come from
this machine's calibration where there is one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from edgecomp.common.folders import cache_folder, nearest_existing
from edgecomp.common.machine_limits import available_memory_bytes
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import MEASURED_MIXES, SOLVING, Effort, Mix, Rounding
from edgecomp.devices.detect import stored_kernel_rates
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS
from edgecomp.formats.kept_predictions import MOST_BYTES, kept_bytes
from edgecomp.formats.onnx_formats import MIX_TYPES, ONNX_FORMATS
from edgecomp.formats.optimum_formats import OPTIMUM_FORMATS
from edgecomp.formats.presets import PRESETS, UNWEIGHTED
from edgecomp.formats.solved_types import SOLVED_TYPES, is_solved
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.planning.plan import Candidate, JobCost, StageCost
from edgecomp.planning.stage_cost import (
    CALIBRATION_TOKENS,
    ROUNDING_OPERATIONS,
    ROW_TOKENS,
    START_SECONDS,
    TORCH_BYTES,
    TorchRate,
    block_matrices,
    hessian_operations,
    sensitivity_cost,
    stage_costs,
    tuning_cost,
    waiting_bytes,
    weighing_cost,
)
from edgecomp.recipes.calibration_mix import CARRIED_ROWS, SENSITIVITY_ROWS
from edgecomp.recipes.compression_limits import ROWS_SCALED
from edgecomp.recipes.recipe import QUESTION_SECONDS
from edgecomp.recipes.stages import Stage, staged_model
from edgecomp.recipes.tuning import TUNINGS

DIVERGENCE_TOKENS = 32 * 512
KEPT_ROWS = (16 * 256, *[8 * 64] * 7)
"""Tokens whose predictions are kept: half of the divergence text, and of each capability's."""

QUESTION_TOKENS, ANSWER_TOKENS = 90, 30
QUESTIONS = 1800
"""What is asked where no time is too short: some 200 of each required capability."""

WRITTEN_SHARE = 0.15
"""Share of the questions that are answered in text; the rest choose."""

CHECKED_TOKENS = 8 * 48
TORCH_SHARE = 0.6
"""Share of the peak of a large matrix product that whole decoder blocks reach."""

SCALES_TRIED = 10
"""By AWQ (compress/awq.py)."""

INPUT_ROLES = (
    "attn_q", "attn_qkv", "attn_output", "ffn_up", "ffn_down", "ffn_up_exps", "ffn_down_exps",
    "ffn_up_shexp", "ffn_down_shexp",
)  # fmt: skip
"""One matrix for each input that matrices share."""

FLOATS = ("F32", "F16", "BF16")
DISK_BYTES_PER_SECOND = 300 * 10**6
QUANTIZE_WEIGHTS_PER_SECOND = 15 * 10**6
FLOAT_OPERATIONS_PER_SECOND = 50 * 10**9
WORKER_BYTES = 100 * 10**6


class HowMade(NamedTuple):
    """Who mixes types and rounds, and how long is tuned; without a rounding what loses least."""

    mix: Mix | None = None
    rounding: Rounding | None = None
    effort: Effort = "default"
    weighs_tokens: bool = False


LOSING_LEAST = HowMade()


def estimate_job(
    model: ModelSpec,
    chosen: Candidate,
    stages: Sequence[Stage] = (),
    how: HowMade = LOSING_LEAST,
) -> JobCost:
    """The cost of making and proving `chosen` of `model` after `stages` here."""
    costs = []
    if chosen.format != "source":
        costs = _making(model, chosen.format, chosen.file_bytes, stages, how)
    made = staged_model(model, stages)
    each = question_seconds(model, made, chosen)
    costs.append(_evaluation(model, made, chosen, each))
    total = _by_effort(_total(costs), made, chosen.format, how)
    return total.model_copy(update={"question_seconds": each})


def estimate_compression(
    model: ModelSpec,
    format_name: str,
    file_bytes: int,
    stages: Sequence[Stage],
    how: HowMade,
) -> JobCost:
    """The cost of making a file of a format here, without proving it."""
    total = _total(_making(model, format_name, file_bytes, stages, how))
    return _by_effort(total, staged_model(model, stages), format_name, how)


def _by_effort(job: JobCost, made: ModelSpec, format_name: str, how: HowMade) -> JobCost:
    """The job with what it takes at every effort, where that differs."""
    tunings = {
        effort: _tuning_within_memory(made, format_name, how._replace(effort=effort))
        for effort in TUNINGS
    }
    stages = {cost.stage for cost in tunings.values() if cost}
    if not stages:
        return job
    others = sum(cost.seconds for cost in job.stages if cost.stage not in stages)
    seconds = {effort: others + (cost.seconds if cost else 0) for effort, cost in tunings.items()}
    return job.model_copy(update={"effort_seconds": seconds})


def _weighs_tokens(format_name: str, how: HowMade) -> bool:
    """Whether solvers are given what each token counts."""
    solves = how.rounding is None or how.rounding in SOLVING
    return how.weighs_tokens and solves and _rounds(format_name, how.rounding)


def _tuning_within_memory(made: ModelSpec, format_name: str, how: HowMade) -> StageCost | None:
    """None as well where memory does not allow it: it is left out, and the rest can be made."""
    cost = tuning_here(made, format_name, how)
    return cost if cost and cost.peak_memory_bytes <= available_memory_bytes() else None


def tuning_here(made: ModelSpec, format_name: str, how: HowMade) -> StageCost | None:
    """What tuning costs here after the codes are chosen; None where there is none."""
    settings = TUNINGS[how.effort]
    if settings is None or format_name not in PRESETS or made.family is None:
        return None
    if not _rounds(format_name, how.rounding):
        return None
    return tuning_cost(made, settings, ROW_TOKENS, _torch_rate(stored_kernel_rates()))


def _total(stages: list[StageCost]) -> JobCost:
    free_memory = available_memory_bytes()
    folder = nearest_existing(cache_folder())
    free_disk = shutil.disk_usage(folder).free
    disk = sum(stage.disk_bytes for stage in stages)
    refusals = [
        f"The {stage.stage} needs {format_size(stage.peak_memory_bytes)} of memory and "
        f"{format_size(free_memory)} are free."
        for stage in stages
        if stage.peak_memory_bytes > free_memory
    ]
    if not os.access(folder, os.W_OK):
        refusals.append(f"{folder} cannot be written: set EDGECOMP_CACHE to a folder that can.")
    elif disk > free_disk:
        refusals.append(
            f"The job writes {format_size(disk)} and {format_size(free_disk)} are free at {folder}."
        )
    return JobCost(
        stages=tuple(stages),
        free_memory_bytes=free_memory,
        free_disk_bytes=free_disk,
        refusals=tuple(refusals),
    )


def _making(
    model: ModelSpec,
    format_name: str,
    file_bytes: int,
    stages: Sequence[Stage],
    how: HowMade,
) -> list[StageCost]:
    """Intake, its check, the stages, calibration and compression: torch sees one block at a time,
    except in distillation."""
    kernel_rates = stored_kernel_rates()
    rate = _torch_rate(kernel_rates)
    made = staged_model(model, stages)
    costs = [
        _intake(model),
        _check(model, made, rate),
        *stage_costs(model, stages, rate),
    ]
    if format_name in PRESETS and model.projector_bytes:
        costs.append(_projector(model))
    if how.mix in MEASURED_MIXES:
        tokens = SENSITIVITY_ROWS * ROW_TOKENS
        carried = CARRIED_ROWS * ROW_TOKENS
        types = MIX_TYPES if format_name in ONNX_FORMATS else SOLVED_TYPES
        costs.append(sensitivity_cost(made, types, tokens, carried, rate))
    if _weighs(made, format_name, how.rounding):
        costs.append(_calibration(made, rate))
    weighs_tokens = _weighs_tokens(format_name, how)
    if weighs_tokens:
        costs.append(weighing_cost(made, rate))
    if _rounds(format_name, how.rounding):
        costs.append(_rounding(made, rate, weighs_tokens=weighs_tokens))
    tuning = _tuning_within_memory(made, format_name, how)
    if tuning:
        costs.append(tuning)
    return [*costs, _compression(model, made, format_name, file_bytes, kernel_rates)]


def _torch_rate(kernel_rates: KernelRates | None) -> TorchRate:
    """How fast torch is here, as far as it was measured."""
    if kernel_rates:
        return TorchRate(TORCH_SHARE * kernel_rates.float_operations_per_second, "calibrated")
    return TorchRate(TORCH_SHARE * FLOAT_OPERATIONS_PER_SECOND, "formula")


def _intake(model: ModelSpec) -> StageCost:
    """The float file, and of a GGUF its checkpoint as well."""
    half = 2 * model.parameters
    return StageCost(
        stage="intake",
        seconds=(model.file_bytes + half) / DISK_BYTES_PER_SECOND + 1,
        peak_memory_bytes=WORKER_BYTES + _largest_tensor_bytes(model),
        disk_bytes=2 * half if model.source == "gguf" else half,
        basis="formula",
    )


def _projector(model: ModelSpec) -> StageCost:
    """Writing what reads pictures or sounds, and loading it once."""
    size = model.projector_bytes
    return StageCost(
        stage="projector",
        seconds=2 * START_SECONDS + 2 * size / DISK_BYTES_PER_SECOND,
        peak_memory_bytes=TORCH_BYTES + size,
        disk_bytes=size,
        basis="formula",
    )


def _check(model: ModelSpec, made: ModelSpec, rate: TorchRate) -> StageCost:
    operations = 2 * model.used_parameters * CHECKED_TOKENS
    source_blocks = 2 * _block_bytes(made) * model.parameters // made.parameters
    return StageCost(
        stage="check",
        seconds=START_SECONDS + operations / rate.flops,
        peak_memory_bytes=TORCH_BYTES + source_blocks,
        disk_bytes=0,
        basis=rate.basis,
    )


def _calibration(made: ModelSpec, rate: TorchRate) -> StageCost:
    operations = 2 * made.used_parameters * CALIBRATION_TOKENS
    return StageCost(
        stage="calibration",
        seconds=START_SECONDS + operations / rate.flops,
        peak_memory_bytes=TORCH_BYTES + 2 * _block_bytes(made) + _hidden_bytes(made),
        disk_bytes=8 * CALIBRATION_TOKENS,
        basis=rate.basis,
    )


def _rounding(made: ModelSpec, rate: TorchRate, *, weighs_tokens: bool) -> StageCost:
    # AWQ stacks what it scales together, and has a block's statistics all at once: one for each
    # input, or where tokens count differently in each matrix, one for each matrix.
    counted = block_matrices(made) if weighs_tokens else _readers(made)
    waiting = _hessian_bytes(made, counted) + waiting_bytes(made)
    return StageCost(
        stage="rounding",
        seconds=START_SECONDS + _rounding_operations(made) / rate.flops,
        peak_memory_bytes=TORCH_BYTES + 2 * _block_bytes(made) + _hidden_bytes(made) + waiting,
        disk_bytes=6 * made.parameters,
        basis=rate.basis,
    )


def _compression(
    model: ModelSpec,
    made: ModelSpec,
    format_name: str,
    file_bytes: int,
    kernel_rates: KernelRates | None,
) -> StageCost:
    named = ONNX_FORMATS | HUGGINGFACE_FORMATS | OPTIMUM_FORMATS
    kind = named[format_name].type if format_name in named else PRESETS[format_name].base
    measured = kernel_rates.kernels.get(kind) if kernel_rates else None
    rate = measured.quantize_weights_per_second if measured else None
    # The ONNX builder holds the float model, and the graph it makes of it.
    onnx = format_name in OPTIMUM_FORMATS or format_name in ONNX_FORMATS
    peak = (
        TORCH_BYTES + 8 * made.parameters
        if onnx
        else (WORKER_BYTES + 3 * _largest_tensor_bytes(model))
    )
    return StageCost(
        stage="compression",
        seconds=made.parameters / (rate or QUANTIZE_WEIGHTS_PER_SECOND) + 1,
        peak_memory_bytes=peak,
        disk_bytes=file_bytes + (4 * made.parameters if onnx else 0),
        basis="calibrated" if rate else "formula",
    )


def _block_bytes(model: ModelSpec) -> int:
    """One decoder block as float32."""
    return 4 * model.parameters // max(model.layers, 1)


def _hidden_bytes(model: ModelSpec) -> int:
    """A block's inputs and outputs over the whole calibration, float32."""
    return 2 * 4 * CALIBRATION_TOKENS * model.embedding_length


def _rounds(format_name: str, rounding: Rounding | None) -> bool:
    """Whether solvers of ours choose codes: llama.cpp's quantizer rounds in the compression, ONNX's
    and optimum's while they export."""
    if format_name in OPTIMUM_FORMATS:
        return False
    if format_name in ONNX_FORMATS:
        return rounding != "llama.cpp" and ONNX_FORMATS[format_name].is_solved
    if format_name in HUGGINGFACE_FORMATS:
        return True
    if rounding is None:
        return is_solved(format_name)
    return rounding != "llama.cpp" and PRESETS[format_name].base not in FLOATS


def _weighs(made: ModelSpec, format_name: str, rounding: Rounding | None) -> bool:
    """Whether importance is measured: not where a solver chooses all codes, nor where none of them
    could be better for it."""
    if format_name not in PRESETS or format_name in UNWEIGHTED:
        return False
    every_code = _rounds(format_name, rounding) and is_solved(format_name)
    return not (every_code and made.tied_embeddings and not made.experts)


def _hessian_bytes(model: ModelSpec, matrices: list[TensorSpec]) -> int:
    """Size of the statistics of what a block's matrices read, each half a float32 matrix
    (compress/packed_triangle.py)."""
    return sum(2 * _experts(t) * t.shape[-1] ** 2 for t in matrices) // max(model.layers, 1)


def _experts(tensor: TensorSpec) -> int:
    return tensor.shape[0] if len(tensor.shape) == 3 else 1


def _readers(model: ModelSpec) -> list[TensorSpec]:
    """One matrix for each input of a block: those that read the same one share its statistics."""
    return [t for t in block_matrices(model) if any(f".{role}." in t.name for role in INPUT_ROLES)]


def _rounding_operations(model: ModelSpec) -> float:
    """Two passes of the calibration, X^T X of every matrix's input, the search for AWQ's scales and
    for each block's, and the sweep over columns, the head's among them."""
    passes = 4.0 * model.used_parameters * CALIBRATION_TOKENS
    matrices, readers = block_matrices(model), _readers(model)
    hessians = sum(hessian_operations(model, t, CALIBRATION_TOKENS) for t in readers)
    tried = sum(SCALES_TRIED * min(t.shape[-2], ROWS_SCALED) * t.shape[-1] for t in readers)
    # The down matrix of each expert has a scale of its own.
    tried += sum(
        SCALES_TRIED * (t.shape[0] - 1) * min(t.shape[1], ROWS_SCALED) * t.shape[2]
        for t in readers
        if ".ffn_down_exps." in t.name
    )
    matrices = [*matrices, *(t for t in model.tensors if t.name == model.head_name)]
    search = ROUNDING_OPERATIONS * (tried + sum(t.elements for t in matrices))
    return passes + hessians + search + sum(2.0 * t.elements * t.shape[-1] for t in matrices)


def question_seconds(model: ModelSpec, made: ModelSpec, chosen: Candidate) -> float:
    """What a question takes of base and artifact together: the float base is slower by its bytes,
    and by its parameters where the artifact has fewer."""
    speed = chosen.speed
    larger = 1 + model.parameters / made.parameters
    slower = 1 + max(1.0, 2 * model.parameters / chosen.file_bytes)
    read = larger * QUESTION_TOKENS / speed.prefill_tokens_per_second
    return read + WRITTEN_SHARE * slower * ANSWER_TOKENS / speed.decode_tokens_per_second


def _evaluation(
    model: ModelSpec, made: ModelSpec, chosen: Candidate, each_seconds: float
) -> StageCost:
    """Base and artifact both read the text and answer the questions. What the base predicts is kept
    for the next artifact."""
    speed = chosen.speed
    read = DIVERGENCE_TOKENS / speed.prefill_tokens_per_second
    read *= 1 + model.parameters / made.parameters
    asked = min(QUESTIONS * each_seconds, QUESTION_SECONDS)
    texts = [kept_bytes(model.vocabulary, rows) for rows in KEPT_ROWS]
    kept = sum(size for size in texts if size <= MOST_BYTES)
    return StageCost(
        stage="evaluation",
        seconds=read + asked + 10,
        peak_memory_bytes=chosen.memory.total_bytes + 2 * model.parameters,
        disk_bytes=2 * 10**6 + kept,
        basis=speed.basis,
    )


def _largest_tensor_bytes(model: ModelSpec) -> int:
    return 4 * max(tensor.elements for tensor in model.tensors)
