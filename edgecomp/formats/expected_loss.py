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
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

Risk = Literal["LOW", "MEDIUM", "HIGH"]

NATS_PER_RELATIVE_ERROR = 7.0
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


def relative_error(model: ModelSpec, types: Mapping[str, str]) -> float:
    """Mean relative squared rounding error over the weights that are multiplied.

    A tensor that keeps its source's type is not rounded again.
    """
    lost = total = 0.0
    for tensor in model.tensors:
        if len(tensor.shape) < 2:
            continue
        total += tensor.elements
        if types[tensor.name] != tensor.dtype:
            lost += tensor.elements * TENSOR_TYPES[types[tensor.name]].relative_error
    return lost / max(total, 1.0)


def expected_divergence(model: ModelSpec, types: Mapping[str, str]) -> float:
    """Expected Kullback-Leibler divergence from the base, nats a token."""
    size = math.pow(ANCHOR_PARAMETERS / max(model.parameters, 1), SENSITIVITY_EXPONENT)
    return NATS_PER_RELATIVE_ERROR * size * relative_error(model, types)


def risk(divergence: float, task: Task) -> Risk:
    """LOW up to half of what the task tolerates, MEDIUM up to all of it, HIGH beyond."""
    share = divergence / TOLERATED_NATS[task]
    return "LOW" if share <= 0.5 else "MEDIUM" if share <= 1.0 else "HIGH"
