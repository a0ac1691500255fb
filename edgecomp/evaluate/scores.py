"""Scores of one artifact alone, each with its 95 % interval: what can be said without a base."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.items import Category, ItemResult
from edgecomp.evaluate.statistics import Interval, bootstrap_mean_interval, wilson_interval


class Score(FrozenModel):
    """One category or benchmark."""

    name: str
    category: Category
    items: int
    percent: float
    interval: Interval
    """In percent: Wilson's for right or wrong answers, a bootstrap's for graded ones."""

    chance_percent: float
    above_chance: bool
    """False where the score cannot be told from guessing."""

    unparsed: int
    cut_off: int
    """Answers that could not be understood, and answers ended by the token limit."""


def scores_by_category(results: Sequence[ItemResult]) -> tuple[Score, ...]:
    """A score a category (R12); written answers count for toxicity as well (R76)."""
    rows = _scores(results, lambda result: result.category)
    written = [result for result in results if result.toxic is not None]
    if written and not any(row.category == "toxicity" for row in rows):
        clean = [result.judged_by_lexicon() for result in written]
        rows += _scores(clean, lambda result: result.category)
    return tuple(rows)


def scores_by_benchmark(results: Sequence[ItemResult]) -> tuple[Score, ...]:
    """A score a benchmark."""
    return tuple(_scores(results, lambda result: result.benchmark))


def _scores(results: Sequence[ItemResult], key: Callable[[ItemResult], str]) -> list[Score]:
    groups: dict[str, list[ItemResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return [_score(name, group) for name, group in groups.items()]


def _score(name: str, results: Sequence[ItemResult]) -> Score:
    points = [result.score for result in results]
    chance = float(np.mean([result.chance for result in results]))
    if all(result.binary for result in results):
        interval = wilson_interval(round(sum(points)), len(points))
    else:
        interval = bootstrap_mean_interval(points)
    return Score(
        name=name,
        category=results[0].category,
        items=len(results),
        percent=100 * float(np.mean(points)),
        interval=Interval(low=100 * interval.low, high=100 * interval.high),
        chance_percent=100 * chance,
        above_chance=interval.low > chance,
        unparsed=sum(not result.parsed for result in results),
        cut_off=sum(not result.ended for result in results),
    )
