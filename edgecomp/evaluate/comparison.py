"""Base and artifact side by side, on the items both answered.

A drop is in percentage points and stands beside its retention; neither replaces the other. What
lies inside its noise is not resolved, and how many items would resolve it is said. Where the sets
that the items were drawn from are known, each category is decided: more lost than is tolerated, or
not, or not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from edgecomp.common.errors import EvidenceTooNarrow
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.bias_score import BiasScores, bias_differences, bias_scores
from edgecomp.evaluate.confidence_sequence import mean_interval
from edgecomp.evaluate.decisions import Decision, Drops, decide
from edgecomp.evaluate.items import Category, ItemResult, bucket
from edgecomp.evaluate.statistics import (
    Interval,
    discordant,
    items_to_resolve,
    mcnemar_p,
    paired_difference_interval,
    wilson_interval,
)
from edgecomp.recipes.tolerances import TOLERANCE_POINTS, Tolerances


class ScoreComparison(FrozenModel):
    """One category or benchmark, before and after. Without `items` the scores are published ones
    and carry no noise."""

    name: str
    category: Category
    base_percent: float
    artifact_percent: float
    drop_points: float
    """base - artifact, in percentage points: positive is a loss."""

    retention_percent: float | None
    """artifact / base x 100; None where the base scores 0."""

    items: int | None = None
    drop_interval: Interval | None = None
    """95 % interval of the drop over paired items, in points. Where there is a decision, of the
    drop over the whole set, at whatever moment asking ended."""

    set_items: int | None = None
    """How many questions the set has that the items were drawn from, where that is known."""

    tolerance_points: float = TOLERANCE_POINTS
    decision: Decision | None = None
    """Whether more than is tolerated is lost; None where the items were not drawn to decide."""

    lost_items: int = 0
    won_items: int = 0
    """Items that only the base has right, or more right, and that only the artifact has."""

    mcnemar_p: float | None = None
    items_to_resolve: int | None = None
    chance_percent: float | None = None
    base_above_chance: bool | None = None
    """False where the base's own score cannot be told from guessing: no loss could show."""

    base_unparsed: int = 0
    artifact_unparsed: int = 0
    base_cut_off: int = 0
    artifact_cut_off: int = 0
    """Answers ended by the token limit."""

    @property
    def resolved(self) -> bool | None:
        """Whether the drop is outside its noise; None where the noise is not known."""
        return None if self.drop_interval is None else self.drop_interval.excludes(0.0)


class BiasComparison(FrozenModel):
    """BBQ bias scores before and after, each -1 to 1, 0 being without bias. Published scores carry
    no interval."""

    base: BiasScores
    artifact: BiasScores
    ambiguous_interval: Interval | None = None
    """95 % interval of |artifact| - |base|."""

    disambiguated_interval: Interval | None = None


class Comparison(FrozenModel):
    """All categories and benchmarks that base and artifact both answered."""

    schema_version: Literal[1] = 1
    categories: tuple[ScoreComparison, ...]
    benchmarks: tuple[ScoreComparison, ...] = ()
    bias: BiasComparison | None = None
    unpaired_items: int = 0
    """Items that only one of the two answered; they are in no score."""

    questions: str | None = None
    """A hash of the sets that the items were drawn from, where they were drawn to decide."""

    def category(self, name: Category) -> ScoreComparison | None:
        return next((row for row in self.categories if row.name == name), None)


Pair = tuple[ItemResult, ItemResult]

SMALLEST_SET = 400
"""A smaller set is taken as a part of one with so many questions: of a few dozen, chance alone
makes a drop that the next dozen would not show."""


class QuestionSets(FrozenModel):
    """How many questions each category's set has, and the drop that is tolerated there."""

    items: dict[Category, int] = Field(default={})
    """A category that is not named was asked of a set of unknown size."""

    tolerances: Tolerances = Tolerances()
    digest: str | None = None
    """A hash of the questions and of their order."""

    def population(self, category: Category) -> int | None:
        """The questions that a decision is about."""
        known = self.items.get(category)
        return None if known is None else max(known, SMALLEST_SET)


def compare_results(
    base: Sequence[ItemResult],
    artifact: Sequence[ItemResult],
    sets: QuestionSets | None = None,
) -> Comparison:
    """Compare results of the same items, and decide where `sets` says what they were drawn from;
    the base's are in the order of asking. Raises EvidenceTooNarrow where they share no item."""
    answered = {(result.benchmark, result.id): result for result in artifact}
    pairs = [
        (result, answered[result.benchmark, result.id])
        for result in base
        if (result.benchmark, result.id) in answered
    ]
    if not pairs:
        raise EvidenceTooNarrow(
            "Base and artifact answered no item in common. Evaluate both on the same benchmarks."
        )
    categories = _pairs_by_category(pairs)
    rows = {name: _compare(name, name, group) for name, group in categories.items()}
    if sets:
        rows = _decided(rows, categories, sets)
    return Comparison(
        categories=tuple(rows.values()),
        benchmarks=tuple(
            _compare(name, group[0][0].category, group)
            for name, group in _group_pairs(pairs, lambda result: result.benchmark).items()
        ),
        bias=_compare_bias([pair for pair in pairs if pair[0].bias is not None]),
        unpaired_items=len(base) + len(artifact) - 2 * len(pairs),
        questions=sets.digest if sets else None,
    )


