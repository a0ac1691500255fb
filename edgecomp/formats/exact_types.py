"""Which tensors an artifact takes over from its source as they are, and which types hold another's
values exactly."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

FOUR_BITS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
FIVE_BITS = ("Q5_0", "Q5_1", "Q8_0")
TERNARY = ("Q2_K", "Q3_K", *FOUR_BITS, "Q4_K", "Q5_K", "Q6_K")
EXACT_TYPES = {
    "F16": ("F32",),
    "BF16": ("F32",),
    "Q8_0": ("F32",),
    "Q4_0": ("Q4_1", *FIVE_BITS, "F32"),
    "Q4_1": ("Q5_1", "F32"),
    "Q5_0": ("Q5_1", "Q8_0", "F32"),
    "Q5_1": ("F32",),
    "IQ4_NL": ("Q8_0", "F32"),
    "MXFP4": (*FIVE_BITS, "F16", "BF16", "F32"),
    "Q3_K": ("Q6_K", "F32"),
    "Q4_K": ("Q5_K", "F32"),
    "TQ1_0": (*TERNARY, "TQ2_0", "F32"),
    "TQ2_0": (*TERNARY, "TQ1_0", "F32"),
}
"""The other types that hold a type's values to the bit, with scales of their own kind: a test packs
blocks into each. MXFP4's powers of two must be within float16, as those of weights are. It is what
the types can hold, not what a quantizer finds: that of llama.cpp scales by the largest weight."""


FOUND_AGAIN = ("Q4_0", "Q5_0")
"""Of those that hold a grid's values, the ones whose blocks compress/grids.py finds."""

LAST_PLACE = 2.0**-11
"""Of a float16, relative to it."""


def kept_tensors(model: ModelSpec, types: Mapping[str, str]) -> tuple[str, ...]:
    """The quantized tensors of a GGUF `model` whose type stays where its tensors get `types`, by
    GGUF name: their blocks are copied, and nothing is lost.

    Rounding anew would not give them back: what chooses scales looks for the best of any weights,
    and finds other blocks for up to two thirds of Q4_K's (relative error 4e-5).
    """
    if model.source != "gguf":
        return ()
    return tuple(
        tensor.name
        for tensor in model.tensors
        if types.get(tensor.name) == tensor.dtype and not TENSOR_TYPES[tensor.dtype].is_float
    )


def exact_types(kind: str) -> tuple[str, ...]:
    """The types that hold every value a tensor of type `kind` can have, itself first."""
    return (kind, *EXACT_TYPES.get(kind, ()))


def regained_error(kind: str, tensor: TensorSpec) -> float | None:
    """The relative squared error that is left of the source's `tensor` in an artifact's type `kind`
    where its values are found again; None where they are rounded anew.

    Its own blocks are copied. A grid's come out of our solvers to the bit where its codes are
    symmetric; others' steps may be off in their last place, since weights are kept in 16 bits
    between.
    """
    if kind == tensor.dtype:
        return 0.0
    grid = tensor.grid
    if grid is None or kind not in FOUND_AGAIN or kind not in exact_types_of_grid(grid):
        return None
    return 0.0 if grid.symmetric else LAST_PLACE**2


def exact_types_of_grid(grid: IntegerGrid) -> tuple[str, ...]:
    """The types that hold the weights of a GPTQ, AWQ or compressed-tensors checkpoint exactly. None
    for 8 bits, whose -128 no kernel of Q8_0's may meet.

    Our own search finds the blocks of FOUND_AGAIN, llama.cpp's not all of them.
    """
    if grid.group % TENSOR_TYPES["Q4_0"].block_elements:
        return ()
    top = (1 << grid.bits) - 1
    middle = 1 << (grid.bits - 1)
    lowest, highest = (-middle, middle - 1) if grid.symmetric else (-top, top)
    for kinds, low, high in ((FOUR_BITS, -8, 7), (FIVE_BITS, -16, 15), (("Q8_0",), -127, 127)):
        if low <= lowest and highest <= high:
            return kinds
    return ()
