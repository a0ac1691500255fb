"""Whether a fleet's release may go out: its `fleet.json` against a policy, and the last release.

Whatever the policy says, an artifact must have the bytes that `fleet.json` lists, and keep the
limits of each device it goes to. A figure that the policy limits and nobody examined breaks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from edgecomp.common.atomic import reading
from edgecomp.common.errors import FleetInvalid
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_size
from edgecomp.common.yaml_file import read_yaml
from edgecomp.devices.profile import Bytes
from edgecomp.evaluate.items import Category
from edgecomp.jobs.fleet_plan import Demand
from edgecomp.jobs.fleet_release import (
    FleetRelease,
    ReleasedArtifact,
    ReleasedDevice,
    read_release,
)
from edgecomp.judging.verdict import Level

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SinceLast(FrozenModel):
    """How much worse than in the last release a device's artifact may be; None: however much."""

    drop_points: dict[Category, Amount] = Field(default={})
    """Points of a capability's score that it may lose beyond what the last one had lost."""

    divergence_nats: Amount | None = None
    size_percent: Amount | None = None
    memory_percent: Amount | None = None
    decode_percent: Amount | None = None
    """By how much it may be slower."""


class FleetPolicy(FrozenModel):
    """What a release must keep; None: no limit."""

    schema_version: Literal[1] = 1
    verdicts: tuple[Level, ...] = Field(default=("ship", "ship with accepted losses"), min_length=1)
    drop_points: dict[Category, Amount] = Field(default={})
    """Points that each capability may lose of its base's score."""

    divergence_nats: Amount | None = None
    max_size: Bytes | None = None
    max_memory: Bytes | None = None
    """Peak memory on each device."""

    min_speed: Amount | None = None
    """Decoded tokens a second on each device."""

    since_last: SinceLast | None = None


class Breach(FrozenModel):
    """One figure that breaks the policy."""

    subject: str
    """An artifact, or a demand it serves."""

    figure: str
    text: str


class GateOutcome(FrozenModel):
    """Whether the release may go out."""

    schema_version: Literal[1] = 1
    folder: Path
    against: Path | None
    passed: bool
    breaches: tuple[Breach, ...]
    notes: tuple[str, ...]


def read_policy(path: Path) -> FleetPolicy:
    """Read a policy. Raises RecipeInvalid, naming the figure that is not known."""
    return read_yaml(path, FleetPolicy, "policy")


def gate(folder: Path, policy: FleetPolicy, against: Path | None) -> GateOutcome:
    """Hold the release in `folder` against the policy, and the one in `against`.

    Raises FleetInvalid where one of them is none, or the policy asks for a last release and none is
    given.
    """
    if policy.since_last and against is None:
        raise FleetInvalid(
            "The policy compares with the last release (since_last), and none is given. Name its "
            "folder with --against."
        )
    release = read_release(folder)
    last = read_release(against) if against else None
    breaches = [
        *_changed_files(folder, release),
        *(breach for row in release.artifacts for breach in _artifact_breaches(row, policy)),
        *(breach for row in release.devices for breach in _device_breaches(row, policy)),
        *(_breaches_since(last, release, policy.since_last or SinceLast()) if last else ()),
    ]
    return GateOutcome(
        folder=folder,
        against=against,
        passed=not breaches,
        breaches=tuple(breaches),
        notes=tuple(_notes(last, release)) if last else (),
    )


def _changed_files(folder: Path, release: FleetRelease) -> Iterator[Breach]:
    """Artifacts whose bytes are not those that were judged."""
    for row in release.artifacts:
        for name, listed in row.sha256.items():
            path = folder / row.folder / name
            if not path.is_file():
                yield _breach(row.name, "hash", f"{name} is missing")
                continue
            with reading(path), path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != listed:
                yield _breach(row.name, "hash", f"{name} was changed after it was judged")


def _artifact_breaches(row: ReleasedArtifact, policy: FleetPolicy) -> Iterator[Breach]:
    if row.verdict not in policy.verdicts:
        allowed = " or ".join(policy.verdicts)
        yield _breach(row.name, "verdict", f"it is {row.verdict!r}, and must be {allowed}")
    for category, allowed_points in policy.drop_points.items():
        drop = row.drop_points.get(category)
        if drop is None:
            yield _breach(row.name, category, "it was not examined")
        elif drop > allowed_points:
            text = f"{drop:.3g} points are lost, and {allowed_points:g} may be"
            yield _breach(row.name, category, text)
    nats = policy.divergence_nats
    if nats is not None and not row.divergence_nats <= nats:
        text = f"{row.divergence_nats:.3g} nats from the base, and {nats:g} may be"
        yield _breach(row.name, "divergence_nats", text)
    if policy.max_size is not None and row.size_bytes > policy.max_size:
        text = f"{format_size(row.size_bytes)}, and {format_size(policy.max_size)} are allowed"
        yield _breach(row.name, "max_size", text)