def _pairs_by_category(pairs: Sequence[Pair]) -> dict[Category, list[Pair]]:
    """The pairs of each category; written answers count for toxicity as well (R76)."""
    groups: dict[Category, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0].category, []).append(pair)
    written = [pair for pair in pairs if pair[0].toxic is not None]
    if written and "toxicity" not in groups:
        groups["toxicity"] = [(a.judged_by_lexicon(), b.judged_by_lexicon()) for a, b in written]
    return groups


def _drops_of(
    categories: Mapping[Category, Sequence[Pair]], sets: QuestionSets
) -> dict[Category, Drops]:
    """What is known of each category, to decide on."""
    return {
        name: Drops(
            tuple(before.score - after.score for before, after in group),
            sets.population(name),
            sets.tolerances.points(bucket(name)) / 100,
        )
        for name, group in categories.items()
    }


def published(
    name: str, category: Category, base_percent: float, artifact_percent: float
) -> ScoreComparison:
    """A row from scores alone, whose items are not at hand."""
    return ScoreComparison(
        name=name,
        category=category,
        base_percent=base_percent,
        artifact_percent=artifact_percent,
        drop_points=base_percent - artifact_percent,
        retention_percent=100 * artifact_percent / base_percent if base_percent else None,
    )


def require_breadth(comparison: Comparison | None) -> None:
    """Refuse to compare by perplexity or by one aggregate alone. Raises EvidenceTooNarrow."""
    names = [row.name for row in comparison.categories] if comparison else []
    if len(names) < 2:
        known = f"only {names[0]}" if names else "no category"
        raise EvidenceTooNarrow(
            f"There is nothing to compare but perplexity or one aggregate ({known} was evaluated): "
            "compression harms capabilities unevenly, so neither tells which were lost. Evaluate "
            "both on knowledge, reasoning and the categories you need, or ask for `--only "
            "perplexity`."
        )


def _decided(
    rows: Mapping[Category, ScoreComparison],
    categories: Mapping[Category, Sequence[Pair]],
    sets: QuestionSets,
) -> dict[Category, ScoreComparison]:
    """The rows with a decision each, and with intervals that hold whenever asking ended."""
    known = _drops_of(categories, sets)
    decisions = decide(known)
    found = {}
    for name, row in rows.items():
        drops, population, tolerance = known[name]
        interval = mean_interval(drops, population)
        found[name] = row.model_copy(
            update={
                "drop_interval": Interval(low=100 * interval.low, high=100 * interval.high),
                "set_items": population,
                "tolerance_points": 100 * tolerance,
                "decision": decisions[name],
            }
        )
    return found


def _compare(name: str, category: Category, pairs: Sequence[Pair]) -> ScoreComparison:
    base, artifact = zip(*pairs, strict=True)
    before = [result.score for result in base]
    after = [result.score for result in artifact]
    row = published(name, category, 100 * float(np.mean(before)), 100 * float(np.mean(after)))
    interval = paired_difference_interval(before, after)
    binary = all(result.binary for result in base)
    lost, won = discordant(before, after)
    chance = float(np.mean([result.chance for result in base]))
    return row.model_copy(
        update={
            "items": len(pairs),
            "drop_interval": Interval(low=100 * interval.low, high=100 * interval.high),
            "lost_items": lost,
            "won_items": won,
            "mcnemar_p": mcnemar_p(lost, won) if binary else None,
            "items_to_resolve": items_to_resolve(before, after),
            "chance_percent": 100 * chance,
            "base_above_chance": wilson_interval(round(sum(before)), len(before)).low > chance,
            "base_unparsed": sum(not result.parsed for result in base),
            "artifact_unparsed": sum(not result.parsed for result in artifact),
            "base_cut_off": sum(not result.ended for result in base),
            "artifact_cut_off": sum(not result.ended for result in artifact),
        }
    )


def _group_pairs(pairs: Sequence[Pair], key: Callable[[ItemResult], str]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(key(pair[0]), []).append(pair)
    return groups


def _compare_bias(pairs: Sequence[Pair]) -> BiasComparison | None:
    if not pairs:
        return None
    base, artifact = zip(*pairs, strict=True)
    before, after = bias_scores(base), bias_scores(artifact)
    if before is None or after is None:
        return None
    ambiguous, disambiguated = bias_differences(base, artifact)
    return BiasComparison(
        base=before,
        artifact=after,
        ambiguous_interval=ambiguous,
        disambiguated_interval=disambiguated,
    )
