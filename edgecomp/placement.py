"""Which memory each part of a model lives in, as llama.cpp places whole layers."""

from __future__ import annotations

from edgecomp.layered_weights import LayeredWeights, Shares
from edgecomp.value import Value


class Placement(Value):
    """A split of the layers between the CPU and one graphics card."""

    gpu: str | None = None
    """The card's processor in the device profile; None: everything runs on the CPU."""

    gpu_layers: int = 0
    """llama.cpp's `-ngl`: layers on the card from the last on, the output head counted as one."""


def on_gpu(weights: LayeredWeights, gpu_layers: int) -> tuple[Shares, ...]:
    """What llama.cpp puts on the card: the head first of all, then layers from the last on."""
    if gpu_layers <= 0:
        return ()
    first = len(weights.layers) - min(gpu_layers - 1, len(weights.layers))
    return (weights.head, *weights.layers[first:])


def on_cpu(weights: LayeredWeights, gpu_layers: int) -> tuple[Shares, ...]:
    """What is left to the CPU's arithmetic; looked-up embeddings cost no arithmetic."""
    if gpu_layers <= 0:
        return (weights.head, *weights.layers)
    return weights.layers[: len(weights.layers) - min(gpu_layers - 1, len(weights.layers))]
