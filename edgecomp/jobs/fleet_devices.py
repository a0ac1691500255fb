"""The devices of a fleet: the profiles that its file names or describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgecomp.common.errors import FleetInvalid
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile, profile_paths
from edgecomp.recipes.fleet import FleetLimits, FleetRuntime, WantedDevice


class Target(NamedTuple):
    """One device of a fleet, what runs artifacts there, and the limits there."""

    profile: DeviceProfile
    runtime: FleetRuntime
    limits: FleetLimits
    wanted: str
    """The profile's name or the description that brought it in."""


def fleet_targets(wanted: Sequence[WantedDevice], limits: FleetLimits) -> tuple[Target, ...]:
    """The devices, each once for a runtime; the first entry that means it says its limits.

    Raises DeviceUnknown, ProfileInvalid, and FleetInvalid where a description fits no profile.
    """
    found: dict[tuple[str, str], Target] = {}
    for entry in wanted:
        own = entry.limits.over(limits)
        for profile in _profiles(entry):
            target = Target(profile, entry.runtime, own, entry.label)
            found.setdefault((profile.name, entry.runtime), target)
    return tuple(found.values())


def _profiles(entry: WantedDevice) -> list[DeviceProfile]:
    if entry.profile:
        return [find_device(entry.profile)]
    matching = [profile for profile in _every_profile() if _is_described(profile, entry)]
    if not matching:
        raise FleetInvalid(
            f"No device profile fits the description ({entry.label}). `edgecomp devices compare` "
            "shows what each has."
        )
    return matching


def _every_profile() -> Iterator[DeviceProfile]:
    return map(find_device, profile_paths())


def _is_described(profile: DeviceProfile, entry: WantedDevice) -> bool:
    size = profile.pools[0].size
    return (
        (entry.memory_at_least is None or size >= entry.memory_at_least)
        and (entry.memory_at_most is None or size <= entry.memory_at_most)
        and (entry.backend is None or any(p.backend == entry.backend for p in profile.processors))
        and (
            "runtime" not in entry.model_fields_set
            or any(support.runtime == entry.runtime for support in profile.runtimes)
        )
    )