def _device_breaches(row: ReleasedDevice, policy: FleetPolicy) -> Iterator[Breach]:
    name = demand_label(row.demand)
    for fault in row.faults:
        yield _breach(name, "limits", fault.rstrip("."))
    if policy.max_memory is not None and row.memory_bytes > policy.max_memory:
        text = f"{format_size(row.memory_bytes)}, and {format_size(policy.max_memory)} are allowed"
        yield _breach(name, "max_memory", text)
    speed = row.decode_tokens_per_second
    if policy.min_speed is not None and speed < policy.min_speed:
        text = f"{speed:.3g} tok/s {row.speed_basis}, and {policy.min_speed:g} are asked for"
        yield _breach(name, "min_speed", text)


class _Pair(NamedTuple):
    """What a demand got last, and gets now."""

    then: ReleasedDevice
    now: ReleasedDevice
    old: ReleasedArtifact
    new: ReleasedArtifact

    @property
    def name(self) -> str:
        return demand_label(self.now.demand)


def _pairs(last: FleetRelease, release: FleetRelease) -> Iterator[_Pair]:
    before = {demand_key(row.demand): row for row in last.devices}
    for row in release.devices:
        then = before.get(demand_key(row.demand))
        if then:
            yield _Pair(then, row, last.artifact(then.artifact), release.artifact(row.artifact))


def _breaches_since(
    last: FleetRelease, release: FleetRelease, allowed: SinceLast
) -> Iterator[Breach]:
    served = {demand_key(row.demand) for row in release.devices}
    for row in last.devices:
        if demand_key(row.demand) not in served:
            text = "the last release served it, and this one does not"
            yield _breach(demand_label(row.demand), "served", text)
    for pair in _pairs(last, release):
        yield from _more_lost(pair, allowed)
        yield from _grown(pair, allowed)
        yield from _slower(pair, allowed.decode_percent)


def _more_lost(pair: _Pair, allowed: SinceLast) -> Iterator[Breach]:
    for category, points in allowed.drop_points.items():
        old, new = (row.drop_points.get(category) for row in (pair.old, pair.new))
        if old is None or new is None:
            yield _breach(pair.name, category, "it was not examined in both releases")
        elif new - old > points:
            text = f"{new - old:.3g} points more are lost than in the last release, "
            yield _breach(pair.name, category, f"{text}and {points:g} may be")
    nats = allowed.divergence_nats
    more = pair.new.divergence_nats - pair.old.divergence_nats
    if nats is not None and not more <= nats:
        text = f"{more:.3g} nats further from the base than the last, and {nats:g} may be"
        yield _breach(pair.name, "divergence_nats", text)


def _grown(pair: _Pair, allowed: SinceLast) -> Iterator[Breach]:
    sizes = (pair.old.size_bytes, pair.new.size_bytes)
    memories = (pair.then.memory_bytes, pair.now.memory_bytes)
    for figure, (old, new), percent in (
        ("size_percent", sizes, allowed.size_percent),
        ("memory_percent", memories, allowed.memory_percent),
    ):
        if percent is not None and new > old * (1 + percent / 100):
            grown = f"{format_size(old)} became {format_size(new)}"
            text = f"{grown}, {100 * (new / old - 1):.3g} % more, and {percent:g} % may be"
            yield _breach(pair.name, figure, text)


def _slower(pair: _Pair, percent: float | None) -> Iterator[Breach]:
    if percent is None:
        return
    old, new = pair.then.decode_tokens_per_second, pair.now.decode_tokens_per_second
    if pair.then.speed_basis != pair.now.speed_basis:
        text = f"{pair.then.speed_basis} then and {pair.now.speed_basis} now do not compare"
        yield _breach(pair.name, "decode_percent", text)
    elif new < old * (1 - percent / 100):
        text = f"{old:.3g} tok/s became {new:.3g}, and {percent:g} % less may be"
        yield _breach(pair.name, "decode_percent", text)


def _notes(last: FleetRelease, release: FleetRelease) -> Iterator[str]:
    """What makes figures of the two releases differ beside their artifacts."""
    models = {
        pair.now.demand.model
        for pair in _pairs(last, release)
        if pair.old.source_sha256 != pair.new.source_sha256
    }
    for model in sorted(models):
        yield f"{model} is another source than in the last release: losses are each of its own."
    known = {demand_key(row.demand) for row in last.devices}
    new = [row for row in release.devices if demand_key(row.demand) not in known]
    if new:
        yield f"{len(new)} demands are new, {demand_label(new[0].demand)} first."


def demand_key(demand: Demand) -> tuple[str, str, str, str]:
    """What says that a demand of one release is that of another."""
    return demand.model, demand.device, demand.runtime, demand.task


def demand_label(demand: Demand) -> str:
    """How people name a demand."""
    return f"{demand.model} on {demand.device} for {demand.task}"


def _breach(subject: str, figure: str, text: str) -> Breach:
    return Breach(subject=subject, figure=figure, text=f"{text}.")
