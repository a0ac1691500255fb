"""Make, judge, measure and bundle the artifacts of a fleet, one after the other, in a folder.

`run.json` holds the plan, which is made once; `state.json` what became of each artifact so far;
`artifacts/` their bundles; and `fleet.json`, written when all are made, what each device gets. A
run that ends early keeps its finished bundles, and the stages of the unfinished one are in the
cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from edgecomp.bundles.bundle import MANIFEST, read_manifest
from edgecomp.bundles.compare import read_report
from edgecomp.common.atomic import require_writable, write_text
from edgecomp.common.errors import (
    BundleBroken,
    ConstraintsImpossible,
    FleetInvalid,
    JobTooLarge,
    NotWritable,
    RunBusy,
)
from edgecomp.common.events import Listener, Noted
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.jobs.fleet_artifact import ARTIFACTS, ArtifactState, make_fleet_artifact
from edgecomp.jobs.fleet_cluster import make_on_cluster, require_cluster
from edgecomp.jobs.fleet_plan import FleetPlan, PlannedArtifact, plan_fleet
from edgecomp.jobs.fleet_release import (
    RELEASE,
    FleetRelease,
    make_release,
    read_release,
)
from edgecomp.jobs.kept_figures import report_run
from edgecomp.recipes.fleet import FleetRequest
from edgecomp.results.store import keep_result

Kind = TypeVar("Kind", bound=FrozenModel)

RUN, STATE, LOCK = "run.json", "state.json", ".lock"


class FleetRun(FrozenModel):
    """What a folder is for: the plan that is carried out, and the data that judges it."""

    schema_version: Literal[1] = 1
    plan: FleetPlan
    data: Path | None


class FleetState(FrozenModel):
    """What became of all of them."""

    schema_version: Literal[1] = 1
    artifacts: tuple[ArtifactState, ...]


class FleetStatus(FrozenModel):
    """How far a fleet is."""

    schema_version: Literal[1] = 1
    folder: Path
    running: bool
    artifacts: tuple[ArtifactState, ...]
    release: FleetRelease | None
    """What each device gets; None: not all artifacts are made."""


def run_fleet(
    request: FleetRequest,
    folder: Path,
    data: Path | None,
    listen: Listener,
    address: str | None = None,
) -> FleetStatus:
    """Plan a fleet and make it in `folder`; where that was begun, go on.

    An artifact that cannot be made is told in the status, and the others are made: one after the
    other here, or on the Ray cluster at `address`. Raises
    ConstraintsImpossible and JobTooLarge before any work, RunBusy, and NotWritable where the folder
    holds something else.
    """
    folder = folder.expanduser().resolve()
    data = data.expanduser().resolve() if data else None
    if (folder / RUN).is_file():
        begun = _read(folder / RUN, FleetRun)
        if (begun.plan.request, begun.data) != (request, data):
            raise NotWritable(folder, "it holds a fleet of another file or data")
        return resume_fleet(folder, listen, address)
    require_writable(folder)
    if folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise NotWritable(folder, "it holds other files")
    if address:
        require_cluster(address)
    plan = plan_fleet(request)
    _refuse_impossible(plan)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RUN, FleetRun(plan=plan, data=data).model_dump_json(indent=1))
    return resume_fleet(folder, listen, address)


def resume_fleet(folder: Path, listen: Listener, address: str | None = None) -> FleetStatus:
    """Make what a fleet's folder still lacks; what failed is tried again.

    Raises FleetInvalid where none was begun there, RunBusy, NotWritable, and with the `address` of
    a Ray cluster what `make_on_cluster` raises.
    """
    folder = folder.expanduser().resolve()
    run = _read(folder / RUN, FleetRun)
    require_writable(folder)
    try:
        with FileLock(folder / LOCK, timeout=0):
            _make_all(folder, run, listen, address)
    except Timeout as error:
        raise RunBusy(f"Another process is making the fleet in {folder}.") from error
    return fleet_status(folder)


def fleet_status(folder: Path) -> FleetStatus:
    """How far the fleet in `folder` is. Raises FleetInvalid where none was begun there."""
    folder = folder.expanduser().resolve()
    run = _read(folder / RUN, FleetRun)
    complete = (folder / RELEASE).is_file()
    return FleetStatus(
        folder=folder,
        running=_is_locked(folder),
        artifacts=_states(folder, run),
        release=read_release(folder) if complete else None,
    )


def _refuse_impossible(plan: FleetPlan) -> None:
    if plan.unserved:
        first = plan.unserved[0]
        raise ConstraintsImpossible(
            f"Nothing serves {first.demand.model} on {first.demand.device} for "
            f"{first.demand.task}: {first.reason} `edgecomp fleet plan` lists all of which that is "
            "so; take them out of the file, or give them other limits."
        )
    for artifact in plan.artifacts:
        if artifact.job.refusals:
            raise JobTooLarge(
                f"This machine cannot make {artifact.name}. {' '.join(artifact.job.refusals)} Free "
                "some, or make the fleet on a larger machine."
            )


def _make_all(folder: Path, run: FleetRun, listen: Listener, address: str | None) -> None:
    states = {row.name: row for row in _states(folder, run)}
    lacking = [row for row in run.plan.artifacts if states[row.name].state != "done"]
    if address and lacking:
        made = make_on_cluster(address, folder, lacking, run.data, listen)
    else:
        made = _make_in_turn(folder, run, lacking, listen)
    for state in made:
        states[state.name] = state
        if address and state.state == "done":
            _keep_here(folder / ARTIFACTS / state.name, listen)
        value = FleetState(artifacts=tuple(states.values()))
        write_text(folder / STATE, value.model_dump_json(indent=1))
    if all(row.state == "done" for row in states.values()):
        release = make_release(folder, run.plan)
        write_text(folder / RELEASE, release.model_dump_json(indent=1))


def _keep_here(bundle: Path, listen: Listener) -> None:
    """Keep the results of an artifact that another machine made, and kept there."""
    keep_result(report_run(read_report(bundle), bundle, "fleet"), listen)


def _make_in_turn(
    folder: Path, run: FleetRun, lacking: Sequence[PlannedArtifact], listen: Listener
) -> Iterator[ArtifactState]:
    every = run.plan.artifacts
    for planned in lacking:
        number = every.index(planned) + 1
        listen(Noted(text=f"Artifact {number} of {len(every)}: {planned.name}"))
        yield make_fleet_artifact(folder, planned, run.data, listen)


def _states(folder: Path, run: FleetRun) -> tuple[ArtifactState, ...]:
    """What became of each artifact; one whose bundle is gone is to be made again."""
    known: dict[str, ArtifactState] = {}
    if (folder / STATE).is_file():
        known = {row.name: row for row in _read(folder / STATE, FleetState).artifacts}
    found = []
    for planned in run.plan.artifacts:
        row = known.get(planned.name, ArtifactState(name=planned.name))
        lost = row.state == "done" and not _is_bundle(folder / ARTIFACTS / planned.name)
        found.append(ArtifactState(name=planned.name) if lost else row)
    return tuple(found)


def _is_bundle(folder: Path) -> bool:
    try:
        manifest = read_manifest(folder)
    except BundleBroken:
        return False
    return all((folder / name).is_file() for name in (MANIFEST, *manifest.files))


def _is_locked(folder: Path) -> bool:
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _read(path: Path, kind: type[Kind]) -> Kind:
    """A file of the folder. Raises FleetInvalid."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FleetInvalid(
            f"{path.parent} holds no fleet: {path.name} cannot be read there. Begin one with "
            f"edgecomp fleet run FILE -o {path.parent}"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise FleetInvalid(
            f"{path} is damaged, or written by a newer edgecomp. Nothing was changed. Run the "
            "fleet in another folder: finished stages are kept."
        ) from error
