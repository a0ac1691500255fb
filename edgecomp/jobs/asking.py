"""Ask base and artifact the same questions until it is known what was lost, or time is spent.

The base is asked a few of each part of the sets first, which shows where a loss could show at all.
Then both answer in rounds; after each, every capability is lost, kept or not decided, and only the
open ones are asked on. Answers are kept, so an asking that was cut goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from edgecomp.common.digests import text_digest
from edgecomp.common.errors import EvidenceTooNarrow
from edgecomp.common.events import Progress, Standing, StandingsSeen, ignore
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_duration
from edgecomp.common.tasks import Task
from edgecomp.evaluate.comparison import Comparison, QuestionSets, ScoreComparison, compare_results
from edgecomp.evaluate.items import Category, Item, ItemResult
from edgecomp.evaluate.question_bank import PILOT_ITEMS, left_out, pilot, telling
from edgecomp.jobs.evaluation_stages import ModelUnderTest
from edgecomp.judging.verdict import matters
from edgecomp.recipes.recipe import EvaluationSettings
from edgecomp.recipes.tolerances import Tolerances

FIRST_ROUND, LARGEST_ROUND = 32, 128
"""Questions of each open category in a round: small rounds end early, large ones load less."""

GROWTH = 0.5
"""A later round asks half as much again as was asked before."""

SMALLEST_ROUND = 4
"""With time for fewer questions of each category, no further round begins."""

FIRST_PILOT = 4
PILOT_SHARE = 0.1
"""The base is asked more than the first few of each part while this share of the time lasts."""

SEVERAL_ROUNDS = 5
"""Times the first round's time that usually decides."""

CHANCE_ITEMS = 64
"""A base that cannot be told from guessing after so many questions is not asked on."""

Sets = dict[Category, tuple[Item, ...]]
Ended = Literal["decided", "a loss is shown", "it repeats its base", "all asked", "time is spent"]


class Asked(FrozenModel):
    """What both models answered, in the order of asking, and what that says."""

    base: tuple[ItemResult, ...]
    artifact: tuple[ItemResult, ...]
    sets: QuestionSets
    comparison: Comparison
    left_out: tuple[str, ...]
    """Benchmarks of which nothing was asked: the base is at chance, or at its ceiling."""

    ended: Ended
    seconds: float

    @property
    def notices(self) -> tuple[str, ...]:
        """What of the benchmarks given was not asked, in words."""
        if not self.left_out:
            return ()
        return (
            f"Not asked: {', '.join(self.left_out)}. In a first look the base was at chance there, "
            "or right in nearly all: no loss could have shown. Our own questions stand for them.",
        )


class Pilot(FrozenModel):
    """What a base answered to the first questions."""

    results: dict[str, ItemResult]


class Asking(NamedTuple):
    """Who is asked, and what for."""

    base: ModelUnderTest
    artifact: ModelUnderTest
    wanted: EvaluationSettings
    task: Task
    repeats_base: bool = False
    """Its predictions are its base's: a single round looks for what they do not show."""

    allow_code: bool = False


def ask_until_decided(asking: Asking, items: Sequence[Item]) -> Asked:
    """Whether more than is tolerated is lost in each category of `items`, at least one."""
    base, artifact, wanted, task, repeats_base, allow_code = asking

    def work(folder: Path, progress: Progress) -> Asked:
        return _Rounds(asking, progress).run(items)

    inputs = {
        "base": base.sha256,
        "items": sorted(item.fingerprint for item in items),
        "wanted": wanted.model_dump(),
        "task": task,
        "repeats_base": repeats_base,
        "allow_code": allow_code,
    }
    return artifact.stage("asking", "Asking base and artifact", Asked, inputs, work)


