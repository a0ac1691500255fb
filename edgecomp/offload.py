"""Splits of a model between the CPU and a graphics card, and what each pool must hold.

Candidates are: everything on the CPU, and as many of the last layers on the card as its memory
holds beside the KV cache of those layers, the compute buffer and the driver's own share. The
planner picks among them by predicted speed.
"""

from __future__ import annotations

from edgecomp.device import DeviceProfile
from edgecomp.layered_weights import LayeredWeights, stored
from edgecomp.memory import MemoryEstimate
from edgecomp.placement import Placement, on_gpu

DRIVER_BYTES = 400 * 10**6
"""What a graphics driver takes for a process's context and its kernels."""


def shared_bytes(memory: MemoryEstimate) -> int:
    """What a card holds beside weights and cache, however many layers are on it."""
    return memory.compute_bytes + memory.output_bytes + DRIVER_BYTES


def gpu_bytes(weights: LayeredWeights, memory: MemoryEstimate, gpu_layers: int) -> int:
    """Bytes a card must hold with `gpu_layers` on it."""
    part = on_gpu(weights, gpu_layers)
    cache = memory.kv_cache_bytes * part.layers // len(weights.layers)
    return stored((part.weights, part.head)) + cache + shared_bytes(memory)


def most_gpu_layers(weights: LayeredWeights, memory: MemoryEstimate, usable_bytes: int) -> int:
    """The largest `-ngl` whose share fits into `usable_bytes`; 0 where none does."""
    if gpu_bytes(weights, memory, 1) > usable_bytes:
        return 0
    low, high = 1, len(weights.layers) + 1
    while low < high:
        middle = (low + high + 1) // 2
        if gpu_bytes(weights, memory, middle) <= usable_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def placements(
    weights: LayeredWeights, memory: MemoryEstimate, device: DeviceProfile
) -> list[Placement]:
    """The placements worth comparing on this device."""
    choices = [Placement()]
    for gpu in device.gpus:
        pool = device.pool(gpu.pool)
        if pool.kind == "unified":
            # One memory for both: there is nothing to split.
            layers = len(weights.layers) + 1
        else:
            layers = most_gpu_layers(weights, memory, pool.usable_bytes)
        if layers > 0:
            choices.append(Placement(gpu=gpu.name, gpu_layers=layers))
    return choices


def pool_bytes(
    weights: LayeredWeights,
    memory: MemoryEstimate,
    device: DeviceProfile,
    placement: Placement,
    *,
    tied: bool,
) -> dict[str, int]:
    """Bytes each pool of the device must hold at the peak. `tied`: the head is the embedding, of
    which llama.cpp keeps a copy on the host for looking tokens up."""
    gpu = next((p for p in device.gpus if p.name == placement.gpu), None)
    system = device.system_pool.name
    if gpu is None or gpu.pool == system:
        return {system: memory.total_bytes}
    on_card = gpu_bytes(weights, memory, placement.gpu_layers)
    # The host keeps the process, and a compute buffer of its own where it still has layers.
    left = memory.total_bytes - (on_card - shared_bytes(memory))
    if tied:
        left += stored((weights.head,))
    return {gpu.pool: on_card, system: left}
