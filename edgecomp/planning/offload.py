"""Ways to place a model on a device, and the fastest of them that fits.

Whole layers move to cards from the last on; of a mixture of experts also everything but the
experts of the first layers; the KV cache stays with its layers or with the CPU; prompts are read
in smaller or larger batches. Each way is filled as far as the cards' memory goes and predicted;
none is preferred by a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from edgecomp.devices.profile import DeviceProfile, Processor
from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.card_fill import (
    MemoryDemand,
    RuntimeFootprint,
    card_bytes,
    footprint,
    largest_feasible,
    pack_layers_balanced,
    pack_layers_first_fit,
)
from edgecomp.planning.memory import MemoryEstimate
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import load_of, seconds_per_token
from edgecomp.recipes.run_settings import RunSettings

TIGHT_SHARE = 0.9
"""From this share of a memory or a limit on, what fits is called tight. A card that cannot hold
everything is filled no further while the rest has room: how much it gets is free to choose."""

MICRO_BATCHES = (512, 2048)
"""Tokens of a prompt that are read at once. More of them share one copy of what a card borrows."""

PLACED = ("gpu_layers", "tensor_split", "cpu_expert_layers", "kv_on_gpu")
"""The fields that a placement and the settings have in common."""


class Offload(NamedTuple):
    """One way to place a model, and the settings that a runtime executes."""

    placement: Placement
    settings: RunSettings
    memory: MemoryEstimate
    pool_bytes: dict[str, int]
    """Peak bytes in each memory of the device: the cards' in their order, the system's last."""


def possible_footprints(
    model: ModelSpec, settings: RunSettings, device: DeviceProfile, worker_bytes: int | None
) -> tuple[RuntimeFootprint, ...]:
    """The footprints to place the model with: of `settings`, and, where a card could borrow what
    lies with the CPU, of larger batches."""
    sizes = [settings.micro_batch]
    if any(device.pool(gpu.pool).kind == "vram" for gpu in device.gpus):
        longest = settings.context // 2
        sizes += [size for size in MICRO_BATCHES if settings.micro_batch < size <= longest]
    return tuple(
        footprint(model, settings.model_copy(update={"micro_batch": size}), worker_bytes)
        for size in sizes
    )


def offloads(
    weights: LayeredWeights, footprints: Sequence[RuntimeFootprint], device: DeviceProfile
) -> list[list[Offload]]:
    """The ways to run on the CPU, on the cards, and on each processor that shares its memory."""
    demands = [MemoryDemand(weights, row) for row in footprints]
    options = [[offload(demands[0], device, Placement())]]
    on_cards = list(_on_cards(demands, device, TIGHT_SHARE))
    if not any(fits(option, device) for option in on_cards):
        # What the rest of the memory lacks may find room in the last tenth of the cards.
        on_cards += _on_cards(demands, device, 1.0)
    options.append(on_cards)
    for gpu in device.gpus:
        if device.pool(gpu.pool).kind == "unified":
            # One memory for both: there is nothing to split.
            whole = Placement(gpus=(gpu.name,), gpu_layers=demands[0].places)
            options.append([offload(demands[0], device, whole)])
    return [option for option in options if option]


def offload(demand: MemoryDemand, device: DeviceProfile, placement: Placement) -> Offload:
    """What comes of one placement."""
    settings = demand.footprint.settings
    if placement.gpus:
        settings = settings.model_copy(update={name: getattr(placement, name) for name in PLACED})
    return Offload(
        placement,
        settings,
        demand.memory,
        _pool_bytes(demand, device, placement),
    )


def _on_cards(
    demands: Sequence[MemoryDemand], device: DeviceProfile, share: float
) -> Iterator[Offload]:
    """Ways that use cards, filled to `share` where they cannot hold everything."""
    for cards, capacities in card_sets(device):
        for demand in demands:
            whole = False
            for placement in _splits(demand, cards, capacities, share):
                whole |= placement.gpu_layers == demand.places and not placement.cpu_expert_layers
                yield offload(demand, device, placement)
            if whole:
                # Nothing is left with the CPU that a larger batch would have to share.
                break


def card_sets(device: DeviceProfile) -> Iterator[tuple[list[Processor], list[int]]]:
    """Cards that one build of the runtime sees, and the bytes each may hold: all together, then
    each kind of them alone."""
    by_backend: dict[str, list[Processor]] = {}
    for gpu in device.gpus:
        if device.pool(gpu.pool).kind == "vram":
            by_backend.setdefault(gpu.backend, []).append(gpu)
    for cards in by_backend.values():
        pools = [device.pool(card.pool) for card in cards]
        usable = [pool.usable_bytes for pool in pools]
        yield cards, usable
        kinds = [(pool.bandwidth, pool.usable_bytes) for pool in pools]
        if len(cards) > 1:
            for only in map(kinds.index, dict.fromkeys(kinds)):
                yield cards, [size if at == only else 0 for at, size in enumerate(usable)]


def _splits(
    demand: MemoryDemand, cards: Sequence[Processor], capacities: Sequence[int], share: float
) -> Iterator[Placement]:
    """The placements that fill these cards, the cache with its layers first."""
    tried: set[tuple[int, int]] = set()
    partly = [round(share * size) for size in capacities]
    several = sum(map(bool, capacities)) > 1
    packings = (pack_layers_first_fit, *((pack_layers_balanced,) if several else ()))
    for kv_on_gpu in (True, False):
        for gpu_layers, kept in _most_on_cards(demand, capacities, partly, kv_on_gpu=kv_on_gpu):
            if not gpu_layers or (gpu_layers, kept) in tried:
                # Moving the cache away makes no room for anything else.
                continue
            tried.add((gpu_layers, kept))
            whole = gpu_layers == demand.places and not kept and kv_on_gpu
            room = capacities if whole else partly
            for pack in packings:
                counts = pack(demand, room, gpu_layers, kept, kv_on_gpu=kv_on_gpu)
                if counts:
                    yield Placement(
                        gpus=tuple(c.name for c, n in zip(cards, counts, strict=True) if n),
                        gpu_layers=gpu_layers,
                        tensor_split=counts if len(cards) > 1 else (),
                        cpu_expert_layers=kept,
                        kv_on_gpu=kv_on_gpu,
                    )
            if whole:
                return


def _most_on_cards(
    demand: MemoryDemand, capacities: Sequence[int], partly: Sequence[int], *, kv_on_gpu: bool
) -> Iterator[tuple[int, int]]:
    """Layers on the cards, and of them the first whose experts are not: as many whole layers as
    fit, and as many experts as fit beside all the rest."""
    places, layers = demand.places, demand.places - 1

    def fits(gpu_layers: int, kept: int, room: Sequence[int] = partly) -> bool:
        return (
            pack_layers_first_fit(demand, room, gpu_layers, kept, kv_on_gpu=kv_on_gpu) is not None
        )

    if fits(places, 0, capacities if kv_on_gpu else partly):
        yield places, 0
        return
    yield largest_feasible(layers, lambda count: fits(count, 0)), 0
    if not demand.weights.experts:
        return
    if fits(places, layers):
        moved = largest_feasible(layers - 1, lambda count: fits(places, layers - count))
        yield places, layers - moved
    else:
        yield largest_feasible(layers, partial(fits, kept=layers)), layers


def _pool_bytes(
    demand: MemoryDemand, device: DeviceProfile, placement: Placement
) -> dict[str, int]:
    system = device.system_pool.name
    pools = [gpu.pool for name in placement.gpus for gpu in device.gpus if gpu.name == name]
    total = demand.memory.total_bytes
    if not pools or system in pools:
        return {system: total}
    experts, kv_on_gpu = placement.cpu_expert_layers, placement.kv_on_gpu
    counts = placement.tensor_split or (placement.gpu_layers,)
    held = card_bytes(demand, placement.gpu_layers, counts, experts, kv_on_gpu=kv_on_gpu)
    used = [size for size in held if size]
    # The host keeps the process, and a compute buffer of its own.
    begin = demand.places - placement.gpu_layers
    left = total - demand.layer_bytes(begin, demand.places, experts, kv_on_gpu=kv_on_gpu)
    left -= demand.memory.projector_bytes
    if demand.footprint.tied:
        left += demand.head_bytes
    return {**dict(zip(pools, used, strict=True)), system: left}


def placement_of(settings: RunSettings, device: DeviceProfile) -> Placement:
    """The placement that settings say, on this device; nothing on cards that it has not."""
    split = settings.tensor_split
    sets = [cards for cards, _ in card_sets(device) if not split or len(split) == len(cards)]
    cards = sets[0] if sets else list(device.gpus) if not split else []
    if not settings.gpu_layers or not cards:
        return Placement()
    held = [card.name for card, share in zip(cards, split, strict=False) if share]
    chosen = {name: getattr(settings, name) for name in PLACED}
    return Placement(gpus=tuple(held) or (cards[0].name,), **chosen)


def fits(option: Offload, device: DeviceProfile) -> bool:
    """True where no memory of the device is asked for more than it has."""
    return _fullest(option, device) <= 1


def _fullest(option: Offload, device: DeviceProfile) -> float:
    return max(used / device.pool(name).usable_bytes for name, used in option.pool_bytes.items())


def session_seconds(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, option: Offload
) -> float:
    """Time to read half of the context and write as much, at the depth of the half.

    A placement is settled once for all depths. At a short one, a cache with the CPU looks better
    than it is.
    """
    half = max(option.settings.context // 2, 1)
    decode, prefill = seconds_per_token(
        model,
        weights,
        device,
        option.placement,
        load_of(option.settings, half),
    )
    return half * (decode + prefill)


def cost(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, option: Offload
) -> tuple[bool, float, float]:
    """What ways are compared by, the less the better: whether something overflows, the session's
    seconds, and, of equals, how full the fullest memory gets."""
    seconds = session_seconds(model, weights, device, option)
    return not fits(option, device), float(f"{seconds:.6g}"), _fullest(option, device)


def fastest(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, options: Sequence[Offload]
) -> Offload:
    """The way that costs least."""
    if len(options) == 1:
        return options[0]
    return min(options, key=lambda option: cost(model, weights, device, option))
