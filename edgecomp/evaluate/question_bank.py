"""The questions that two models can be compared by: whole sets, one a category, and what of them
tells something about the very base that is there."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgecomp.evaluate.comparison import SMALLEST_SET
from edgecomp.evaluate.items import Category, Item, ItemResult
from edgecomp.evaluate.own_set import own_items

PILOT_ITEMS = 12
"""Questions of each part of a set that the base is asked first, where a set has several."""

LEAST_ROOM, MOST_ROOM = 0.1, 0.95
"""Where the base's score lies between guessing (0) and all right (1): below, no loss could show;
above, only a great one."""

Part = tuple[Category, str, str]
"""Category, benchmark and level: what is alike in how hard it is."""


def fill_sets(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """`items`, then our own questions of the categories that hold too few to decide; at most
    `limit` of a category and kind."""
    counts = Counter(item.category for item in items)
    given = {item.fingerprint for item in items}
    own = [item for item in own_items(limit=limit) if counts[item.category] < SMALLEST_SET]
    return (*items, *(item for item in own if item.fingerprint not in given))


def parts(items: Iterable[Item]) -> dict[Part, list[Item]]:
    """The parts of the sets, each in an order of its own."""
    found: dict[Part, list[Item]] = {}
    for item in items:
        key = (item.category, item.benchmark, item.difficulty or "")
        found.setdefault(key, []).append(item)
    return {key: in_order(rows, "pilot") for key, rows in found.items()}


def pilot(items: Iterable[Item], count: int = PILOT_ITEMS) -> tuple[Item, ...]:
    """What the base is asked first: `count` questions of each part."""
    found = parts(items)
    several = Counter(category for category, *_ in found)
    return tuple(
        item for key, rows in found.items() if several[key[0]] > 1 for item in rows[:count]
    )


def telling(
    items: Sequence[Item], asked: Mapping[str, ItemResult], seed: int
) -> dict[Category, tuple[Item, ...]]:
    """Each category's questions in the order of asking: the parts in which the base is neither at
    chance nor at its ceiling, else the part that comes nearest.

    `asked`: the base's results by the fingerprint of the item. Only the base's answers choose, so
    nothing of the comparison with the artifact is given away.
    """
    by_category: dict[Category, list[tuple[float, list[Item]]]] = {}
    for (category, *_), rows in parts(items).items():
        results = [asked[row.fingerprint] for row in rows if row.fingerprint in asked]
        by_category.setdefault(category, []).append((_room(results), rows))
    return {name: tuple(in_order(_chosen(found), seed)) for name, found in by_category.items()}


def in_order(items: Iterable[Item], seed: int | str) -> list[Item]:
    """The items by a hash of each and the seed: an order that depends on nothing that they ask."""
    return sorted(
        items,
        key=lambda item: hashlib.sha256(f"{seed} {item.fingerprint}".encode()).digest(),
    )


def _chosen(found: Sequence[tuple[float, list[Item]]]) -> list[Item]:
    measurable = [row for row in found if row[0] >= LEAST_ROOM]
    fitting = [row for row in measurable if row[0] <= MOST_ROOM]
    best = [max(found, key=lambda row: row[0])]
    return [item for _, rows in fitting or measurable or best for item in rows]


def _room(results: Sequence[ItemResult]) -> float:
    """The base's score, 0 where it is what guessing gives and 1 where all is right."""
    if not results:
        return 0.0
    chance = float(np.mean([row.chance for row in results]))
    score = float(np.mean([row.score for row in results]))
    return (score - chance) / (1 - chance) if chance < 1 else 0.0
