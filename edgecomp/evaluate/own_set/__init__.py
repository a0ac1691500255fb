"""The set of questions that ships with edgecomp, written by us or generated with a fixed seed.

It needs no download and no licence, and is enough to see which capability a compression harmed. It
is no benchmark: its scores mean something only beside the same model's before compression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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

    Always the same items in the same order; a smaller limit gives a subset of a larger one's.
    """
    taken: Counter[tuple[Category, str]] = Counter()
    chosen: list[Item] = []
    for family in FAMILIES:
        items = family.items(Random(SEED))
        Random(SEED).shuffle(items)
        for item in items:
            group = (item.category, item.kind)
            if limit is None or taken[group] < limit:
                taken[group] += 1
                chosen.append(item)
    return tuple(item for item in chosen if buckets is None or bucket(item.category) in buckets)
