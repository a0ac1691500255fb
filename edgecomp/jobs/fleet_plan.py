"""The smallest set of artifacts that serves every device of a fleet.

Every model is to be served on every device for every task, within the limits there and with no more
expected loss than the task tolerates. An artifact is one file of one model for one runtime; what
serves a device is the planner's word. Losses of one model say nothing beside another's, so each
model has a set of its own: the fewest files, then the least loss, then the fewest bytes
(planning/set_cover.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from edgecomp.common.errors import FleetInvalid
from edgecomp.common.frozen_model import FrozenModel, OneLine
from edgecomp.common.safe_text import file_name
from edgecomp.common.tasks import Task
from edgecomp.formats.presets import SOURCE
from edgecomp.jobs.fleet_devices import Target, fleet_targets
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.common_artifacts import Place, ServedThere, artifact_label, artifacts_for
from edgecomp.planning.job_cost import HowMade, estimate_job
from edgecomp.planning.plan import Candidate, JobCost
from edgecomp.planning.recipe_of_plan import Choices, recipe_for
from edgecomp.planning.set_cover import Cover, best_columns, fewest_columns
from edgecomp.recipes.fleet import FleetRequest
from edgecomp.recipes.recipe import Recipe
from edgecomp.recipes.run_settings import RunSettings


class Demand(FrozenModel):
    """A model to be served on a device for a task."""

    model: OneLine
    device: str
    wanted: str
    """The profile's name or the description in the fleet's file that means the device."""

    runtime: str
    task: Task


class Served(FrozenModel):
    """How a demand is met: by which artifact, run how, with what predicted figures."""

    demand: Demand
    artifact: str
    fallback: str | None
    """The artifact of the set that serves it next best; None: no other one does."""

    settings: RunSettings
    memory_bytes: int
    decode_tokens_per_second: float
    expected_divergence_nats: float


class Unserved(FrozenModel):
    """A demand that nothing meets, and the limit that is short."""

    demand: Demand
    reason: str


class PlannedArtifact(FrozenModel):
    """One file of the set, and what makes it."""

    name: str
    """Its folder's name."""

    model: OneLine
    runtime: str
    format: str
    file_bytes: int
    expected_divergence_nats: float
    tasks: tuple[Task, ...]
    devices: tuple[str, ...]
    recipe: Recipe
    """For the device whose plan it comes from; for the task `general` where it serves several, so
    that every capability decides."""

    job: JobCost


class OtherSet(FrozenModel):
    """What one file more or fewer would change."""

    files: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    size_bytes: int
    loss_share: float
    unserved: tuple[Demand, ...]
    """What it would leave unserved beside what nothing serves."""


class FleetPlan(FrozenModel):
    """The set, what it serves, and its neighbours."""

    schema_version: Literal[1] = 1
    request: FleetRequest
    artifacts: tuple[PlannedArtifact, ...]
    served: tuple[Served, ...]
    unserved: tuple[Unserved, ...]
    size_bytes: int
    loss_share: float
    """Expected loss over what the task tolerates, the mean over what is served."""

    one_more: OtherSet | None
    """None: another file would not lessen the expected loss."""

    one_fewer: OtherSet | None

    @property
    def job_seconds(self) -> float:
        """Time to make and prove all of it here; stages that artifacts share count once each, so
        it takes no longer."""
        return sum(artifact.job.seconds for artifact in self.artifacts)


class _ModelCover(NamedTuple):
    """One model's demands against its possible artifacts."""

    source: str
    spec: ModelSpec
    demands: tuple[tuple[Demand, Target], ...]
    names: tuple[str, ...]
    candidates: tuple[dict[str, Candidate], ...]
    """For each demand, how each artifact runs there."""

    cover: Cover
    unserved: tuple[Unserved, ...]

    def names_of(self, columns: Sequence[int]) -> set[str]:
        return {self.names[column] for column in columns}

    def size_bytes(self, columns: Sequence[int]) -> int:
        return int(sum(self.cover.sizes[column] for column in columns))


