"""The set of questions that ships with edgecomp, written by us or generated with a fixed seed.

It needs no download and no licence, and is enough to see which capability a compression harmed. It
is no benchmark: its scores mean something only beside the same model's before compression.

Each category has easy, medium and hard items, so that a model of 100 million parameters is not at
chance in all of them, nor one of two billion at its ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from edgecomp.evaluate.items import Bucket, Category, Item, bucket
from edgecomp.evaluate.own_set import (
    bias,
    code,
    instruction,
    knowledge,
    multilingual,
    reasoning,
    safety,
    truthfulness,
)

SEED = 2026
FAMILIES = (knowledge, reasoning, multilingual, instruction, code, safety, truthfulness, bias)


def own_items(
    buckets: Sequence[Bucket] | None = None, limit: int | None = None
) -> tuple[Item, ...]:
    """The items of `buckets` (all where None), at most `limit` of each category and kind.

    Always the same items in the same order; a smaller limit gives a subset of a larger one's. The
    levels of difficulty take turns: any beginning of a category and kind holds all in proportion.
    """
    return tuple(
        item
        for (category, _), items in _groups().items()
        if buckets is None or bucket(category) in buckets
        for item in items[:limit]
    )


@cache
def _groups() -> dict[tuple[Category, str], tuple[Item, ...]]:
    """All items by category and kind."""
    groups: dict[tuple[Category, str], list[Item]] = {}
    for family in FAMILIES:
        for item in family.items(Random(SEED)):
            groups.setdefault((item.category, item.kind), []).append(item)
    return {group: _in_turn(items) for group, items in groups.items()}


def _in_turn(items: Sequence[Item]) -> tuple[Item, ...]:
    """Shuffled, with each level spread evenly from beginning to end."""
    levels: dict[str | None, list[Item]] = {}
    for item in items:
        levels.setdefault(item.difficulty, []).append(item)
    placed: list[tuple[float, Item]] = []
    for name, level in levels.items():
        # Each in an order of its own: levels often come in the same order of topics.
        Random(f"{SEED}-{name}").shuffle(level)
        placed += [((index + 0.5) / len(level), item) for index, item in enumerate(level)]
    return tuple(item for _, item in sorted(placed, key=lambda pair: pair[0]))
