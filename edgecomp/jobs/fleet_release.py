"""`fleet.json`: which artifact each device of a fleet gets, and what was found out about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgecomp.bundles.bundle import read_manifest
from edgecomp.bundles.compare import read_report
from edgecomp.bundles.versions import versions
from edgecomp.common.errors import FleetInvalid
from edgecomp.common.frozen_model import FrozenModel, OneLine
from edgecomp.common.inside_folder import path_inside
from edgecomp.common.tasks import Task
from edgecomp.devices.finding import find_device
from edgecomp.evaluate.items import Category
from edgecomp.formats.format_facts import facts_of_types
from edgecomp.jobs.fleet_artifact import ARTIFACTS
from edgecomp.jobs.fleet_devices import fleet_targets
from edgecomp.jobs.fleet_plan import Demand, FleetPlan, PlannedArtifact, Served
from edgecomp.judging.verdict import Level
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.common_artifacts import keeps_limits
from edgecomp.planning.plan import Candidate
from edgecomp.planning.planner import ranked_candidates
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.fleet import FleetLimits
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.reporting.report import Report

RELEASE = "fleet.json"
HERE = "auto"
"""The device on which artifacts are measured."""


class ReleasedArtifact(FrozenModel):
    """One artifact as it was made, judged and measured."""

    name: str
    model: OneLine
    runtime: str
    format: str
    folder: str
    """Its bundle, from the folder of `fleet.json`."""

    file: str
    """The artifact in its bundle: a file, or a folder of ONNX."""

    sha256: dict[str, str]
    """Of each file of the artifact, by its name in the bundle."""

    size_bytes: int
    source_sha256: str
    task: Task
    """What it was judged for."""

    verdict: Level
    summary: OneLine
    divergence_nats: float
    drop_points: dict[Category, float]
    """What each capability lost of its base's score."""

    peak_memory_bytes: int
    decode_tokens_per_second: float
    """Both as measured on the machine that made it."""


class ReleasedDevice(FrozenModel):
    """What a device gets for a task."""

    demand: Demand
    artifact: str
    fallback: str | None
    settings: RunSettings
    memory_bytes: int
    """Peak memory there, predicted for the file as it was made."""

    decode_tokens_per_second: float
    speed_basis: Literal["predicted", "measured"]
    faults: tuple[str, ...] = ()
    """Limits that the file as it was made breaks there."""


class FleetRelease(FrozenModel):
    """Everything that is shipped, and where to."""

    schema_version: Literal[1] = 1
    artifacts: tuple[ReleasedArtifact, ...]
    devices: tuple[ReleasedDevice, ...]
    versions: dict[str, str] = Field(default={})

    def artifact(self, name: str) -> ReleasedArtifact:
        return next(row for row in self.artifacts if row.name == name)


def read_release(folder: Path) -> FleetRelease:
    """The release of a fleet's folder. Raises FleetInvalid, and PathOutside where it names a bundle
    that lies elsewhere."""
    path = folder / RELEASE
    if not path.is_file():
        raise FleetInvalid(
            f"{folder} holds no {RELEASE}: its artifacts are not all made. `edgecomp fleet status` "
            "says which; `edgecomp fleet resume` goes on."
        )
    try:
        release = FleetRelease.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise FleetInvalid(
            f"{path} is damaged, or written by a newer edgecomp. `edgecomp fleet resume` writes it "
            "anew from the bundles."
        ) from error
    names = {row.name for row in release.artifacts}
    lost = [row.artifact for row in release.devices if row.artifact not in names]
    if lost:
        raise FleetInvalid(f"{path} gives a device {lost[0]}, which it does not list.")
    for row in release.artifacts:
        path_inside(folder, f"{row.folder}/{row.file}", path)
    return release


def make_release(folder: Path, plan: FleetPlan) -> FleetRelease:
    """The release of a fleet whose bundles are all in `folder`. Raises BundleBroken."""
    reports = {row.name: read_report(folder / ARTIFACTS / row.name) for row in plan.artifacts}
    artifacts = [_released(folder, row, reports[row.name]) for row in plan.artifacts]
    return FleetRelease(
        artifacts=tuple(artifacts),
        devices=tuple(_devices(plan, reports)),
        versions=versions(),
    )


def _released(folder: Path, planned: PlannedArtifact, report: Report) -> ReleasedArtifact:
    bundle = folder / ARTIFACTS / planned.name
    manifest = read_manifest(bundle)
    files = {
        name: listed.sha256
        for name, listed in manifest.files.items()
        if Path(name).parts[0] == manifest.artifact
    }
    return ReleasedArtifact(
        name=planned.name,
        model=planned.model,
        runtime=planned.runtime,
        format=planned.format,
        folder=f"{ARTIFACTS}/{planned.name}",
        file=manifest.artifact,
        sha256=files,
        size_bytes=report.artifact.size_bytes,
        source_sha256=manifest.source_sha256,
        task=report.recipe.constraints.task,
        verdict=report.verdict.level,
        summary=report.verdict.summary,
        divergence_nats=report.divergence.kl_or_infinity,
        drop_points={row.category: row.drop_points for row in report.comparison.categories},
        peak_memory_bytes=report.measurement.peak_memory_bytes,
        decode_tokens_per_second=_measured_speed(report),
    )


def _measured_speed(report: Report) -> float:
    depth = report.chosen.speed.prompt_tokens
    return report.measurement.at(depth).decode_tokens_per_second.median


def _devices(plan: FleetPlan, reports: dict[str, Report]) -> Iterable[ReleasedDevice]:
    """Each device with the figures of the file that was made: its mixture was solved anew, with
    what was measured of the model."""
    targets = fleet_targets(plan.request.devices, plan.request.limits)
    limits: dict[tuple[str, str], FleetLimits] = {
        (t.profile.name, t.runtime): t.limits for t in targets
    }
    models: dict[str, ModelSpec] = {}
    for row in plan.served:
        report, demand = reports[row.artifact], row.demand
        if not report.recipe.tensor_types:
            yield _device(row, None, report)
            continue
        model = models.setdefault(row.artifact, read_model(report.recipe.model))
        constraints = limits[demand.device, demand.runtime].constraints(model.context_length)
        yield _device(row, _as_made(model, demand.device, constraints, report), report)


def _as_made(model: ModelSpec, device: str, constraints: Constraints, report: Report) -> Candidate:
    recipe = report.recipe
    facts = facts_of_types(model, recipe.format, recipe.tensor_types)
    rows = ranked_candidates(model, find_device(device), constraints, [facts])
    return next((row for row in rows if keeps_limits(row)), rows[0])


def _device(row: Served, made: Candidate | None, report: Report) -> ReleasedDevice:
    broken = made is not None and not keeps_limits(made)
    predicted = made.speed.decode_tokens_per_second if made else row.decode_tokens_per_second
    here = row.demand.device == HERE
    return ReleasedDevice(
        demand=row.demand,
        artifact=row.artifact,
        fallback=row.fallback,
        settings=made.settings if made else row.settings,
        memory_bytes=made.memory.total_bytes if made else row.memory_bytes,
        decode_tokens_per_second=_measured_speed(report) if here else predicted,
        speed_basis="measured" if here else "predicted",
        faults=tuple(reason.text for reason in made.rejections) if made and broken else (),
    )
