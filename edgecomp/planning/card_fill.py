"""How many layers cards hold: bytes of any run of layers, and the splits that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate

from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.cache_memory import kv_layer_bytes
from edgecomp.planning.memory import (
    MemoryEstimate,
    card_compute_bytes,
    estimate_memory,
    pipeline_bytes,
)
from edgecomp.recipes.run_settings import RunSettings

DRIVER_BYTES = 400 * 10**6
"""What a graphics driver takes for a process's context and its kernels."""

RATIO_STEPS = 7
"""Halvings in the search for the evenest split: to a hundredth of a card."""


@dataclass(frozen=True)
class RuntimeFootprint:
    """What a model run with one context and micro batch asks of memories, whatever its format."""

    settings: RunSettings
    memory: MemoryEstimate
    """Without the weights."""

    kv_before: tuple[int, ...]
    """Bytes of the KV cache of the first n layers, for every n."""

    card_compute_bytes: int
    """The compute buffer of a card that holds a part of the layers."""

    pipeline_bytes: int
    """Compute buffer of one card where several hold everything between them."""

    tied: bool
    """The head is the embedding, of which llama.cpp keeps a copy on the host for looking up."""


def footprint(
    model: ModelSpec, settings: RunSettings, worker_bytes: int | None = None
) -> RuntimeFootprint:
    """What `model` run with `settings` asks beside its weights."""
    return RuntimeFootprint(
        settings=settings,
        memory=estimate_memory(model, 0, settings, worker_bytes),
        kv_before=(0, *accumulate(kv_layer_bytes(model, settings))),
        card_compute_bytes=card_compute_bytes(model, settings),
        pipeline_bytes=pipeline_bytes(model, settings),
        tied=model.tied_embeddings,
    )


@dataclass(frozen=True)
class MemoryDemand:
    """A footprint with weights in one format."""

    weights: LayeredWeights
    footprint: RuntimeFootprint

    @cached_property
    def memory(self) -> MemoryEstimate:
        """Everything together, wherever it lies."""
        return self.footprint.memory.model_copy(update={"weights_bytes": self.weights.stored_bytes})

    @cached_property
    def places(self) -> int:
        """Layers that `-ngl` counts: the decoder's and the head."""
        return len(self.weights.layers) + 1

    @cached_property
    def head_bytes(self) -> int:
        before = self.weights.stored_before
        return before[-1] - before[-2]

    def layer_bytes(self, first: int, last: int, cpu_expert_layers: int, *, kv_on_gpu: bool) -> int:
        """Weights and cache that a card holds with the layers first..last-1, the head being the
        layer `places - 1`."""
        weights, layers = self.weights, self.places - 1
        held = weights.stored_before[last] - weights.stored_before[first]
        if cpu_expert_layers > first:
            experts = weights.experts_before
            held -= experts[min(last, layers, cpu_expert_layers)] - experts[first]
        if kv_on_gpu:
            before = self.footprint.kv_before
            held += before[min(last, layers)] - before[min(first, layers)]
        return held


def card_bytes(
    demand: MemoryDemand,
    gpu_layers: int,
    counts: Sequence[int],
    cpu_expert_layers: int,
    *,
    kv_on_gpu: bool,
) -> list[int]:
    """All that each card holds, where `counts` of the last `gpu_layers` layers lie on each. A
    projector is llama.cpp's whole on one card, the first."""
    at, used = demand.places - gpu_layers, []
    beside = beside_layers_bytes(
        demand, gpu_layers, cpu_expert_layers, kv_on_gpu=kv_on_gpu, several=len(counts) > 1
    )
    for count in counts:
        held = demand.layer_bytes(at, at + count, cpu_expert_layers, kv_on_gpu=kv_on_gpu)
        used.append(held + beside if count else 0)
        at += count
    first = next((index for index, size in enumerate(used) if size), None)
    if first is not None:
        used[first] += demand.memory.projector_bytes
    return used


def beside_layers_bytes(
    demand: MemoryDemand, gpu_layers: int, cpu_expert_layers: int, *, kv_on_gpu: bool, several: bool
) -> int:
    """What a card holds beside weights and cache, however many layers are on it.

    Where something that is computed lies with the CPU, that is room for a copy of one of its
    matrices, which the card borrows for prompts; else, where the runtime sees several cards,
    whether or not all of them hold layers, the copies by which they take turns.
    """
    footprint, whole = demand.footprint, gpu_layers >= demand.places and not cpu_expert_layers
    if whole:
        compute = footprint.memory.compute_bytes
        compute += footprint.pipeline_bytes if several and kv_on_gpu else 0
    else:
        part = kv_on_gpu and not cpu_expert_layers
        compute = footprint.card_compute_bytes if part else footprint.memory.compute_bytes
        compute += demand.weights.largest_bytes
    return compute + footprint.memory.output_bytes + DRIVER_BYTES


def pack_layers_first_fit(
    demand: MemoryDemand,
    capacities: Sequence[int],
    gpu_layers: int,
    cpu_expert_layers: int,
    *,
    kv_on_gpu: bool,
) -> tuple[int, ...] | None:
    """Layers of each card, each filled before the next; None where they do not hold them all."""
    places = demand.places
    at, counts = places - gpu_layers, []
    beside = beside_layers_bytes(
        demand, gpu_layers, cpu_expert_layers, kv_on_gpu=kv_on_gpu, several=len(capacities) > 1
    )

    def fits(first: int, capacity: int, count: int) -> bool:
        held = demand.layer_bytes(first, first + count, cpu_expert_layers, kv_on_gpu=kv_on_gpu)
        return held + beside <= capacity

    projector = demand.memory.projector_bytes
    for index, size in enumerate(capacities):
        capacity = size - (projector if size else 0)
        projector = 0 if size else projector
        left = places - at
        if left and fits(at, capacity, left):
            counts.append(left)
        elif left and index < len(capacities) - 1:
            counts.append(largest_feasible(left - 1, partial(fits, at, capacity)))
        else:
            counts.append(0)
        at += counts[-1]
    return tuple(counts) if at == places else None


def pack_layers_balanced(
    demand: MemoryDemand,
    capacities: Sequence[int],
    gpu_layers: int,
    cpu_expert_layers: int,
    *,
    kv_on_gpu: bool,
) -> tuple[int, ...] | None:
    """As `pack_layers_first_fit`, with the fullest card as empty as can be."""
    best, low, high = None, 0.0, 1.0
    for _ in range(RATIO_STEPS):
        ratio = (low + high) / 2
        scaled = [round(ratio * capacity) for capacity in capacities]
        counts = pack_layers_first_fit(
            demand, scaled, gpu_layers, cpu_expert_layers, kv_on_gpu=kv_on_gpu
        )
        best, low, high = (counts, low, ratio) if counts else (best, ratio, high)
    return best


def largest_feasible(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that fits, where all smaller ones do; 0 where none does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
