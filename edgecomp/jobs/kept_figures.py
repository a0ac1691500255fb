"""The figures of runs, as the store of results keeps them (results/store.py)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgecomp import __version__
from edgecomp.common.folders import path_bytes
from edgecomp.evaluate.comparison import Comparison
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.scores import Score
from edgecomp.evaluate.statistics import Interval, Spread
from edgecomp.judging.verdict import Efficiency
from edgecomp.measure.latency import DepthLatency, Prediction
from edgecomp.measure.serving import ServingLevel
from edgecomp.reporting.report import Report
from edgecomp.results.stored_run import Figure, Job, StoredRun

PREDICTED = {
    "decode": "decode at depth",
    "prefill": "prefill of",
    "first token": "time to first token",
}
"""How a report's predictions of a speed begin, by the quantity here."""


def now() -> datetime.datetime:
    """The moment that a run is kept at."""
    return datetime.datetime.now(datetime.UTC)


def report_run(report: Report, folder: Path, job: Job) -> StoredRun:
    """A run with its bundle in `folder`."""
    recipe, measured = report.recipe, report.measurement
    here = measured.machine.processor
    return StoredRun(
        at=now(),
        job=job,
        model=report.model.name,
        model_sha256=report.model.source_sha256,
        artifact=str(folder.expanduser().resolve()),
        artifact_sha256=report.artifact.file.sha256,
        runtime=recipe.runtime,
        device=here if recipe.device == "auto" else recipe.device,
        format=report.chosen.format,
        method=recipe.rounding,
        bits_per_weight=report.chosen.bits_per_weight,
        size_bytes=report.artifact.size_bytes,
        context=recipe.settings.context,
        threads=recipe.settings.threads,
        kv_type=recipe.settings.kv_type,
        task=recipe.constraints.task,
        verdict=report.verdict.level,
        busy=measured.machine.busy,
        version=__version__,
        figures=(*_report_figures(report, here), *_elsewhere(report)),
    )


def _report_figures(report: Report, here: str) -> Iterator[Figure]:
    chosen, measured = report.chosen, report.measurement
    yield Figure(
        quantity="size", unit="bytes", device=here, predicted=chosen.file_bytes,
        measured=report.artifact.size_bytes, basis="tensor by tensor",
    )  # fmt: skip
    nats = chosen.expected_divergence_nats
    yield from divergence_figures(report.divergence, here, predicted=nats)
    yield from comparison_figures(report.comparison, here)
    for row in report.predictions:
        if row.unit == "bytes":
            yield Figure(
                quantity=row.quantity, unit=row.unit, device=here, predicted=row.predicted,
                measured=row.measured, basis=row.basis,
            )  # fmt: skip
    planned = measured.at(chosen.speed.prompt_tokens)
    for depth in sorted(measured.depths, key=lambda row: row.depth):
        # The plan speaks of one depth; the others are measured alone.
        yield from _speeds(depth, here, report.predictions if depth == planned else ())
    yield Figure(quantity="load", unit="s", device=here, measured=measured.load_seconds)


def _speeds(row: DepthLatency, here: str, told: Iterable[Prediction]) -> Iterator[Figure]:
    known = {
        quantity: prediction
        for prediction in told
        for quantity, beginning in PREDICTED.items()
        if prediction.quantity.startswith(beginning)
    }
    measured: tuple[tuple[str, str, Spread], ...] = (
        ("decode", "tok/s", row.decode_tokens_per_second),
        ("prefill", "tok/s", row.prefill_tokens_per_second),
        ("first token", "s", row.first_token_seconds),
    )
    for quantity, unit, spread in measured:
        prediction = known.get(quantity)
        yield Figure(
            quantity=quantity, subject=f"{row.depth} tokens", unit=unit, device=here,
            predicted=prediction.predicted if prediction else None,
            measured=spread.median, low=spread.p5, high=spread.p95,
            basis=prediction.basis if prediction else "",
        )  # fmt: skip