def plan_fleet(request: FleetRequest) -> FleetPlan:
    """Plan a fleet. Demands that nothing meets are told, and the rest is planned.

    Raises FleetInvalid, and what reading models and profiles raises.
    """
    targets = fleet_targets(request.devices, request.limits)
    covers = [_model_cover(source, targets, request) for source in dict.fromkeys(request.models)]
    _refuse_same_names(covers)
    chosen = [best_columns(row.cover, fewest_columns(row.cover)) for row in covers]
    served = [row for c, columns in zip(covers, chosen, strict=True) for row in _served(c, columns)]
    artifacts = [
        _artifact(c, column, served, request)
        for c, columns in zip(covers, chosen, strict=True)
        for column in columns
    ]
    return FleetPlan(
        request=request,
        artifacts=tuple(artifacts),
        served=tuple(served),
        unserved=tuple(row for c in covers for row in c.unserved),
        size_bytes=sum(c.size_bytes(columns) for c, columns in zip(covers, chosen, strict=True)),
        loss_share=_loss_share(covers, chosen),
        one_more=_one_more(covers, chosen),
        one_fewer=_one_fewer(covers, chosen),
    )


def _model_cover(source: str, targets: Sequence[Target], request: FleetRequest) -> _ModelCover:
    spec = read_model(source)
    there = _served_there(spec, targets)
    demands: list[tuple[Demand, Target]] = []
    rows: list[dict[str, Candidate]] = []
    unserved = []
    for target, found in zip(targets, there, strict=True):
        named = {_name(spec, row): row for row in found.candidates.values()}
        for task in dict.fromkeys(request.tasks):
            demand = _demand(spec, target, task)
            tolerated = request.tolerated(task)
            able = {n: c for n, c in named.items() if c.expected_divergence_nats <= tolerated}
            if able:
                demands.append((demand, target))
                rows.append(able)
            else:
                reason = found.nearest or _too_lossy(found, task, tolerated)
                unserved.append(Unserved(demand=demand, reason=reason))
    # Of files that are as good and as large the first is taken: the source, which is there already.
    made = {name: row.format != SOURCE for able in rows for name, row in able.items()}
    names = tuple(sorted(made, key=lambda name: (made[name], name)))
    tasks = [demand.task for demand, _ in demands]
    cover = _cover(names, rows, [request.tolerated(task) for task in tasks])
    return _ModelCover(source, spec, tuple(demands), names, tuple(rows), cover, tuple(unserved))


def _served_there(spec: ModelSpec, targets: Sequence[Target]) -> list[ServedThere]:
    """For each target in its place, what serves it in its runtime."""
    found: dict[int, ServedThere] = {}
    for runtime in dict.fromkeys(target.runtime for target in targets):
        own = [at for at, target in enumerate(targets) if target.runtime == runtime]
        places = [
            Place(targets[at].profile, targets[at].limits.constraints(spec.context_length))
            for at in own
        ]
        found |= dict(zip(own, artifacts_for(spec, runtime, places), strict=True))
    return [found[at] for at in range(len(targets))]


def _name(spec: ModelSpec, candidate: Candidate) -> str:
    return f"{file_name(spec.name)}-{artifact_label(candidate)}"


def _demand(spec: ModelSpec, target: Target, task: Task) -> Demand:
    return Demand(
        model=spec.name,
        device=target.profile.name,
        wanted=target.wanted,
        runtime=target.runtime,
        task=task,
    )


def _too_lossy(found: ServedThere, task: Task, tolerated: float) -> str:
    best = min(found.candidates.values(), key=lambda row: row.expected_divergence_nats)
    return (
        f"Of what fits, {best.label} loses least, {best.expected_divergence_nats:.2g} nats "
        f"expected, and {task} tolerates {tolerated:.2g}: give more memory, a larger max_size, a "
        "lower min_speed, or more tolerated_nats."
    )


def _cover(
    names: Sequence[str], rows: Sequence[dict[str, Candidate]], tolerated: Sequence[float]
) -> Cover:
    serves = np.zeros((len(rows), len(names)), dtype=np.bool_)
    costs, sizes = np.zeros(serves.shape), np.zeros(len(names))
    place = {name: column for column, name in enumerate(names)}
    for at, able in enumerate(rows):
        for name, candidate in able.items():
            serves[at, place[name]] = True
            costs[at, place[name]] = candidate.expected_divergence_nats / tolerated[at]
            sizes[place[name]] = candidate.file_bytes
    return Cover(serves, costs, sizes)


def _refuse_same_names(covers: Sequence[_ModelCover]) -> None:
    sources: dict[str, str] = {}
    for row in covers:
        other = sources.setdefault(file_name(row.spec.name), row.source)
        if other != row.source:
            raise FleetInvalid(
                f"{other} and {row.source} are both called {row.spec.name}, and their artifacts "
                "would be, too. Rename one of the files or folders, or leave it out."
            )


