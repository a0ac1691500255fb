"""Which tensor gets how many bits: the best choice for a byte budget, or a fixed rule.

What each type costs a tensor is measured, in nats (sensitivity.py). To second order divergences of
independent errors add up: the expected loss of a choice is the sum over its tensors. The choice is
a multiple-choice knapsack, solved exactly as a mixed-integer programme (HiGHS, in scipy): minimise
the sum of losses over one type a tensor, bytes at most the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from edgecomp.common.errors import CompressionSettingsInvalid, ConstraintsImpossible
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import Mix
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

SMALLEST_GAP, LARGEST_GAP = 1e-6, 1e-2
"""Between the loss of an allocation and a bound below all: at the first the solver stops, above the
second nothing is taken that it stopped at."""

MOST_NODES = 2000
"""Nodes of the solver's tree, at most; real models take below a hundred."""

SOLVED, STOPPED = 0, 1
"""scipy's status: within the gap, or at a limit."""


class TensorSensitivity(FrozenModel):
    """What each type would cost one tensor: expected divergence from the model as it is, nats a
    token, by type name."""

    name: str
    elements: int
    losses: dict[str, float]
    sizes: dict[str, int] = Field(default={})
    """Bytes by type, where they are not those of GGUF's rows."""

    def size_bytes(self, kind: str) -> int:
        return self.sizes.get(kind) or TENSOR_TYPES[kind].size_bytes(self.elements)


class Sensitivities(FrozenModel):
    """The sensitivities of a model's tensors, by GGUF name."""

    schema_version: Literal[1] = 1
    tensors: tuple[TensorSensitivity, ...]


def allocate(sensitivities: Sensitivities, budget_bytes: int) -> dict[str, str]:
    """The type of each tensor that minimises the expected loss within `budget_bytes` for all.

    Raises ConstraintsImpossible where even the smallest types are too large, naming the nearest
    budget that works, and CompressionSettingsInvalid where the solver stops far from the best. The
    same input gives the same types on any machine.
    """
    # Half a second to import, which reading back what was allocated can do without.
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    tensors = sensitivities.tensors
    options = [(i, kind) for i, tensor in enumerate(tensors) for kind in tensor.losses]
    sizes = np.array([tensors[i].size_bytes(kind) for i, kind in options], dtype=np.float64)
    losses = np.array([tensors[i].losses[kind] for i, kind in options])
    least = sum(min(t.size_bytes(kind) for kind in t.losses) for t in tensors)
    if least > budget_bytes:
        raise ConstraintsImpossible(
            f"{budget_bytes:,} bytes are too few for these tensors: the smallest types need "
            f"{least:,}. Raise the size limit to that, or allow types with fewer bits."
        )
    owner = np.array([i for i, _ in options])
    one_each = coo_array((np.ones(len(options)), (owner, np.arange(len(options)))))
    # Scaled so that the solver's absolute tolerances stay far below one byte and one loss.
    result = milp(
        losses / max(losses.max(), 1e-30),
        integrality=np.ones(len(options), dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each.tocsr(), 1, 1),
            LinearConstraint(sizes[None] / budget_bytes, -np.inf, 1),
        ],
        # Nodes are counted and not seconds: what a busy machine finds is what an idle one finds.
        options={"mip_rel_gap": SMALLEST_GAP, "node_limit": MOST_NODES},
    )
    if result.status not in (SOLVED, STOPPED) or result.x is None or result.mip_gap > LARGEST_GAP:
        raise CompressionSettingsInvalid(
            f"The solver found no good allocation of types within {MOST_NODES:,} nodes "
            f"({result.message.rstrip('.')}). Go on with --mix none, or another size limit."
        )
    chosen = {
        tensors[i].name: kind for x, (i, kind) in zip(result.x, options, strict=True) if x > 0.5
    }
    return _within(chosen, sensitivities, budget_bytes)


def _within(
    chosen: dict[str, str], sensitivities: Sensitivities, budget_bytes: int
) -> dict[str, str]:
    """Keep the promise to the byte: floating-point solvers may pass the limit by a few."""
    tensors = sensitivities.tensors
    total = sum(tensor.size_bytes(chosen[tensor.name]) for tensor in tensors)
    while total > budget_bytes:
        moves = [
            (tensor.losses[kind] - tensor.losses[chosen[tensor.name]], tensor, kind)
            for tensor in tensors
            for kind in tensor.losses
            if tensor.size_bytes(kind) < tensor.size_bytes(chosen[tensor.name])
        ]
        _, tensor, kind = min(moves, key=lambda move: move[0])
        total -= tensor.size_bytes(chosen[tensor.name]) - tensor.size_bytes(kind)
        chosen[tensor.name] = kind
    return chosen


def named_mix(mix: Mix, model: ModelSpec) -> dict[str, str]:
    """A fixed mix by its name: the type of each matrix inside the blocks.

    `attention-8-ffn-4` is what UniComp's advice gives a model that lost too much reasoning (R71).
    """
    if mix != "attention-8-ffn-4":
        raise CompressionSettingsInvalid(f"There is no mix {mix!r}. Known: attention-8-ffn-4.")
    wanted: Mapping[str, str] = {"attention": "Q8_0", "ffn": "Q4_K", "experts": "Q4_K"}
    types = {}
    for tensor in model.tensors:
        if tensor.group in wanted and quantizable(tensor):
            kind = wanted[tensor.group]
            fits = tensor.shape[-1] % TENSOR_TYPES[kind].block_elements == 0
            # Of the 4-bit types with small blocks this is the one that is as small as Q4_K.
            types[tensor.name] = kind if fits else "Q4_0"
    return types
