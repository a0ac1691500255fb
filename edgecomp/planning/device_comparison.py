"""Devices side by side: what each has, and the artifact that would be chosen there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile, profile_paths
from edgecomp.formats.format_facts import FormatFacts, format_facts
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.nearest_limit import nearest_limit
from edgecomp.planning.plan import Candidate
from edgecomp.planning.planner import ranked_candidates
from edgecomp.recipes.constraints import Constraints


class PlannedThere(FrozenModel):
    """What a device would run of one model; `nearest` says why nothing, and what would work."""

    model: str
    chosen: Candidate | None
    nearest: str | None


class ComparedDevice(FrozenModel):
    """One device, and its plan for each model that was asked about."""

    device: DeviceProfile
    planned: tuple[PlannedThere, ...]


class DeviceComparison(FrozenModel):
    """Devices in the order they were named."""

    schema_version: Literal[1] = 1
    context: int
    devices: tuple[ComparedDevice, ...]


def compare_devices(
    names: Sequence[str], models: Sequence[ModelSpec], context: int
) -> DeviceComparison:
    """Set devices (every profile where none is named) beside each other, and plan each model for
    each at `context` tokens. Raises DeviceUnknown and ProfileInvalid."""
    known = [(model, format_facts(model)) for model in models]
    return DeviceComparison(
        context=context,
        devices=tuple(
            ComparedDevice(
                device=device,
                planned=tuple(_plan_on(model, device, context, facts) for model, facts in known),
            )
            for device in map(find_device, names or profile_paths())
        ),
    )


def _plan_on(
    model: ModelSpec, device: DeviceProfile, context: int, facts: Sequence[FormatFacts]
) -> PlannedThere:
    # Nothing is served beyond what a model was trained for.
    constraints = Constraints(context=min(context, model.context_length or context))
    best, *others = ranked_candidates(model, device, constraints, facts)
    if best.rejections:
        nearest = nearest_limit([best, *others], constraints, device, model.context_length)
        return PlannedThere(model=model.name, chosen=None, nearest=nearest)
    return PlannedThere(model=model.name, chosen=best, nearest=None)