def _served(model: _ModelCover, columns: tuple[int, ...]) -> list[Served]:
    rows = []
    for at, (demand, _) in enumerate(model.demands):
        best, *others = (model.names[c] for c in model.cover.choices(columns, at))
        candidate = model.candidates[at][best]
        rows.append(
            Served(
                demand=demand,
                artifact=best,
                fallback=others[0] if others else None,
                settings=candidate.settings,
                memory_bytes=candidate.memory.total_bytes,
                decode_tokens_per_second=candidate.speed.decode_tokens_per_second,
                expected_divergence_nats=candidate.expected_divergence_nats,
            )
        )
    return rows


def _artifact(
    model: _ModelCover, column: int, served: Sequence[Served], request: FleetRequest
) -> PlannedArtifact:
    name = model.names[column]
    demands = [row.demand for row in served if row.artifact == name]
    tasks = tuple(dict.fromkeys(demand.task for demand in demands))
    able = [at for at, row in enumerate(model.candidates) if name in row]
    # A mixture is made again within the limits that it was planned for.
    at = next((at for at in able if model.candidates[at][name].budget_bytes), able[0])
    target, chosen = model.demands[at][1], model.candidates[at][name]
    limits = target.limits.constraints(model.spec.context_length)
    constraints = limits.model_copy(update={"task": tasks[0] if len(tasks) == 1 else "general"})
    recipe = recipe_for(
        _lasting(model.source),
        target.profile.name,
        constraints,
        chosen,
        request.evaluation,
        Choices(runtime=target.runtime),
    )
    how = HowMade(recipe.mix, recipe.rounding, recipe.effort, recipe.weighs_tokens)
    return PlannedArtifact(
        name=name,
        model=model.spec.name,
        runtime=target.runtime,
        format=chosen.name,
        file_bytes=chosen.file_bytes,
        expected_divergence_nats=chosen.expected_divergence_nats,
        tasks=tasks,
        devices=tuple(dict.fromkeys(demand.device for demand in demands)),
        recipe=recipe,
        job=estimate_job(model.spec, chosen, (), how),
    )


def _lasting(source: str) -> str:
    """The model as it can be named from any folder."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


Columns = Sequence[tuple[int, ...]]


def _loss_share(covers: Sequence[_ModelCover], chosen: Columns) -> float:
    pairs = list(zip(covers, chosen, strict=True))
    served = sum(len(c.demands) - len(c.cover.uncovered(columns)) for c, columns in pairs)
    return sum(c.cover.cost(columns) for c, columns in pairs) / max(served, 1)


def _one_more(covers: Sequence[_ModelCover], chosen: Columns) -> OtherSet | None:
    """The set with one file more that is expected to lose least."""
    best: tuple[float, list[tuple[int, ...]]] | None = None
    now = _loss_share(covers, chosen)
    for at, (model, columns) in enumerate(zip(covers, chosen, strict=True)):
        if columns:
            other = [*chosen[:at], best_columns(model.cover, len(columns) + 1), *chosen[at + 1 :]]
            loss = _loss_share(covers, other)
            if loss < now - 1e-9 and (best is None or loss < best[0]):
                best = loss, other
    return _other_set(covers, chosen, best[1]) if best else None


def _one_fewer(covers: Sequence[_ModelCover], chosen: Columns) -> OtherSet | None:
    """The set with one file fewer that leaves least unserved."""
    best: tuple[int, list[tuple[int, ...]]] | None = None
    for at, (model, columns) in enumerate(zip(covers, chosen, strict=True)):
        if columns:
            fewer = best_columns(model.cover, len(columns) - 1)
            left_out = len(model.cover.uncovered(fewer))
            if best is None or left_out < best[0]:
                best = left_out, [*chosen[:at], fewer, *chosen[at + 1 :]]
    return _other_set(covers, chosen, best[1]) if best else None


def _other_set(covers: Sequence[_ModelCover], chosen: Columns, other: Columns) -> OtherSet:
    now = {name for c, columns in zip(covers, chosen, strict=True) for name in c.names_of(columns)}
    then = {name for c, columns in zip(covers, other, strict=True) for name in c.names_of(columns)}
    return OtherSet(
        files=len(then),
        added=tuple(sorted(then - now)),
        removed=tuple(sorted(now - then)),
        size_bytes=sum(c.size_bytes(columns) for c, columns in zip(covers, other, strict=True)),
        loss_share=_loss_share(covers, other),
        unserved=tuple(
            c.demands[row][0]
            for c, columns in zip(covers, other, strict=True)
            for row in c.cover.uncovered(columns)
        ),
    )