class _Rounds:
    """One asking on its way: the clock, and what was answered so far."""

    def __init__(self, asking: Asking, progress: Progress) -> None:
        self.asking = asking
        self.progress = progress
        self.began = time.monotonic()
        self.budget = asking.wanted.budget_seconds
        self.base: list[ItemResult] = []
        self.artifact: list[ItemResult] = []
        self.kind_seconds: dict[str, float] = {}
        """A question's of each kind, both models together, as the last round took."""

    def run(self, items: Sequence[Item]) -> Asked:
        open_sets = telling(items, self.pilot(items), self.asking.wanted.seed)
        self.require_time(open_sets)
        sets = _sets(open_sets, self.asking.wanted.tolerances)
        unasked = left_out(items, open_sets)
        comparison = Comparison(categories=())
        asked: Counter[Category] = Counter()
        ended: Ended = "time is spent"
        while batch := self.next_round(open_sets, asked):
            self.ask(batch)
            asked.update(item.category for item in batch)
            comparison = compare_results(self.base, self.artifact, sets)
            rows = {row.category: row for row in comparison.categories}
            open_sets = {
                name: items
                for name, items in open_sets.items()
                if _is_open(rows[name]) and asked[name] < len(items)
            }
            done = self.end(rows.values(), open_sets)
            self.tell(comparison, () if done else tuple(open_sets))
            if done:
                ended = done
                break
        return Asked(
            base=tuple(self.base),
            artifact=tuple(self.artifact),
            sets=sets,
            comparison=comparison,
            left_out=unasked,
            ended=ended,
            seconds=self.elapsed,
        )

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def end(self, rows: Collection[ScoreComparison], open_sets: Sets) -> Ended | None:
        """Why asking ends after a round; None where it goes on."""
        if any(row.decision == "lost" and matters(row.category, self.asking.task) for row in rows):
            return "a loss is shown"
        if self.asking.repeats_base:
            return "it repeats its base"
        if open_sets:
            return None
        settled = all(row.decision != "not decided" for row in rows)
        return "decided" if settled else "all asked"

    def require_time(self, open_sets: Sets) -> None:
        """Raises EvidenceTooNarrow where the time is too short for a first round."""
        nothing: Counter[Category] = Counter()
        if self.next_round(open_sets, nothing):
            return
        first = _taken(open_sets, nothing, dict.fromkeys(open_sets, FIRST_ROUND))
        needed = self.elapsed + sum(self.kind_seconds[item.kind] for item in first)
        raise EvidenceTooNarrow(
            f"{format_duration(self.budget or 0)} is too short for the questions: "
            f"{FIRST_ROUND} of each category, of both models, take about "
            f"{format_duration(needed)} here, and decide large losses only. Give --budget "
            f"{math.ceil(SEVERAL_ROUNDS * needed / 60)}min, or ask fewer with --task or --limit."
        )

    def pilot(self, items: Sequence[Item]) -> dict[str, ItemResult]:
        """What the base answers to a few questions of each part, by the items' fingerprints. Kept,
        so that every artifact of this base is asked from the same parts."""

        def work(folder: Path, progress: Progress) -> Pilot:
            known: dict[str, ItemResult] = {}
            for count in (FIRST_PILOT, PILOT_ITEMS):
                known |= self.ask_base(pilot(items, count))
                if self.budget and self.elapsed > PILOT_SHARE * self.budget:
                    break
            return Pilot(results=known)

        base = replace(self.asking.base, listen=ignore)
        inputs = {"items": sorted(item.fingerprint for item in items)}
        return base.stage(
            "pilot", "Asking the base a few of each part", Pilot, inputs, work
        ).results

    def ask_base(self, items: Sequence[Item]) -> dict[str, ItemResult]:
        known: dict[str, ItemResult] = {}
        for group in _by_kind(items):
            began = time.monotonic()
            results = self.asking.base.ask(group, allow_code=self.asking.allow_code)
            # The artifact takes as long again; what was kept took no time and says nothing.
            self.kind_seconds[group[0].kind] = 2 * (time.monotonic() - began) / len(group)
            known |= {item.fingerprint: row for item, row in zip(group, results, strict=True)}
        return known

    def next_round(self, open_sets: Sets, asked: Mapping[Category, int]) -> list[Item]:
        """The next questions of each open category, as many as the time left allows."""
        sizes = {
            name: min(max(FIRST_ROUND, round(GROWTH * asked[name])), LARGEST_ROUND)
            for name in open_sets
        }
        batch = _taken(open_sets, asked, sizes)
        if self.budget is None:
            return batch
        left = self.budget - self.elapsed
        needed = sum(self.kind_seconds.get(item.kind, 0.0) for item in batch)
        if needed > left:
            sizes = {name: int(size * left / needed) for name, size in sizes.items()}
            if left <= 0 or min(sizes.values()) < SMALLEST_ROUND:
                return []
            batch = _taken(open_sets, asked, sizes)
        return batch

    def ask(self, batch: Sequence[Item]) -> None:
        """Have both models answer `batch`, one kind of question after the other."""
        found: dict[str, tuple[ItemResult, ItemResult]] = {}
        for group in _by_kind(batch):
            began = time.monotonic()
            before, after = (
                model.ask(group, allow_code=self.asking.allow_code)
                for model in (self.asking.base, self.asking.artifact)
            )
            self.kind_seconds[group[0].kind] = (time.monotonic() - began) / len(group)
            for item, *pair in zip(group, before, after, strict=True):
                found[item.fingerprint] = (pair[0], pair[1])
        # In the order of the batch: what is decided counts on an order that is by chance.
        for item in batch:
            self.base.append(found[item.fingerprint][0])
            self.artifact.append(found[item.fingerprint][1])

    def tell(self, comparison: Comparison, going_on: tuple[Category, ...]) -> None:
        decided = sum(row.decision != "not decided" for row in comparison.categories)
        self.progress(decided, len(comparison.categories))
        self.asking.artifact.listen(
            StandingsSeen(
                rows=tuple(map(_standing, comparison.categories)),
                asked_next=going_on,
                seconds=self.elapsed,
                budget_seconds=self.budget,
            )
        )


def _by_kind(items: Sequence[Item]) -> list[list[Item]]:
    kinds = sorted({item.kind for item in items})
    return [[item for item in items if item.kind == kind] for kind in kinds]


def _taken(
    open_sets: Sets, asked: Mapping[Category, int], sizes: Mapping[Category, int]
) -> list[Item]:
    return [
        item
        for name, items in open_sets.items()
        for item in items[asked[name] : asked[name] + sizes[name]]
    ]


def _sets(sets: Sets, tolerances: Tolerances) -> QuestionSets:
    """What the questions are drawn from; every written answer is one for toxicity as well."""
    sizes: dict[Category, int] = {name: len(items) for name, items in sets.items()}
    written = sum(item.kind == "generation" for items in sets.values() for item in items)
    if written:
        sizes.setdefault("toxicity", written)
    listed = " ".join(item.fingerprint for items in sets.values() for item in items)
    return QuestionSets(items=sizes, tolerances=tolerances, digest=text_digest(listed))


def _is_open(row: ScoreComparison) -> bool:
    guessing = row.base_above_chance is False and (row.items or 0) >= CHANCE_ITEMS
    return row.decision == "not decided" and not guessing


def _standing(row: ScoreComparison) -> Standing:
    assert row.drop_interval and row.decision and row.items
    return Standing(
        category=row.category,
        asked=row.items,
        set_items=row.set_items,
        drop_points=row.drop_points,
        low_points=row.drop_interval.low,
        high_points=row.drop_interval.high,
        tolerance_points=row.tolerance_points,
        decision=row.decision,
    )
