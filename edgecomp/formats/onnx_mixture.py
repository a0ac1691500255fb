"""The ONNX format whose types are chosen matrix by matrix: what a number of bytes makes of a model.

The builder puts the rows of q, k and v into one operator: they share a type. So does a table with
the head that it is as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import NamedTuple

from edgecomp.formats.expected_loss import error_worths, expected_loss
from edgecomp.formats.onnx_formats import MIX_TYPES, is_product, onnx_tensor_bytes
from edgecomp.formats.type_frontier import TypeFrontier, type_frontier
from edgecomp.models.spec import EMBEDDING, ModelSpec, TensorSpec
from edgecomp.models.tensor_types import usable_types

FUSED = ("attn_q", "attn_k", "attn_v")
"""Roles whose rows follow one another in one operator."""


class Shared(NamedTuple):
    """Matrices of the model that have one type, and the rows of all as one tensor."""

    parts: tuple[TensorSpec, ...]
    whole: TensorSpec

    @property
    def choices(self) -> list[str]:
        """The types that it can have."""
        return usable_types(MIX_TYPES, self.whole.shape[1])


class OnnxMixture:
    """All mixtures of one model."""

    def __init__(self, model: ModelSpec) -> None:
        self.model = model
        self._worths = error_worths(model)

    @cached_property
    def shared(self) -> tuple[Shared, ...]:
        """The matrices that have a choice of types."""
        found = (*_fused(self.model), *_alone(self.model))
        return tuple(sorted((s for s in found if s.choices), key=lambda s: s.whole.name))

    def frontier(self, without: Collection[str] = ()) -> TypeFrontier:
        """The least expected loss for every number of bytes, `without` some types; by the name of
        what shares a type."""
        parts = {shared.whole.name: shared.parts for shared in self.shared}
        choices = {
            shared.whole.name: [kind for kind in shared.choices if kind not in without]
            for shared in self.shared
        }

        def loss(tensor: TensorSpec, kind: str) -> float:
            return sum(expected_loss(part, kind, self._worths) for part in parts[tensor.name])

        wholes = [shared.whole for shared in self.shared]
        return type_frontier(choices, wholes, loss, stored_bytes)

    def by_tensor(self, types: Mapping[str, str]) -> dict[str, str]:
        """The type of each tensor, given those of what shares one."""
        return {
            part.name: types[shared.whole.name]
            for shared in self.shared
            for part in shared.parts
            if shared.whole.name in types
        }

    @cached_property
    def smallest_types(self) -> dict[str, str]:
        """The fewest bytes, by tensor."""
        return self.by_tensor(self.frontier().within(0))


def stored_bytes(tensor: TensorSpec, kind: str) -> int:
    """Bytes of a tensor in external data."""
    return onnx_tensor_bytes(tensor.shape, kind)


def _fused(model: ModelSpec) -> list[Shared]:
    """The rows of q, k and v of each layer that has all three."""
    tensors = {tensor.name: tensor for tensor in model.tensors}
    found = []
    for layer in range(model.layers):
        names = [f"blk.{layer}.{role}.weight" for role in FUSED]
        if all(name in tensors for name in names):
            parts = tuple(tensors[name] for name in names)
            rows = sum(part.shape[0] for part in parts)
            whole = parts[0].model_copy(update={"shape": (rows, parts[0].shape[1])})
            found.append(Shared(parts, whole))
    return found


def _alone(model: ModelSpec) -> list[Shared]:
    fused = {part.name for shared in _fused(model) for part in shared.parts}
    return [
        Shared((tensor,), tensor)
        for tensor in model.tensors
        if tensor.name not in fused and (is_product(tensor, model) or tensor.name == EMBEDDING)
    ]
