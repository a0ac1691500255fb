"""A plan for a terminal: the answer first, the whole table where it is asked for."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from edgecomp.common.quantity import format_duration, format_rate, format_size
from edgecomp.jobs.question_budget import decidable
from edgecomp.planning.answer import alternatives, expected_loss, figures, reason, what_does_not_fit
from edgecomp.planning.plan import Candidate, JobCost, Plan
from edgecomp.recipes.recipe import QUESTION_SECONDS
from edgecomp.terminal.fitting_table import FittingTable

REJECTED_SHOWN = 12
ALTERNATIVE_COLUMNS = (
    "if you want", "format", "context", "size", "peak memory", "decode tok/s", "loss nats", "risk",
)  # fmt: skip
WORDED = ("if you want", "format", "risk", "fits")


def plan_answer(plan: Plan) -> RenderableType:
    """What to make and why, what else one could want, what does not fit, and what making it
    costs."""
    parts: list[RenderableType] = [_heading(plan)]
    if plan.chosen:
        parts += [_choice(plan.chosen), escape(reason(plan)), *_alternatives(plan)]
        out = what_does_not_fit(plan)
        parts += ["", escape(out)] if out else []
    else:
        parts += _nothing_fits(plan)
    parts += ["", *_notes(plan)]
    if plan.job:
        parts.append(escape(plan.job.sentence))
        if plan.job.question_seconds:
            parts.append(decidable(plan.job.question_seconds, QUESTION_SECONDS).sentence)
    parts.append("--all shows every candidate, and what becomes of each method.")
    return Group(*parts)


def plan_table(plan: Plan) -> RenderableType:
    """Every candidate, best first; then what was rejected and why; then the job's cost."""
    out = [row for row in plan.candidates if row.rejections]
    parts: list[RenderableType] = [_heading(plan), _candidates(plan)]
    if out:
        shown = min(REJECTED_SHOWN, len(out))
        parts += ["", f"[bold]Rejected[/bold] ({len(out)}, the first {shown})"]
        parts += [
            escape(f"  {row.label}: {' '.join(reason.text for reason in row.rejections)}")
            for row in out[:shown]
        ]
    parts += ["", "[bold]Methods[/bold]"]
    parts += [
        escape(f"  {family.name}: {'' if family.kept else 'out. '}{family.reason}")
        for family in plan.families
    ]
    if len(plan.placements) > 1:
        parts += ["", placements_table(plan)]
    if plan.job:
        parts += ["", job_table(plan.job)]
    parts += ["", *_notes(plan)]
    parts += [_choice(plan.chosen)] if plan.chosen else _nothing_fits(plan)
    return Group(*parts)


def _heading(plan: Plan) -> str:
    return f"[bold]{escape(plan.model)}[/bold] on {escape(plan.device_title)}"


def _choice(chosen: Candidate) -> str:
    return f"[bold]Chosen: {escape(chosen.name)}[/bold], {escape(figures(chosen))}"


def _alternatives(plan: Plan) -> list[RenderableType]:
    rows = [
        (
            ", ".join(purposes),
            row.name,
            f"{row.context:,}",
            format_size(row.file_bytes),
            format_size(row.memory.total_bytes),
            format_rate(row.speed.decode_tokens_per_second),
            expected_loss(row),
            row.risk,
        )
        for purposes, row in alternatives(plan)
    ]
    if not rows:
        return []
    numeric = [name not in WORDED for name in ALTERNATIVE_COLUMNS]
    return ["", FittingTable(ALTERNATIVE_COLUMNS, numeric, rows)]


def _nothing_fits(plan: Plan) -> list[RenderableType]:
    return [f"[bold]Nothing fits.[/bold] {escape(plan.nearest or '')}"]


def _notes(plan: Plan) -> list[RenderableType]:
    notes = (*plan.notices, *(plan.chosen.notes if plan.chosen else ()))
    return [escape(f"Note: {note}") for note in notes]


def _candidates(plan: Plan) -> RenderableType:
    """A row for each format and use of cards; contexts are columns."""
    kept = [row for row in plan.candidates if not row.rejections]
    contexts = sorted({row.context for row in kept})
    groups: dict[tuple[str, bool], dict[int, Candidate]] = {}
    for row in kept:
        groups.setdefault((row.name, bool(row.placement.gpus)), {})[row.context] = row
    peaks = [f"memory at {context:,}" for context in contexts]
    columns = ("format", "bits", "size", *peaks, "decode tok/s", "prefill tok/s", "loss nats",
               "risk", "fits")  # fmt: skip
    rows = [_cells(by_context, contexts) for by_context in groups.values()]
    return FittingTable(columns, [name not in WORDED for name in columns], rows)


def _cells(by_context: dict[int, Candidate], contexts: list[int]) -> list[str]:
    first = next(iter(by_context.values()))
    return [
        first.name,
        f"{first.bits_per_weight:.2f}",
        format_size(first.file_bytes),
        *(_peak(by_context[n]) if n in by_context else "-" for n in contexts),
        format_rate(first.speed.decode_tokens_per_second),
        format_rate(first.speed.prefill_tokens_per_second),
        expected_loss(first),
        first.risk,
        "/".join(dict.fromkeys(by_context[n].fits for n in contexts if n in by_context)),
    ]


def _peak(row: Candidate) -> str:
    """The peak memory, and how many layers are on cards."""
    size = format_size(row.memory.total_bytes)
    return f"{size} ({row.placement.gpu_layers} L)" if row.placement.gpus else size


def placements_table(plan: Plan) -> RenderableType:
    """The ways to place the chosen candidate, the fastest first, and what one layer more brings."""
    chosen = plan.chosen
    pools = list(dict.fromkeys(name for row in plan.placements for name in row.pool_bytes))
    figures = ("decode tok/s", "prefill tok/s", "batch", *pools)
    rows = [
        (
            row.placement.label or "everything on CPU",
            format_rate(row.decode_tokens_per_second),
            format_rate(row.prefill_tokens_per_second),
            str(row.micro_batch),
            *(format_size(row.pool_bytes[n]) if n in row.pool_bytes else "-" for n in pools),
            "yes" if row.fits else "no",
        )
        for row in plan.placements
    ]
    table = FittingTable(
        (f"placements of {chosen.name if chosen else ''}", *figures, "fits"),
        (False, *(True for _ in figures), False),
        rows,
    )
    more = plan.one_layer_more
    if more is None:
        return table
    return Group(
        table,
        f"One {more.what} more on the card: {more.decode_tokens_per_second:+.2g} tok/s for "
        f"{format_size(more.bytes)} of {more.pool}, of which {format_size(more.free_bytes)} "
        "are free.",
    )


def job_table(job: JobCost) -> RenderableType:
    """What the work itself needs here."""
    table = Table(box=None, pad_edge=False)
    for name in ("the job here", "time", "peak memory", "disk", "basis"):
        table.add_column(name, justify="left" if name in ("the job here", "basis") else "right")
    for stage in job.stages:
        table.add_row(
            stage.stage,
            format_duration(stage.seconds),
            format_size(stage.peak_memory_bytes),
            format_size(stage.disk_bytes),
            stage.basis,
        )
    table.add_row(
        "together",
        format_duration(job.seconds),
        format_size(job.peak_memory_bytes),
        format_size(job.disk_bytes),
        f"{format_size(job.free_memory_bytes)} and {format_size(job.free_disk_bytes)} free",
        style="bold",
    )
    return table
