"""Which memory each part of a model lives in, as llama.cpp places whole layers."""

from __future__ import annotations

from typing import NamedTuple

from edgecomp.layered_weights import LayeredWeights, Shares
from edgecomp.value import Value


class Placement(Value):
    """A split of the layers between the CPU and one graphics card."""

    gpu: str | None = None
    """The card's processor in the device profile; None: everything runs on the CPU."""

    gpu_layers: int = 0
    """llama.cpp's `-ngl`: layers on the card from the last on, the output head counted as one."""


class Part(NamedTuple):
    """What one processor computes: some of the layers, and the output head or not (empty)."""

    layers: int
    weights: Shares
    head: Shares


def on_gpu(weights: LayeredWeights, gpu_layers: int) -> Part:
    """What llama.cpp puts on the card: the head first of all, then layers from the last on."""
    if gpu_layers <= 0:
        return Part(0, {}, {})
    total = len(weights.layers)
    layers = min(gpu_layers - 1, total)
    return Part(layers, weights.layers_between(total - layers, total), weights.head)


def on_cpu(weights: LayeredWeights, gpu_layers: int) -> Part:
    """What is left to the CPU's arithmetic; looked-up embeddings cost no arithmetic."""
    layers = len(weights.layers) - min(max(gpu_layers - 1, 0), len(weights.layers))
    head = weights.head if gpu_layers <= 0 else {}
    return Part(layers, weights.layers_between(0, layers), head)
