"""Mixtures that fill what a request or a device leaves room for: one for each use of processors.

A mixture is a candidate where room is short: where the largest one, which is expected to lose next
to nothing, passes a limit. Where everything fits, speed decides, and presets do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import FormatFacts, mixture_facts
from edgecomp.formats.mixture import Mixture
from edgecomp.formats.solved_types import SOLVED_TYPES
from edgecomp.formats.type_frontier import Loss, TypeFrontier, file_bytes
from edgecomp.models.spec import EMBEDDING, ModelSpec, TensorSpec
from edgecomp.planning.candidate import RUNTIME, candidate_of
from edgecomp.planning.card_fill import MemoryDemand, RuntimeFootprint, beside_layers_bytes
from edgecomp.planning.fast_types import FastTypes, Types, decode_seconds, fast_enough
from edgecomp.planning.kernels import without_kernels
from edgecomp.planning.offload import (
    TIGHT_SHARE,
    Offload,
    card_sets,
    fastest,
    offload,
    offloads,
)
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints

SHRINKS, SHRINK_SHARE = 8, 0.985
"""How often, and how far, a mixture is made smaller where whole layers do not pack onto cards."""


class Request(NamedTuple):
    """What mixtures are planned for."""

    device: DeviceProfile
    constraints: Constraints
    footprints: Sequence[RuntimeFootprint]


def mixture_candidates(mixture: Mixture, request: Request) -> Iterator[Candidate]:
    """The mixture that fills each kind of processor's memory, within the limits that are set.

    Where the smallest mixture passes a limit it is the candidate on the CPU, for the plan to say
    what is in the way.
    """
    device = request.device
    yield from _on_one_memory(mixture, request, Placement())
    for gpu in device.gpus:
        if device.pool(gpu.pool).kind == "unified":
            whole = Placement(gpus=(gpu.name,), gpu_layers=mixture.model.layers + 1)
            yield from _on_one_memory(mixture, request, whole)
    yield from _on_cards(mixture, request)


def _on_one_memory(mixture: Mixture, request: Request, placement: Placement) -> Iterator[Candidate]:
    frontier = _frontier(mixture, request.device, placement)
    system = _system_room(request) - mixture.overhead_bytes
    room = min(system, _stated_room(mixture, request))

    def made(types: Types) -> Candidate:
        facts = mixture_facts(mixture, types)
        demand = MemoryDemand(facts.weights, request.footprints[0])
        option = offload(demand, request.device, placement)
        return _candidate(mixture, request, facts, option, room)

    short = _short(mixture, frontier, room)
    if not short and not request.constraints.min_decode_tokens_per_second:
        return
    plain = made(frontier.within(room))
    if short or _is_slow(plain, request):
        yield _fast_enough(mixture, request, plain, made)


def _on_cards(mixture: Mixture, request: Request) -> Iterator[Candidate]:
    """What fills the cards with everything on them; where not even the smallest fits, what fills
    them and the system's memory together."""
    device, stated = request.device, _stated_room(mixture, request)
    for cards, capacities in card_sets(device):
        if not all(capacities):
            continue  # Some cards of a set alone: they are tried as placements.
        whole = Placement(
            gpus=tuple(card.name for card in cards), gpu_layers=mixture.model.layers + 1
        )
        frontier = _frontier(mixture, device, whole)
        left = _room_on_cards(mixture, request, frontier, capacities)
        if left < frontier.smallest_bytes:
            room = min(stated, left + _system_room(request))
            if _short(mixture, frontier, room):
                partly = _packed_on_cards(mixture, request, frontier, room, layers=1)
                yield from [partly] if partly else []
            continue
        room, places = min(left, stated), mixture.model.layers + 1
        short = _short(mixture, frontier, room)
        if not short and not request.constraints.min_decode_tokens_per_second:
            continue
        found = _packed_on_cards(mixture, request, frontier, room, layers=places)
        if found and (short or _is_slow(found, request)):
            room = (found.budget_bytes or 0) - mixture.overhead_bytes
            yield _fast_enough(
                mixture, request, found, partial(_made_for_cards, mixture, request, room)
            )


def _packed_on_cards(
    mixture: Mixture, request: Request, frontier: TypeFrontier, room: int, *, layers: int
) -> Candidate | None:
    """The largest mixture up to `room` of which whole layers, at least so many, pack onto the
    cards."""
    for _ in range(SHRINKS):
        if room < frontier.smallest_bytes:
            return None
        found = _made_for_cards(mixture, request, room, frontier.within(room))
        if found.placement.gpu_layers >= layers and found.fits == "fits":
            return found
        room = round(SHRINK_SHARE * room)
    return None


def _made_for_cards(mixture: Mixture, request: Request, room: int, types: Types) -> Candidate:
    facts = mixture_facts(mixture, types)
    option = _best_on_cards(mixture.model, request, facts)
    return _candidate(mixture, request, facts, option, room)