def _elsewhere(report: Report) -> Iterator[Figure]:
    """What the plan says of a device that is not this machine: nothing was measured there."""
    chosen, device = report.chosen, report.recipe.device
    if device == "auto":
        return
    speed, memory = chosen.speed, chosen.memory
    depth = f"{speed.prompt_tokens} tokens"
    for quantity, subject, unit, predicted, basis in (
        ("peak memory", "", "bytes", memory.total_bytes, memory.basis),
        ("decode", depth, "tok/s", speed.decode_tokens_per_second, speed.basis),
        ("prefill", depth, "tok/s", speed.prefill_tokens_per_second, speed.basis),
        ("first token", depth, "s", speed.first_token_seconds, speed.basis),
    ):
        yield Figure(
            quantity=quantity, subject=subject, unit=unit, device=device, predicted=predicted,
            basis=basis,
        )  # fmt: skip


def divergence_figures(
    row: DivergenceSummary | None, here: str, predicted: float | None = None
) -> Iterator[Figure]:
    """How far predictions are from the base's."""
    if row is None:
        return
    yield Figure(
        quantity="divergence", unit="nats", device=here, predicted=predicted,
        measured=row.kl_mean, **_bounds(row.kl_mean_interval),
    )  # fmt: skip
    yield Figure(
        quantity="same first choice", unit="%", device=here, measured=row.agreement_percent,
        **_bounds(row.agreement_interval),
    )  # fmt: skip
    yield Figure(
        quantity="perplexity ratio", unit="", device=here, measured=row.perplexity_ratio,
        **_bounds(row.perplexity_ratio_interval),
    )  # fmt: skip


def comparison_figures(comparison: Comparison | None, here: str) -> Iterator[Figure]:
    """What each category scores, and what it lost of its base's score."""
    for row in comparison.categories if comparison else ():
        yield Figure(
            quantity="score", subject=row.name, unit="%", device=here, measured=row.artifact_percent
        )
        yield Figure(
            quantity="drop", subject=row.name, unit="points", device=here,
            measured=row.drop_points, **_bounds(row.drop_interval),
        )  # fmt: skip


def score_figures(scores: Iterable[Score], here: str) -> Iterator[Figure]:
    """What each category scores, where there is no base."""
    for row in scores:
        yield Figure(
            quantity="score", subject=row.name, unit="%", device=here, measured=row.percent,
            **_bounds(row.interval),
        )  # fmt: skip


def efficiency_figures(row: Efficiency | None, here: str) -> Iterator[Figure]:
    """Speed and memory of an evaluated artifact."""
    if row is None:
        return
    decode, peak = row.decode_tokens_per_second, row.peak_memory_bytes
    yield Figure(quantity="peak memory", unit="bytes", device=here, measured=peak)
    yield Figure(quantity="decode", unit="tok/s", device=here, measured=decode)


def level_figures(level: ServingLevel, here: str, subject: str) -> Iterator[Figure]:
    """What a server did under one load."""
    spread = level.output_tokens_per_second_spread
    first, between = level.first_token_seconds, level.between_tokens_seconds
    yield Figure(
        quantity="served output", subject=subject, unit="tok/s", device=here,
        measured=level.output_tokens_per_second, low=spread.p5, high=spread.p95,
    )  # fmt: skip
    figures = [
        ("served prompts", "tok/s", level.prompt_tokens_per_second),
        ("served requests", "1/s", level.requests_per_second),
        ("served first token p50", "s", first.p50),
        ("served first token p99", "s", first.p99),
        ("served between tokens p50", "s", between.p50 if between else None),
        ("served between tokens p99", "s", between.p99 if between else None),
        ("served peak memory", "bytes", level.peak_memory_bytes),
        ("served energy", "J/token", level.joules_per_output_token),
    ]
    for quantity, unit, measured in figures:
        if measured is not None:
            yield Figure(
                quantity=quantity, subject=subject, unit=unit, device=here, measured=measured
            )


def artifact_size(path: Path, here: str) -> Figure:
    """The size of a file or folder that somebody made."""
    return Figure(quantity="size", unit="bytes", device=here, measured=path_bytes(path))


def _bounds(interval: Interval | None) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high} if interval else {}
