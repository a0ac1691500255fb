"""Which tensors an artifact takes over from its source as they are, and which types hold another's
values exactly."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES


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
