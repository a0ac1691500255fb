"""What each placement of a plan's choice would give, and what one layer more on a card would."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.card_fill import MemoryDemand, RuntimeFootprint
from edgecomp.planning.offload import Offload, cost, fits, offload, offloads, session_seconds
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import estimate_speed, load_of


class PlacedSpeed(FrozenModel):
    """One placement that was weighed."""

    placement: Placement
    micro_batch: int
    pool_bytes: dict[str, int]
    fits: bool
    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    session_seconds: float
    """Time to fill the context, half read and half written: what placements are chosen by."""


class LayerGain(FrozenModel):
    """One more layer, or one more layer's experts, on a card."""

    what: str
    pool: str
    bytes: int
    """What it takes of the card's memory."""

    free_bytes: int
    """What is left there now."""

    decode_tokens_per_second: float
    """Gained at the depth of the plan's speeds."""


def placed_speeds(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    footprints: Sequence[RuntimeFootprint],
    depth: int,
) -> tuple[PlacedSpeed, ...]:
    """Every way that was weighed, those that fit first, the fastest first."""
    options = [option for kind in offloads(weights, footprints, device) for option in kind]
    options.sort(key=lambda option: cost(model, weights, device, option))
    return tuple(_placed_speed(model, weights, device, option, depth) for option in options)


def _placed_speed(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, option: Offload, depth: int
) -> PlacedSpeed:
    speed = estimate_speed(
        model,
        weights,
        device,
        option.placement,
        load_of(option.settings, depth),
    )
    return PlacedSpeed(
        placement=option.placement,
        micro_batch=option.settings.micro_batch,
        pool_bytes=option.pool_bytes,
        fits=fits(option, device),
        decode_tokens_per_second=speed.decode_tokens_per_second,
        prefill_tokens_per_second=speed.prefill_tokens_per_second,
        session_seconds=session_seconds(model, weights, device, option),
    )


def one_layer_more(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    footprint: RuntimeFootprint,
    placement: Placement,
    depth: int,
) -> LayerGain | None:
    """What the next layer on the cards would bring; None where they have all, or nothing."""
    demand = MemoryDemand(weights, footprint)
    more = _one_more(placement, demand.places)
    if more is None:
        return None
    now, then = (offload(demand, device, place) for place in (placement, more))
    pool = max(now.pool_bytes, key=lambda name: then.pool_bytes[name] - now.pool_bytes[name])
    before, after = (_placed_speed(model, weights, device, option, depth) for option in (now, then))
    return LayerGain(
        what="layer's experts" if placement.cpu_expert_layers else "layer",
        pool=pool,
        bytes=then.pool_bytes[pool] - now.pool_bytes[pool],
        free_bytes=device.pool(pool).usable_bytes - now.pool_bytes[pool],
        decode_tokens_per_second=after.decode_tokens_per_second - before.decode_tokens_per_second,
    )


def _one_more(placement: Placement, places: int) -> Placement | None:
    if not placement.gpus:
        return None
    if placement.gpu_layers < places:
        # The layer before the cards' first goes to the first card that has any.
        split = list(placement.tensor_split)
        if split:
            split[next(at for at, count in enumerate(split) if count)] += 1
        update = {"gpu_layers": placement.gpu_layers + 1, "tensor_split": tuple(split)}
    elif placement.cpu_expert_layers:
        update = {"cpu_expert_layers": placement.cpu_expert_layers - 1}
    else:
        return None
    return placement.model_copy(update=update)
