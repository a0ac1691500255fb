"""What a recipe's stages need on the machine that does the work, before they start.

Passes over blocks cost 2 operations a parameter and token, training 6 (Kaplan et al., arXiv
2001.08361).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecomp.formats.solved_types import VECTOR_TYPES
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES, usable_types
from edgecomp.planning.plan import StageCost
from edgecomp.recipes.compression_limits import ROWS_COMPARED, STATES_BYTES, WAITING_BYTES
from edgecomp.recipes.distillation import STATE_BYTES_PER_PARAMETER, target_bytes, training_flops
from edgecomp.recipes.stages import DistillStage, PruneStage, Stage, staged_model
from edgecomp.recipes.tuning import TuningSettings

CALIBRATION_TOKENS = 128 * 256
ROW_TOKENS = 256
TORCH_BYTES = 450 * 10**6
START_SECONDS = 6.0
"""Time until a process has imported torch and transformers."""

ACTIVATIONS_PER_LAYER = 20
"""Floats of the width that training keeps of each token and layer."""

ROUNDING_OPERATIONS = 10_000
"""Operations of trying one type on one weight: rounding to nearest searches the scales of each
block. From one run of the demo model's student on 2 busy cores, so rather too many."""

VECTOR_EFFORT = 5
"""How many times as much a type whose codes come from a codebook takes."""

ZERO_POINT_EFFORT = 3
"""And one with whole zero points, of which several are tried."""

TOKENS_PER_BATCH = 1024
"""Of the block walker (compress/blocks.py)."""

LOGITS_KEPT = 4
"""Copies of the logits in training: themselves, their log-softmax, and the gradients of both."""


TUNED_BYTES_PER_PARAMETER = 5
"""The weights as floats, of which each matrix makes way for its codes and scales, and Adam's state
of the scales."""

HEADS_TUNED = 4
"""Copies of the head in tuning: its values, its units, the gradient, and a product of these."""


@dataclass(frozen=True)
class TorchRate:
    """Operations a second that whole decoder blocks reach here, and how that is known."""

    flops: float
    basis: str


def stage_costs(model: ModelSpec, stages: Sequence[Stage], rate: TorchRate) -> Iterator[StageCost]:
    """The cost of each stage of a recipe for `model`, in order."""
    for number, stage in enumerate(stages):
        before, after = (staged_model(model, stages[:n]) for n in (number, number + 1))
        if isinstance(stage, DistillStage):
            yield _targets(model, stage, rate)
            yield _training(after, stage, rate)
        else:
            yield _walk_cost(before, after, stage, rate)


def _walk_cost(before: ModelSpec, after: ModelSpec, stage: Stage, rate: TorchRate) -> StageCost:
    """Three passes of the calibration over the blocks, one at a time; SparseGPT's sweep beside."""
    flops = 6.0 * before.used_parameters * CALIBRATION_TOKENS
    memory = TORCH_BYTES + _block_bytes(before) + _hidden_bytes(before)
    if isinstance(stage, PruneStage) and stage.method == "sparsegpt":
        memory += waiting_bytes(before)
        matrices = block_matrices(before)
        flops += sum(2.0 * t.elements * t.shape[-1] for t in matrices)
        flops += sum(hessian_operations(before, t, CALIBRATION_TOKENS) for t in matrices)
    return StageCost(
        stage="pruning" if isinstance(stage, PruneStage) else "structured pruning",
        seconds=START_SECONDS + flops / rate.flops,
        peak_memory_bytes=memory,
        disk_bytes=4 * after.parameters,
        basis=rate.basis,
    )


def _targets(teacher: ModelSpec, stage: DistillStage, rate: TorchRate) -> StageCost:
    head = 4 * teacher.vocabulary * teacher.embedding_length
    logits = 2 * 4 * 1024 * teacher.vocabulary
    hidden = 2 * 4 * stage.tokens * teacher.embedding_length
    return StageCost(
        stage="teacher's logits",
        seconds=START_SECONDS + 2.0 * teacher.used_parameters * stage.tokens / rate.flops,
        peak_memory_bytes=TORCH_BYTES + _block_bytes(teacher) + head + logits + hidden,
        disk_bytes=target_bytes(teacher, stage.tokens, stage.top_k),
        basis=rate.basis,
    )


def _training(student: ModelSpec, stage: DistillStage, rate: TorchRate) -> StageCost:
    """All of the student with its optimizer is in memory, unlike everywhere else."""
    measured = student.parameters * 2.0 * stage.held_out_share * stage.tokens
    times = 1 + (stage.steps or 0) / stage.evaluate_every
    flops = training_flops(student, stage, ROW_TOKENS) + times * measured
    batch = stage.batch_samples * ROW_TOKENS
    activations = 4 * batch * ACTIVATIONS_PER_LAYER * student.layers * student.embedding_length
    logits = 4 * batch * LOGITS_KEPT * student.vocabulary
    state = STATE_BYTES_PER_PARAMETER * student.parameters
    return StageCost(
        stage="distillation",
        seconds=START_SECONDS + (60 * stage.minutes if stage.minutes else flops / rate.flops),
        # Saving gathers the state once more, with the best weights beside the present ones.
        peak_memory_bytes=TORCH_BYTES + 2 * state + activations + logits,
        disk_bytes=state + 4 * student.parameters,
        basis="the budget" if stage.minutes else rate.basis,
    )


