"""The format whose types are chosen tensor by tensor: what a number of bytes makes of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from edgecomp.formats.expected_loss import expected_loss
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.formats.solved_types import SOLVED_TYPES
from edgecomp.formats.type_frontier import Loss, TypeFrontier, file_bytes, type_frontier
from edgecomp.models.gguf.header import DEFAULT_ALIGNMENT
from edgecomp.models.gguf.size import padded_bytes
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import usable_types


@dataclass(frozen=True)
class Mixture:
    """All mixtures of one model."""

    model: ModelSpec
    header_bytes: int
    worths: Mapping[str, float]
    """What a relative error of 1 in each matrix costs (expected_loss.error_worths)."""

    own_types: Mapping[str, str]
    """The types of the tensors that have no choice."""

    _frontiers: dict[frozenset[str], TypeFrontier] = field(default_factory=dict)

    @cached_property
    def overhead_bytes(self) -> int:
        """What a file holds beside the tensors that have a choice."""
        fixed = (t for t in self.model.tensors if t.name not in self.choices)
        return padded_bytes(self.header_bytes, DEFAULT_ALIGNMENT) + sum(
            file_bytes(tensor, self.own_types[tensor.name]) for tensor in fixed
        )

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """The types that each matrix can take."""
        return mixture_choices(self.model)

    @cached_property
    def smallest_weights(self) -> LayeredWeights:
        """The sums of the mixture with the fewest bytes."""
        types = {**self.own_types, **self.frontier().within(0)}
        return layered_weights(self.model, types)

    def frontier(self, without: Collection[str] = ()) -> TypeFrontier:
        """The least expected loss for every number of bytes, `without` some types."""
        key = frozenset(without)
        if key not in self._frontiers:
            self._frontiers[key] = self.weighed_frontier(self.loss, key)
        return self._frontiers[key]

    def weighed_frontier(self, loss: Loss, without: Collection[str] = ()) -> TypeFrontier:
        """The least of another `loss` for every number of bytes."""
        choices = {n: [k for k in kinds if k not in without] for n, kinds in self.choices.items()}
        return type_frontier(choices, self.model.tensors, loss)

    def loss(self, tensor: TensorSpec, kind: str) -> float:
        """What a type is expected to cost a tensor, in nats a token."""
        return expected_loss(tensor, kind, self.worths)


def mixture_choices(model: ModelSpec) -> dict[str, list[str]]:
    """The types that a mixture can give each matrix of `model`: those whose codes our solvers
    choose, where the columns divide by their blocks."""
    matrices = (tensor for tensor in model.tensors if quantizable(tensor))
    choices = {t.name: usable_types(SOLVED_TYPES, t.shape[-1]) for t in matrices}
    return {name: kinds for name, kinds in choices.items() if kinds}
