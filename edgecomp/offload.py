"""Splits of a model between the CPU and a graphics card, and what each pool must hold.

Candidates are: everything on the CPU, and as many of the last layers on the card as its memory
holds beside the KV cache of those layers, the compute buffer and the driver's own share. The
planner picks among them by predicted speed.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.device import DeviceProfile
from edgecomp.formats import TENSOR_TYPES
from edgecomp.memory import MemoryEstimate, kv_cache_bytes
from edgecomp.model import ModelSpec
from edgecomp.placement import Placement, layer_of, on_gpu
from edgecomp.runtimes.settings import RunSettings

DRIVER_BYTES = 400 * 10**6
"""What a graphics driver takes for a process's context and its kernels."""


def gpu_bytes(
    model: ModelSpec,
    types: Mapping[str, str],
    settings: RunSettings,
    memory: MemoryEstimate,
    gpu_layers: int,
) -> int:
    """Bytes a card must hold with `gpu_layers` on it."""
    placement = Placement(gpu="gpu", gpu_layers=gpu_layers)
    weights = sum(
        TENSOR_TYPES[types[tensor.name]].size_bytes(tensor.elements)
        for tensor in model.tensors
        if on_gpu(tensor, model, placement)
    )
    layers = min(max(gpu_layers - 1, 0), model.layers)
    cache = kv_cache_bytes(model, settings) * layers // model.layers
    return weights + cache + memory.compute_bytes + memory.output_bytes + DRIVER_BYTES


def most_gpu_layers(
    model: ModelSpec,
    types: Mapping[str, str],
    settings: RunSettings,
    memory: MemoryEstimate,
    usable_bytes: int,
) -> int:
    """The largest `-ngl` whose share fits into `usable_bytes`; 0 where none does."""
    layers = [0] * model.layers
    outside = 0
    for tensor in model.tensors:
        size = TENSOR_TYPES[types[tensor.name]].size_bytes(tensor.elements)
        layer = layer_of(tensor)
        if layer is not None:
            layers[layer] += size
        elif on_gpu(tensor, model, Placement(gpu="gpu", gpu_layers=1)):
            outside += size
    used = outside + memory.compute_bytes + memory.output_bytes + DRIVER_BYTES
    if used > usable_bytes:
        return 0
    cache = kv_cache_bytes(model, settings) / model.layers
    count = 1
    for size in reversed(layers):
        used += size + round(cache)
        if used > usable_bytes:
            return count
        count += 1
    return count


def placements(
    model: ModelSpec,
    types: Mapping[str, str],
    settings: RunSettings,
    memory: MemoryEstimate,
    device: DeviceProfile,
) -> list[Placement]:
    """The placements worth comparing on this device."""
    unified = device.pools[0].kind == "unified"
    choices = [Placement()]
    for gpu in device.gpus:
        if unified:
            # One memory for both: there is nothing to split.
            choices.append(Placement(gpu=gpu.name, gpu_layers=model.layers + 1))
            continue
        usable = device.pool(gpu.pool).usable_bytes
        layers = most_gpu_layers(model, types, settings, memory, usable)
        if layers > 0:
            choices.append(Placement(gpu=gpu.name, gpu_layers=layers))
    return choices


def pool_bytes(
    model: ModelSpec,
    types: Mapping[str, str],
    settings: RunSettings,
    memory: MemoryEstimate,
    device: DeviceProfile,
    placement: Placement,
) -> dict[str, int]:
    """Bytes each pool of the device must hold at the peak."""
    gpu = next((p for p in device.gpus if p.name == placement.gpu), None)
    system = device.system_pool.name
    if gpu is None or gpu.pool == system:
        return {system: memory.total_bytes}
    on_card = gpu_bytes(model, types, settings, memory, placement.gpu_layers)
    shared = memory.compute_bytes + memory.output_bytes + DRIVER_BYTES
    # The host keeps the process, and a compute buffer of its own where it still has layers.
    left = memory.total_bytes - (on_card - shared)
    return {gpu.pool: on_card, system: left}