def _best_on_cards(model: ModelSpec, request: Request, facts: FormatFacts) -> Offload:
    options = offloads(facts.weights, request.footprints, request.device)
    on_cards = [row for kind in options for row in kind if row.placement.gpus]
    return fastest(model, facts.weights, request.device, on_cards or options[0])


def _system_room(request: Request) -> int:
    """Bytes that the system's memory has beside what a run asks for whatever its weights."""
    usable = request.device.system_pool.usable_bytes
    return round(TIGHT_SHARE * usable) - request.footprints[0].memory.total_bytes


def _room_on_cards(
    mixture: Mixture, request: Request, frontier: TypeFrontier, capacities: Sequence[int]
) -> int:
    """Bytes of weights that the cards leave room for beside cache and buffers, where everything is
    on them; an embedding that is only looked up stays with the host."""
    model, footprint = mixture.model, request.footprints[0]
    demand = MemoryDemand(mixture.smallest_weights, footprint)
    several = len(capacities) > 1
    beside = beside_layers_bytes(demand, demand.places, 0, kv_on_gpu=True, several=several)
    room = sum(round(TIGHT_SHARE * size) - beside for size in capacities)
    room -= footprint.kv_before[-1] + mixture.overhead_bytes - mixture.header_bytes
    room -= footprint.memory.projector_bytes
    if model.tied_embeddings:
        return room
    on_host = next(tensor for tensor in model.tensors if tensor.name == EMBEDDING)
    guess = room
    for _ in range(2):
        kind = frontier.within(guess).get(EMBEDDING)
        guess = room + (file_bytes(on_host, kind) if kind else 0)
    return guess


def _stated_room(mixture: Mixture, request: Request) -> int:
    """Bytes of weights that the request's own limits leave."""
    limits, rooms = request.constraints, []
    if limits.max_size_bytes:
        rooms.append(limits.max_size_bytes - mixture.model.projector_bytes)
    if limits.max_memory_bytes:
        rooms.append(limits.max_memory_bytes - request.footprints[0].memory.total_bytes)
    return min(rooms, default=10**18) - mixture.overhead_bytes


def _short(mixture: Mixture, frontier: TypeFrontier, room: int) -> bool:
    """Whether room is short: more of it would lose less, or the source as it is does not fit where
    all its values do, in fewer bytes."""
    source = mixture.model
    if source.source == "gguf" and source.file_bytes <= room + mixture.overhead_bytes:
        return False
    return room < frontier.largest_bytes or frontier.least_loss == 0


def _is_slow(candidate: Candidate, request: Request) -> bool:
    needed = request.constraints.min_decode_tokens_per_second
    return needed is not None and candidate.speed.decode_tokens_per_second < needed


def _fast_enough(
    mixture: Mixture, request: Request, plain: Candidate, made: Callable[[Types], Candidate]
) -> Candidate:
    """The mixture that loses least of those that are as fast as the request asks for."""
    needed = request.constraints.min_decode_tokens_per_second
    if not needed or not _is_slow(plain, request):
        return plain
    model, room = mixture.model, (plain.budget_bytes or 0) - mixture.overhead_bytes
    without = _missing_types(request.device, plain.placement)
    # Asked for again at every worth that is tried.
    loss = _looked_up(mixture, mixture.loss)
    seconds = _looked_up(mixture, decode_seconds(model, request.device, plain.placement))

    def weighed(tensor: TensorSpec, kind: str, worth: float) -> float:
        return loss(tensor, kind) + worth * seconds(tensor, kind)

    def chosen(worth: float) -> Types:
        return mixture.weighed_frontier(partial(weighed, worth=worth), without).within(room)

    def speed(types: Types) -> float:
        return made(types).speed.decode_tokens_per_second

    tensors = [tensor for tensor in model.tensors if tensor.name in mixture.choices]
    found = fast_enough(tensors, FastTypes(chosen, speed, needed, room), loss, seconds)
    return made(found) if found else plain


def _looked_up(mixture: Mixture, cost: Loss) -> Loss:
    """The same cost of each type of each tensor that has a choice, computed once."""
    costs = {
        (tensor.name, kind): cost(tensor, kind)
        for tensor in mixture.model.tensors
        for kind in mixture.choices.get(tensor.name, ())
    }
    return lambda tensor, kind: costs[tensor.name, kind]


def _frontier(mixture: Mixture, device: DeviceProfile, placement: Placement) -> TypeFrontier:
    return mixture.frontier(_missing_types(device, placement))


def _missing_types(device: DeviceProfile, placement: Placement) -> set[str]:
    return without_kernels(SOLVED_TYPES, device, RUNTIME, placement)


def _candidate(
    mixture: Mixture, request: Request, facts: FormatFacts, option: Offload, room: int
) -> Candidate:
    found = candidate_of(mixture.model, request.device, request.constraints, facts, option, RUNTIME)
    budget = max(room + mixture.overhead_bytes, facts.file_bytes)
    return found.model_copy(update={"budget_bytes": budget})
