"""How much a format is expected to lose before anything was measured, and what a task tolerates.

To second order, the divergence of a rounded model from its float base grows with the relative
squared error of its weights. What an error of a matrix is worth was measured for every matrix of
three models (compress/sensitivity.py; SmolLM2 135M, Gemma 3 270M, Qwen2.5-Coder 0.5B, 2026-11-28):
within a layer the matrices of a role have the same share of the whole, however wide they are, to a
factor of two, and small models are the more sensitive ones. It ranks candidates and fills budgets;
a run measures its own model, and the evaluation of the artifact says what was really lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from edgecomp.common.tasks import Task
from edgecomp.formats.exact_types import regained_error
from edgecomp.formats.solved_types import INTEGER_TYPES, SOLVED_TYPES
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

Risk = Literal["LOW", "MEDIUM", "HIGH"]

BLOCKS_WORTH, HEAD_WORTH, EMBEDDING_WORTH = 3.5, 1.5, 0.3
"""Nats that a relative error of 1 costs a model of 8 B parameters in all its blocks, in its head,
and in an embedding that is looked up alone. A tied one costs both."""

ROLE_SHARES = {
    "attn_q": 0.22, "attn_k": 0.31, "attn_v": 1.15, "attn_qkv": 1.7, "attn_output": 0.56,
    "ffn_gate": 0.69, "ffn_up": 1.07, "ffn_down": 1.0,
}  # fmt: skip
"""What an error is worth by the role of the matrix, relative to that of the down projection."""

OTHER_SHARE = 0.7
SOLVED_SHARE = 0.45
"""What is left of a loss where our solvers choose the codes (AWQ's scales and GPTQ's feedback)
instead of rounding each weight by itself: measured divergence over the sum of what was measured of
single tensors, each rounded (benchmarks/RESULTS.md)."""

FIRST_AND_LAST = 2.0
"""How much more the feed-forward matrices of the first and the last layer are worth."""

ANCHOR_PARAMETERS = 8e9
SENSITIVITY_EXPONENT = 0.45
TOLERATED_NATS: dict[Task, float] = {
    "knowledge": 0.15,
    "general": 0.08,
    "instruction": 0.05,
    "multilingual": 0.05,
    "reasoning": 0.04,
    "code": 0.04,
    "safety": 0.02,
}
"""Knowledge survives compression; the rest does not (R4, R25, R26): the tolerated divergence falls
in the order in which UniComp finds the capabilities to suffer, and 4 bits pass for all but safety
(R36, R37)."""


TASK_RISK: dict[Task, Risk] = {
    "knowledge": "LOW",
    "general": "MEDIUM",
    "instruction": "MEDIUM",
    "multilingual": "HIGH",
    "reasoning": "HIGH",
    "code": "HIGH",
    "safety": "HIGH",
}
"""What compressing for a task risks before any format is chosen (R26)."""


def size_factor(model: ModelSpec) -> float:
    """How much more an error costs `model` than one of ANCHOR_PARAMETERS."""
    return math.pow(ANCHOR_PARAMETERS / max(model.parameters, 1), SENSITIVITY_EXPONENT)


def error_worths(model: ModelSpec) -> dict[str, float]:
    """What a relative squared error of 1 in each matrix is expected to cost, in nats a token."""
    size = size_factor(model)
    matrices = [tensor for tensor in model.tensors if len(tensor.shape) > 1]
    shares = {t.name: _share(model, t) for t in matrices if t.layer is not None}
    scale = size * BLOCKS_WORTH / max(sum(shares.values()), 1e-9)
    worths = {name: scale * share for name, share in shares.items()}
    for tensor in matrices:
        if tensor.layer is None:
            worths[tensor.name] = size * _worth_outside(model, tensor)
    return worths


def _share(model: ModelSpec, tensor: TensorSpec) -> float:
    role = tensor.name.split(".")[2].removesuffix("_exps").removesuffix("_shexp")
    share = ROLE_SHARES.get(role, OTHER_SHARE)
    ends = role.startswith("ffn_") and tensor.layer in (0, model.layers - 1)
    return share * FIRST_AND_LAST if ends else share


def _worth_outside(model: ModelSpec, tensor: TensorSpec) -> float:
    if tensor.name != model.head_name:
        return EMBEDDING_WORTH
    return HEAD_WORTH + (EMBEDDING_WORTH if model.tied_embeddings else 0.0)


def expected_loss(tensor: TensorSpec, kind: str, worths: Mapping[str, float]) -> float:
    """What a type is expected to cost a matrix, in nats a token, with codes that our solvers choose
    where they know the type. One that gives its source's values back loses next to nothing."""
    regained = regained_error(kind, tensor)
    if regained is not None:
        return worths[tensor.name] * regained
    solved = kind in SOLVED_TYPES or kind in INTEGER_TYPES
    share = SOLVED_SHARE if solved else 1.0
    return share * worths[tensor.name] * TENSOR_TYPES[kind].relative_error


def expected_divergence(
    model: ModelSpec, types: Mapping[str, str], worths: Mapping[str, float] | None = None
) -> float:
    """Expected Kullback-Leibler divergence from the base, nats a token; `worths`: the model's
    `error_worths`, where many formats of it are compared."""
    worths = worths or error_worths(model)
    by_name = ((tensor, types[tensor.name]) for tensor in model.tensors if tensor.name in worths)
    return sum(expected_loss(tensor, kind, worths) for tensor, kind in by_name)


def risk(divergence: float, task: Task) -> Risk:
    """LOW up to half of what the task tolerates, MEDIUM up to all of it, HIGH beyond."""
    share = divergence / TOLERATED_NATS[task]
    return "LOW" if share <= 0.5 else "MEDIUM" if share <= 1.0 else "HIGH"
