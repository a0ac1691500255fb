"""How much a format is expected to lose before anything was measured, and what a task tolerates.

To second order, the divergence of a rounded model from its float base grows with the relative
squared error of its weights, and small models are the more sensitive ones. The factor is set by
published divergences of 8B models through llama.cpp (Q6_K to Q3_K_M lie within a factor of two of
it), the exponent by the divergence measured on the 135M demo model at 4 bits. It ranks candidates;
the evaluation of the artifact then says what was really lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from edgecomp.common.tasks import Task
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

Risk = Literal["LOW", "MEDIUM", "HIGH"]

HEAD_WORTH, EMBEDDING_WORTH, OTHER_WORTH = 7.0, 7.0, 7.0
ROLE_WORTHS: dict[str, float] = {}
FIRST_AND_LAST = 1.0
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


def error_worths(model: ModelSpec) -> dict[str, float]:
    """What a relative squared error of 1 in each matrix is expected to cost, in nats a token."""
    size = math.pow(ANCHOR_PARAMETERS / max(model.parameters, 1), SENSITIVITY_EXPONENT)
    each = size / max(model.used_parameters, 1)
    return {
        tensor.name: each * model.used_share(tensor) * tensor.elements * _role_worth(model, tensor)
        for tensor in model.tensors
        if len(tensor.shape) > 1
    }


def _role_worth(model: ModelSpec, tensor: TensorSpec) -> float:
    if tensor.layer is None:
        return HEAD_WORTH if tensor.name == model.head_name else EMBEDDING_WORTH
    role = tensor.name.split(".")[2].removesuffix("_exps").removesuffix("_shexp")
    worth = ROLE_WORTHS.get(role, OTHER_WORTH)
    ends = role.startswith("ffn_") and tensor.layer in (0, model.layers - 1)
    return worth * FIRST_AND_LAST if ends else worth


def expected_loss(tensor: TensorSpec, kind: str, worths: Mapping[str, float]) -> float:
    """What a type is expected to cost a matrix, in nats a token. One that keeps its source's type
    is not rounded again."""
    if kind == tensor.dtype:
        return 0.0
    return worths[tensor.name] * TENSOR_TYPES[kind].relative_error


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
