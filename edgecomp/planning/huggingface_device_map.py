"""An `accelerate` device map: where each module of a transformers model lies.

Whole layers are placed as for llama.cpp, which also keeps a layer's cache beside it; what neither
the cards nor the system's memory hold stays on the disk. Activations are estimated as llama.cpp's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights, sum_stored_bytes
from edgecomp.models.architectures import LLAMA_TENSORS
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.card_fill import footprint
from edgecomp.planning.offload import Offload, fastest, offloads
from edgecomp.planning.placement import parts
from edgecomp.recipes.run_settings import RunSettings

Place = int | Literal["mps", "cpu", "disk"]

TORCH_BACKENDS = ("cuda", "rocm", "metal")
"""Those whose cards torch numbers, and Apple's, which it calls `mps`."""


def device_map(
    model: ModelSpec, types: Mapping[str, str], device: DeviceProfile, settings: RunSettings
) -> dict[str, Place]:
    """Module names to places, for `from_pretrained(..., device_map=...)`, of a model whose tensors
    have `types`, by GGUF name."""
    weights = layered_weights(model, types)
    option = _option(model, weights, device, settings)
    row = model.family
    names = (row.hf_tensors if row else {}) or LLAMA_TENSORS
    prefix = row.hf_layers if row else "model.layers"
    layers = list(_places(weights, device, option))
    embedding = _embedding_place(model, weights, device, option, layers)
    top = prefix.rpartition(".")[0]
    found: dict[str, Place] = {str(names["token_embd"]): embedding}
    if "position_embd" in names:
        found[str(names["position_embd"])] = embedding
    else:
        found[f"{top}.rotary_emb"] = layers[-1]
    found |= {f"{prefix}.{at}": place for at, place in enumerate(layers[:-1])}
    return found | {str(names["output_norm"]): layers[-1], "lm_head": layers[-1]}


def _option(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, settings: RunSettings
) -> Offload:
    """The fastest way of whole layers with their cache, on cards that torch knows."""
    on_cpu, *others = offloads(weights, [footprint(model, settings)], device)
    known = {gpu.name for gpu in device.gpus if gpu.backend in TORCH_BACKENDS}
    options = [
        option
        for kind in others
        for option in kind
        if known.issuperset(option.placement.gpus)
        and option.placement.kv_on_gpu
        and not option.placement.cpu_expert_layers
    ]
    return fastest(model, weights, device, options or on_cpu)


def _places(weights: LayeredWeights, device: DeviceProfile, option: Offload) -> Iterator[Place]:
    """Where each decoder layer lies, then the head."""
    cpu, *cards = parts(weights, option.placement)
    system = device.system_pool
    missing = option.pool_bytes[system.name] - system.usable_bytes
    before = weights.stored_before
    for layer in range(cpu.last):
        yield "disk" if before[layer] < missing else "cpu"
    if cpu.head:
        yield "cpu"
    for card in cards:
        yield from [_card(device, card.gpu)] * (card.layers + bool(card.head))


def _card(device: DeviceProfile, name: str | None) -> Place:
    gpu = next(gpu for gpu in device.gpus if gpu.name == name)
    alike = [other.name for other in device.gpus if other.backend == gpu.backend]
    return "mps" if gpu.backend == "metal" else alike.index(gpu.name)


def _embedding_place(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    option: Offload,
    layers: list[Place],
) -> Place:
    """With the head where they are one; else on the first card, if it still has room: accelerate
    would copy an embedding from the system's memory to the card for every token."""
    if model.tied_embeddings or not option.placement.gpus:
        return layers[-1]
    pool = device.pool(next(iter(option.pool_bytes)))
    room = pool.usable_bytes - option.pool_bytes[pool.name]
    first = _card(device, option.placement.gpus[0])
    return first if sum_stored_bytes((weights.looked_up,)) <= room else "cpu"
