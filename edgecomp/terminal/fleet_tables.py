"""Fleets for a terminal: the set, what it serves, and its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape

from edgecomp.common.quantity import format_duration, format_rate, format_size
from edgecomp.jobs.fleet_compare import ArtifactDelta, FleetComparison
from edgecomp.jobs.fleet_gate import GateOutcome
from edgecomp.jobs.fleet_plan import Demand, FleetPlan, OtherSet
from edgecomp.jobs.fleet_release import FleetRelease
from edgecomp.jobs.fleet_run import FleetStatus
from edgecomp.terminal.fitting_table import FittingTable

SHOWN = 8
"""Devices that a sentence names before it counts."""


def fleet_plan_table(plan: FleetPlan) -> RenderableType:
    """The artifacts, who is served by which, what is not served and why, and what one file more or
    fewer would change."""
    parts: list[RenderableType] = [_heading(plan)]
    if plan.artifacts:
        parts += ["", _artifacts(plan), "", _served(plan)]
    if plan.unserved:
        parts += ["", "[bold]Not served[/bold]"]
        parts += [escape(f"  {text}") for text in _reasons(plan)]
    parts += ["", *_neighbours(plan)]
    refusals = [(row.name, text) for row in plan.artifacts for text in row.job.refusals]
    parts += [escape(f"Cannot be made here: {name}. {text}") for name, text in refusals]
    return Group(*parts)


def _heading(plan: FleetPlan) -> str:
    files, devices = len(plan.artifacts), {row.demand.device for row in plan.served}
    return (
        f"[bold]{_counted(files, 'file')}[/bold], {format_size(plan.size_bytes)} together, "
        f"{'serves' if files == 1 else 'serve'} {_counted(len(devices), 'device')}, expected to "
        f"lose {_share(plan.loss_share)} of what is tolerated. Making and proving takes "
        f"{format_duration(plan.job_seconds)} here at most."
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _artifacts(plan: FleetPlan) -> RenderableType:
    columns = ("artifact", "size", "loss nats", "tasks", "devices", "time here")
    rows = [
        (
            row.name,
            format_size(row.file_bytes),
            f"{row.expected_divergence_nats:.2g}",
            ", ".join(row.tasks),
            str(len(row.devices)),
            format_duration(row.job.seconds),
        )
        for row in plan.artifacts
    ]
    return FittingTable(columns, (False, True, True, False, True, True), rows)


def _served(plan: FleetPlan) -> RenderableType:
    """A row for each device and artifact; tasks that the same one serves share it."""
    rows: dict[tuple[str, str, str | None], tuple[str, ...]] = {}
    for row in plan.served:
        key = (row.demand.device, row.artifact, row.fallback)
        tasks = [*rows[key][1].split(", "), row.demand.task] if key in rows else [row.demand.task]
        rows[key] = (
            row.demand.device,
            ", ".join(tasks),
            row.artifact,
            format_size(row.memory_bytes),
            format_rate(row.decode_tokens_per_second),
            row.fallback or "-",
        )
    columns = ("device", "tasks", "artifact", "peak memory", "decode tok/s", "fallback")
    return FittingTable(columns, (False, False, False, True, True, False), list(rows.values()))


def _neighbours(plan: FleetPlan) -> Iterable[str]:
    if plan.one_more:
        yield escape(
            f"One file more ({_changes(plan.one_more)}): expected loss "
            f"{_share(plan.one_more.loss_share)} of what is tolerated, "
            f"{format_size(plan.one_more.size_bytes)} together."
        )
    elif plan.artifacts:
        yield "One file more would not lessen the expected loss."
    if plan.one_fewer:
        yield escape(
            f"One file fewer ({_changes(plan.one_fewer)}) leaves without an artifact: "
            f"{_listed(plan.one_fewer.unserved)}."
        )


def _changes(other: OtherSet) -> str:
    return ", ".join([*(f"+ {n}" for n in other.added), *(f"- {n}" for n in other.removed)])


def _reasons(plan: FleetPlan) -> list[str]:
    """What is not served, demands of one reason together."""
    alike: dict[tuple[str, str], list[Demand]] = {}
    for row in plan.unserved:
        alike.setdefault((row.demand.model, row.reason), []).append(row.demand)
    return [f"{_listed(demands)}: {reason}" for (_, reason), demands in alike.items()]


def _listed(demands: Sequence[Demand]) -> str:
    """Demands by model, with their devices and tasks."""
    by_model: dict[str, list[Demand]] = {}
    for demand in demands:
        by_model.setdefault(demand.model, []).append(demand)
    return "; ".join(f"{model} on {_places(own)}" for model, own in by_model.items())


def _places(demands: Sequence[Demand]) -> str:
    devices = list(dict.fromkeys(demand.device for demand in demands))
    tasks = ", ".join(dict.fromkeys(demand.task for demand in demands))
    more = [f"and {len(devices) - SHOWN} more"] if len(devices) > SHOWN else []
    return f"{', '.join([*devices[:SHOWN], *more])} ({tasks})"


def fleet_status_table(status: FleetStatus) -> RenderableType:
    """What became of each artifact, and what each device gets."""
    done = sum(row.state == "done" for row in status.artifacts)
    at_work = ", at work now" if status.running else ""
    rows = [
        (row.name, row.state, format_duration(row.seconds) if row.seconds else "-", row.text)
        for row in status.artifacts
    ]
    parts: list[RenderableType] = [
        f"{done} of {_counted(len(rows), 'artifact')} made{at_work}.",
        "",
        FittingTable(("artifact", "state", "time", "what was found"), [False] * 4, rows),
    ]
    if status.release:
        parts += ["", _released(status.release)]
    elif not status.running:
        parts += ["", escape(f"edgecomp fleet resume {status.folder} goes on.")]
    return Group(*parts)


def _released(release: FleetRelease) -> RenderableType:
    rows = [
        (
            row.demand.device,
            row.demand.task,
            row.artifact,
            format_size(row.memory_bytes),
            f"{format_rate(row.decode_tokens_per_second)} {row.speed_basis}",
            release.artifact(row.artifact).verdict,
            " ".join(row.faults) or "-",
        )
        for row in release.devices
    ]
    columns = ("device", "task", "artifact", "peak memory", "decode tok/s", "verdict", "faults")
    return FittingTable(columns, [name == "peak memory" for name in columns], rows)


def gate_table(outcome: GateOutcome) -> RenderableType:
    """What breaks the policy."""
    if outcome.passed:
        return Group("[bold]The release keeps the policy.[/bold]", *map(escape, outcome.notes))
    rows = [(row.figure, row.subject, row.text) for row in outcome.breaches]
    count = _counted(len(rows), "figure")
    return Group(
        f"[bold]The release breaks the policy[/bold] in {count}.",
        "",
        FittingTable(("figure", "of", "what is wrong"), [False] * 3, rows),
        *map(escape, outcome.notes),
    )


def fleet_comparison_table(comparison: FleetComparison) -> RenderableType:
    """What each device gets otherwise, and the bytes that it lacks."""
    rows = [
        (row.change, row.demand.device, row.demand.task, row.old or "-", row.new or "-")
        for row in comparison.demands
        if row.change != "same"
    ]
    same = len(comparison.demands) - len(rows)
    parts: list[RenderableType] = [f"{_counted(same, 'demand')} of {len(comparison.demands)} kept."]
    if rows:
        columns = ("change", "device", "task", "old artifact", "new artifact")
        parts += ["", FittingTable(columns, [False] * 5, rows)]
    parts += ["", *(escape(_delta(row)) for row in comparison.deltas)]
    return Group(*parts)


def _delta(row: ArtifactDelta) -> str:
    if not row.delta_bytes and not row.removed:
        return f"{row.new}: every byte is that of {row.old}."
    share = 100 * row.delta_bytes / max(row.size_bytes, 1)
    touched = [*row.changed, *(f"+ {n}" for n in row.added), *(f"- {n}" for n in row.removed)]
    more = f" and {len(touched) - SHOWN} more" if len(touched) > SHOWN else ""
    return (
        f"{row.old} to {row.new}: {format_size(row.delta_bytes)} of "
        f"{format_size(row.size_bytes)} differ ({share:.0f} %), {row.unchanged_parts} parts are "
        f"unchanged. Changed: {', '.join(touched[:SHOWN])}{more}."
    )
