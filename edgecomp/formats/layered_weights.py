"""The weights of a model in one format, summed by layer and type: all that the predictors read.

A plan compares hundreds of candidates; summing tensors once a format keeps that instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES


@dataclass(frozen=True)
class Share:
    """Weights of one type: bytes they take, bytes that one token reads of their matrices, and
    multiplications that one token makes with them."""

    stored_bytes: int = 0
    streamed_bytes: float = 0.0
    products: float = 0.0

    def __add__(self, other: Share) -> Share:
        return Share(
            self.stored_bytes + other.stored_bytes,
            self.streamed_bytes + other.streamed_bytes,
            self.products + other.products,
        )

    def __sub__(self, other: Share) -> Share:
        return Share(
            self.stored_bytes - other.stored_bytes,
            self.streamed_bytes - other.streamed_bytes,
            self.products - other.products,
        )


Shares = dict[str, Share]
"""By tensor type."""


def add_shares(first: Shares, second: Shares, sign: int = 1) -> Shares:
    """Both together; the first without the second where `sign` is -1."""
    total = dict(first)
    for kind, share in second.items():
        before = total.get(kind, Share())
        total[kind] = before + share if sign > 0 else before - share
    return total


@dataclass(frozen=True)
class LayeredWeights:
    """Sums of each decoder layer, of the output head, and of what is only looked up."""

    layers: tuple[Shares, ...]
    head: Shares
    looked_up: Shares
    experts: tuple[Shares, ...] = ()
    """Sums of each layer's experts; empty where the model has none."""

    largest_bytes: int = 0
    """Size of the largest matrix of a layer, all its experts together."""

    @cached_property
    def stored_bytes(self) -> int:
        """Size of all weights together."""
        return sum_stored_bytes((self._first[-1], self.head, self.looked_up))

    def layers_between(self, first: int, last: int) -> Shares:
        """Sums of the layers first..last-1."""
        return _between(self._first, first, last)

    def experts_between(self, first: int, last: int) -> Shares:
        """Sums of the experts of the layers first..last-1."""
        return _between(self._first_experts, first, last) if self.experts else {}

    @cached_property
    def stored_before(self) -> tuple[int, ...]:
        """Bytes of the first n layers, for every n; then with the head."""
        sums = [sum_stored_bytes((part,)) for part in self._first]
        return (*sums, sums[-1] + sum_stored_bytes((self.head,)))

    @cached_property
    def experts_before(self) -> tuple[int, ...]:
        """Bytes of the experts of the first n layers, for every n."""
        return tuple(sum_stored_bytes((part,)) for part in self._first_experts)

    @cached_property
    def _first(self) -> tuple[Shares, ...]:
        return _running_sums(self.layers)

    @cached_property
    def _first_experts(self) -> tuple[Shares, ...]:
        return _running_sums(self.experts or tuple({} for _ in self.layers))


def _running_sums(layers: Iterable[Shares]) -> tuple[Shares, ...]:
    """Sums of the first n layers, for every n."""
    sums: list[Shares] = [{}]
    for layer in layers:
        sums.append(add_shares(sums[-1], layer))
    return tuple(sums)


def _between(sums: tuple[Shares, ...], first: int, last: int) -> Shares:
    if first == 0:
        return sums[last]
    return add_shares(sums[last], sums[first], sign=-1) if first < last else {}


def sum_stored_bytes(parts: Iterable[Shares]) -> int:
    """Bytes that `parts` take together."""
    return sum(share.stored_bytes for part in parts for share in part.values())


def layered_weights(model: ModelSpec, types: Mapping[str, str]) -> LayeredWeights:
    """Sum the tensors of `model` whose types are `types`, by GGUF name."""
    layers: list[_Sums] = [{} for _ in range(model.layers)]
    experts: list[_Sums] = [{} for _ in range(model.layers)]
    head: _Sums = {}
    looked_up: _Sums = {}
    largest_bytes = 0
    for tensor in model.tensors:
        kind = types[tensor.name]
        layer = tensor.layer
        if layer is not None:
            part = layers[layer]
        else:
            part = head if gives_logits(tensor, model) else looked_up
        size = TENSOR_TYPES[kind].size_bytes(tensor.elements)
        read = model.used_share(tensor) if len(tensor.shape) > 1 and part is not looked_up else 0
        amounts = (size, read * size, read * tensor.elements)
        _add(part, kind, amounts)
        if layer is not None:
            largest_bytes = max(largest_bytes, size)
            if "_exps" in tensor.name:
                _add(experts[layer], kind, amounts)
    return LayeredWeights(
        tuple(map(_shares, layers)),
        _shares(head),
        _shares(looked_up),
        tuple(map(_shares, experts)) if model.experts else (),
        largest_bytes,
    )


_Sums = dict[str, tuple[int, float, float]]


def _add(sums: _Sums, kind: str, amounts: tuple[int, float, float]) -> None:
    if kind in sums:
        before = sums[kind]
        amounts = (before[0] + amounts[0], before[1] + amounts[1], before[2] + amounts[2])
    sums[kind] = amounts


def _shares(sums: _Sums) -> Shares:
    return {kind: Share(*amounts) for kind, amounts in sums.items()}


def gives_logits(tensor: TensorSpec, model: ModelSpec) -> bool:
    """The matrix that gives the logits: a tied embedding serves as it."""
    if tensor.group == "embedding":
        return tensor.name == model.head_name
    return True
