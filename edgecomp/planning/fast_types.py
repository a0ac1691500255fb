"""The types of a mixture that must decode so many tokens a second: seconds against losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import gives_logits
from edgecomp.formats.type_frontier import Loss, file_bytes
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import cpu_seconds

WORTHS_TRIED, WORTH_STEPS = (-2.0, 6.0), 12
"""Nats that a second of a decoded token is worth, as powers of ten, and halvings of the search."""

SECONDS_A_BYTE = 1e-11
"""On a card, for the search alone: types are told apart by bytes."""

Types = Mapping[str, str]
"""By tensor."""


class FastTypes(NamedTuple):
    """A search for types: what is chosen where a second of a decoded token is worth so many nats,
    how fast that decodes, how fast it must, and the bytes that there is room for."""

    chosen: Callable[[float], Types]
    tokens_per_second: Callable[[Types], float]
    needed_per_second: float
    room_bytes: int


def fast_enough(
    tensors: Sequence[TensorSpec], search: FastTypes, loss: Loss, seconds: Loss
) -> dict[str, str] | None:
    """The types that lose least of those that decode as fast as is needed; None where none do.

    Seconds are weighed against losses, at the least worth that makes it fast enough. Types change
    by many tensors at once there: of what changed last, as much is taken back as there is time for.
    """
    low, high = WORTHS_TRIED
    fast = search.chosen(10**high)
    if search.tokens_per_second(fast) < search.needed_per_second:
        return None
    slow: Types = search.chosen(0.0)
    for _ in range(WORTH_STEPS):
        middle = (low + high) / 2
        found = search.chosen(10**middle)
        if search.tokens_per_second(found) < search.needed_per_second:
            low, slow = middle, found
        else:
            high, fast = middle, found
    return _taken_back(tensors, search, (fast, slow), loss, seconds)


def _taken_back(
    tensors: Sequence[TensorSpec],
    search: FastTypes,
    ends: tuple[Types, Types],
    loss: Loss,
    seconds: Loss,
) -> dict[str, str]:
    """The first of `ends`, with as many types of the slower second as time and room allow: those
    first that save most a second."""
    fast, slow = ends
    changed = [t for t in tensors if fast[t.name] != slow[t.name]]
    longer = {t.name: seconds(t, slow[t.name]) - seconds(t, fast[t.name]) for t in changed}
    between = 1 / search.tokens_per_second(slow) - 1 / search.tokens_per_second(fast)
    # What the search counts may differ from the prediction by a factor: a card's does.
    scale = between / (sum(longer.values()) or 1.0)
    left = 1 / search.needed_per_second - 1 / search.tokens_per_second(fast)
    room = search.room_bytes - sum(file_bytes(t, fast[t.name]) for t in tensors)
    types = dict(fast)

    def saving(tensor: TensorSpec) -> float:
        saved = loss(tensor, fast[tensor.name]) - loss(tensor, slow[tensor.name])
        return -saved / max(longer[tensor.name], 1e-12)

    for tensor in sorted(changed, key=saving):
        kind, time = slow[tensor.name], scale * longer[tensor.name]
        more = file_bytes(tensor, kind) - file_bytes(tensor, fast[tensor.name])
        if loss(tensor, kind) < loss(tensor, fast[tensor.name]) and time <= left and more <= room:
            types[tensor.name] = kind
            left, room = left - time, room - more
    return types


def decode_seconds(model: ModelSpec, device: DeviceProfile, placement: Placement) -> Loss:
    """What a type of a tensor adds to a decoded token, as far as types differ: a card's kernels are
    taken to be equally fast a byte."""

    def seconds(tensor: TensorSpec, kind: str) -> float:
        if tensor.layer is None and not gives_logits(tensor, model):
            return 0.0
        size, share = file_bytes(tensor, kind), model.used_share(tensor)
        if placement.gpus:
            return share * size * SECONDS_A_BYTE
        return share * cpu_seconds(kind, size, tensor.elements, device)[0]

    return seconds