def weighing_cost(model: ModelSpec, rate: TorchRate) -> StageCost:
    """Cost of measuring what each token counts in each matrix: each block runs twice, and once back
    to its inputs; so does the head."""
    matrices = sum(t.shape[0] if len(t.shape) > 2 else 1 for t in block_matrices(model))
    batch = 4 * TOKENS_PER_BATCH * ACTIVATIONS_PER_LAYER * model.embedding_length
    counted = CALIBRATION_TOKENS * matrices
    return StageCost(
        stage="weighing",
        seconds=START_SECONDS + 3 * 2.0 * model.used_parameters * CALIBRATION_TOKENS / rate.flops,
        peak_memory_bytes=TORCH_BYTES
        + 2 * _block_bytes(model)
        + STATES_BYTES
        + batch
        + 6 * counted,
        disk_bytes=2 * counted,
        basis=rate.basis,
    )


def tuning_cost(
    model: ModelSpec, settings: TuningSettings, row_tokens: int, rate: TorchRate
) -> StageCost:
    """Cost of tuning scales and norms on the calibration's rows: the float model's predictions are
    written down once, then the rounded one is in memory whole, as floats while it is read."""
    seen = settings.passes * (1 - settings.held_out_share) * CALIBRATION_TOKENS
    measured = (settings.passes + 1) * settings.held_out_share * CALIBRATION_TOKENS
    flops = 2.0 * model.used_parameters * (CALIBRATION_TOKENS + 3 * seen + measured)
    head = 4 * HEADS_TUNED * model.vocabulary * model.embedding_length
    activations = 4 * row_tokens * ACTIVATIONS_PER_LAYER * model.layers * model.embedding_length
    logits = 4 * row_tokens * LOGITS_KEPT * model.vocabulary
    held = TUNED_BYTES_PER_PARAMETER * model.parameters
    targets = target_bytes(model, CALIBRATION_TOKENS, settings.top_k)
    return StageCost(
        stage="tuning",
        seconds=2 * START_SECONDS + flops / rate.flops,
        peak_memory_bytes=TORCH_BYTES + held + head + activations + logits,
        disk_bytes=targets + 6 * model.parameters,
        basis=rate.basis,
    )


def block_matrices(model: ModelSpec) -> list[TensorSpec]:
    """The matrices inside the blocks, [rows, columns] or [experts, rows, columns]."""
    return [t for t in model.tensors if len(t.shape) > 1 and t.name.startswith("blk.")]


def waiting_bytes(model: ModelSpec) -> int:
    """What waits for its turn while a block is solved in one pass (compress/in_order.py)."""
    widest = max((t.shape[-1] for t in block_matrices(model)), default=0)
    size_bytes = 4 * CALIBRATION_TOKENS * widest
    return size_bytes if size_bytes <= WAITING_BYTES else 0


def hessian_operations(model: ModelSpec, tensor: TensorSpec, tokens: int) -> float:
    """Operations of X^T X of a matrix's inputs; a token's row is an input of each expert it is
    routed to."""
    readers = model.experts_used if len(tensor.shape) == 3 else 1
    return 2.0 * tokens * readers * tensor.shape[-1] ** 2


def _block_bytes(model: ModelSpec) -> int:
    return 2 * 4 * model.parameters // max(model.layers, 1)


def _hidden_bytes(model: ModelSpec) -> int:
    return 2 * 4 * CALIBRATION_TOKENS * model.embedding_length


def _trials(types: Sequence[str], columns: int) -> int:
    """What trying all types that so many columns allow takes, in trials of a plain one."""
    usable = usable_types(types, columns)
    return sum(map(_effort, usable))


def _effort(kind: str) -> int:
    if kind in VECTOR_TYPES:
        return VECTOR_EFFORT
    return ZERO_POINT_EFFORT if TENSOR_TYPES[kind].zero_points else 1


def sensitivity_cost(
    model: ModelSpec, types: Sequence[str], tokens: int, carried_tokens: int, rate: TorchRate
) -> StageCost:
    """Cost of comparing `types` on some rows of every matrix of the blocks and of the head,
    and of trying one for real: on so many tokens, of which some are carried on from each block to
    the head."""
    matrices = block_matrices(model)
    inside, head = sum(t.elements for t in matrices), model.vocabulary * model.embedding_length
    compared = sum(
        min(t.elements // t.shape[-1], ROWS_COMPARED) * t.shape[-1] * _trials(types, t.shape[-1])
        for t in matrices
    )
    flops = sum(hessian_operations(model, t, tokens) for t in matrices)
    flops += ROUNDING_OPERATIONS * (inside + head + compared)
    used = sum(model.used_share(t) * t.elements for t in matrices)
    # Every block runs as it is and for its statistics; and on a few rows once for each matrix.
    passes = 2.0 * used * (2 * tokens + carried_tokens * len(matrices) / max(model.layers, 1))
    passes += 2.0 * carried_tokens * (used * model.layers / 2 + head * (model.layers + 2))
    carried = 4 * carried_tokens * model.embedding_length * (model.layers + 1)
    return StageCost(
        stage="sensitivities",
        seconds=START_SECONDS + (flops + passes) / rate.flops,
        peak_memory_bytes=TORCH_BYTES + 3 * _block_bytes(model) + carried,
        disk_bytes=10**6,
        basis=rate.basis,
    )
