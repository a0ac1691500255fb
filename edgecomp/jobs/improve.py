"""Carry out a verdict's remedies as new runs, and say what each gave back (R51, R52).

Each round takes the best bundle so far, changes its recipe by the first remedy not yet tried, and
makes, proves and judges a new bundle beside it. The record is written after every round; a run that
was stopped finds the finished stages of its rounds in the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from edgecomp.bundles.bundle import bundle_place
from edgecomp.bundles.compare import read_report
from edgecomp.common.atomic import require_writable, write_text
from edgecomp.common.errors import ArtifactRejected, CompressionSettingsInvalid
from edgecomp.common.events import Listener
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.comparison import Comparison
from edgecomp.evaluate.items import Category
from edgecomp.jobs.fit import fit_recipe
from edgecomp.jobs.remedy_recipes import Step, next_step, weak_categories
from edgecomp.judging.remedies import Kind, Recovery, recovery
from edgecomp.judging.verdict import Level
from edgecomp.models.reading import read_model
from edgecomp.recipes.recipe import Recipe
from edgecomp.reporting.report import Report

GOOD: tuple[Level, ...] = ("ship", "ship with accepted losses")


class Round(FrozenModel):
    """One remedy carried out."""

    number: int
    kind: Kind
    remedy: str
    change: str
    started_from: Path
    recipe: Recipe
    folder: Path | None
    """The new bundle; None where the artifact was rejected."""

    rejected: str | None
    level: Level | None
    artifact_bytes: int | None
    recovered: dict[Category, Recovery]
    """What each weak category got back, against the bundle it started from (R52); 50 % of the lost
    points is the best that recalibration is known to give back (R112)."""

    notices: tuple[str, ...]


class Improvement(FrozenModel):
    """All rounds, and the best bundle in the end."""

    schema_version: Literal[1] = 1
    start: Path
    start_level: Level
    rounds: tuple[Round, ...]
    best: Path
    best_level: Level
    ended: str
    """Why no further round was made."""


def improve(folder: Path, rounds: int, data: Path | None, listen: Listener) -> Improvement:
    """Improve the bundle in `folder`, in at most `rounds` new runs beside it.

    `data` must be the folder the bundle was evaluated with, so that its questions are the same.
    Raises BundleBroken, NotWritable where a round's bundle may not be written, before the first of
    them, and what a fit raises; a rejected artifact ends its round only.
    """
    # Beside it, whatever way it is named: `.` has no name to add to.
    folder = folder.expanduser().resolve()
    report = start = read_report(folder)
    require_writable(folder.parent)
    targets = [folder.with_name(f"{folder.name}-round{count}") for count in range(1, rounds + 1)]
    for target in targets:
        bundle_place(target)
    best, tried = folder, [report.recipe]
    done: list[Round] = []
    ended = f"{rounds} rounds were made."
    for number in range(1, rounds + 1):
        step = next_step(report, read_model(report.recipe.model), tried)
        if step is None:
            ended = _nothing_left(report)
            break
        tried.append(step.recipe)
        target = targets[number - 1]
        outcome, made = _run_round(number, step, _Attempt(best, report), target, data, listen)
        done.append(outcome)
        if made and _rank(made) < _rank(report):
            best, report = target, made
        _record(folder, start, done, best, report, f"Round {number} of {rounds} is done.")
        if report.verdict.level in GOOD:
            ended = f"The verdict on {best} is: {report.verdict.level}."
            break
    return _record(folder, start, done, best, report, ended)


def record_path(folder: Path) -> Path:
    """Where the rounds that began with a bundle are recorded: beside it, since the bundle itself is
    hashed."""
    return folder.with_name(f"{folder.name}-improve.json")


class _Attempt(NamedTuple):
    """A bundle and its report."""

    folder: Path
    report: Report


def _run_round(
    number: int,
    step: Step,
    before: _Attempt,
    target: Path,
    data: Path | None,
    listen: Listener,
) -> tuple[Round, Report | None]:
    made, rejected = None, None
    try:
        made = fit_recipe(step.recipe, target, data, listen, "improve").report
    except (ArtifactRejected, CompressionSettingsInvalid) as error:
        rejected = str(error)
    weak = weak_categories(before.report.verdict)
    same = made is not None and same_questions(before.report.comparison, made.comparison)
    notice = (
        "The questions are not those of the bundle before, so nothing can be said to have come "
        "back. Give the same --data as then."
    )
    outcome = Round(
        number=number,
        kind=step.kind,
        remedy=step.text,
        change=step.change,
        started_from=before.folder,
        recipe=made.recipe if made else step.recipe,
        folder=target if made else None,
        rejected=rejected,
        level=made.verdict.level if made else None,
        artifact_bytes=made.artifact.size_bytes if made else None,
        recovered=recovered(weak, before.report.comparison, made.comparison)
        if made and same
        else {},
        notices=(notice,) if made and not same else (),
    )
    return outcome, made


def recovered(
    categories: set[Category], before: Comparison, after: Comparison
) -> dict[Category, Recovery]:
    """What each category regained from one attempt to the next; their base is the same.

    Of one set more may have been asked in one of them, so drops are set beside each other.
    """
    found = {}
    for category in sorted(categories):
        first, second = before.category(category), after.category(category)
        if first and second:
            base = first.base_percent
            found[category] = recovery(base, first.artifact_percent, base - second.drop_points)
    return found


def same_questions(before: Comparison, after: Comparison) -> bool:
    """Whether the questions came from the same sets in the same order; of results that tell no
    sets, whether the base scored the same on as many items of the same benchmarks."""
    if before.questions or after.questions:
        return before.questions == after.questions
    first, second = (
        {(row.name, row.items, row.base_percent) for row in (*found.benchmarks, *found.categories)}
        for found in (before, after)
    )
    return first == second


def _rank(report: Report) -> tuple[float, ...]:
    """Lower is better: the verdict, then the points lost in what it found lost, then divergence."""
    verdict = report.verdict
    weak = weak_categories(verdict)
    lost = sum(row.drop_points for row in report.comparison.categories if row.category in weak)
    # To recalibrate is a diagnosis of the same loss that forbids shipping, and no better.
    levels = (*GOOD, "incomplete")
    place = levels.index(verdict.level) if verdict.level in levels else len(levels)
    return place, lost, report.divergence.kl_or_infinity


def _nothing_left(report: Report) -> str:
    """Why no recipe follows from the verdict."""
    if not report.verdict.remedies:
        return f"The verdict is {report.verdict.level} and proposes nothing."
    texts = " ".join(remedy.text for remedy in report.verdict.remedies)
    return (
        "No remedy is left that a recipe could carry out within the constraints "
        f"of the bundle. What was proposed: {texts}"
    )


def _record(
    folder: Path, start: Report, rounds: list[Round], best: Path, report: Report, ended: str
) -> Improvement:
    improvement = Improvement(
        start=folder,
        start_level=start.verdict.level,
        rounds=tuple(rounds),
        best=best,
        best_level=report.verdict.level,
        ended=ended,
    )
    write_text(record_path(folder), improvement.model_dump_json(indent=1))
    return improvement
