"""The questions that two models can be compared by: whole sets, one a category, and what of them
tells something about the very base that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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
    """`items`, then our own questions, at most `limit` of a category and kind: they stand in where
    others are too few, or tell nothing of a base."""
    given = {item.fingerprint for item in items}
    return (*items, *(item for item in own_items(limit=limit) if item.fingerprint not in given))


def parts(items: Iterable[Item]) -> dict[Part, list[Item]]:
    """The parts of the sets, each in an order of its own."""
    found: dict[Part, list[Item]] = {}
    for item in items:
        key = (item.category, item.benchmark, item.difficulty or "")
        found.setdefault(key, []).append(item)
    return {key: in_order(rows, "pilot") for key, rows in found.items()}


def pilot(items: Iterable[Item], count: int = PILOT_ITEMS) -> tuple[Item, ...]:
    """What the base is asked first: `count` questions of each part, where there is a choice."""
    found = parts(items)
    graded = {category for category, _, level in found if level}
    return tuple(
        item
        for (category, *_), rows in found.items()
        if category in graded
        for item in rows[:count]
    )


def telling(
    items: Sequence[Item], asked: Mapping[str, ItemResult], seed: int
) -> dict[Category, tuple[Item, ...]]:
    """Each category's questions in the order of asking: of the parts in which the base is neither
    at chance nor at its ceiling, given ones before our own; else the part that comes nearest.
    Given parts without any of ours beside them are asked whatever the base makes of them.

    `asked`: the base's results by the fingerprint of the item. Only the base's answers choose, so
    nothing of the comparison with the artifact is given away.
    """
    by_category: dict[Category, list[_Part]] = {}
    for (category, _, level), rows in parts(items).items():
        results = [asked[row.fingerprint] for row in rows if row.fingerprint in asked]
        part = _Part(bool(level), _room(results), rows)
        by_category.setdefault(category, []).append(part)
    return {name: tuple(in_order(_chosen(found), seed)) for name, found in by_category.items()}


def left_out(items: Iterable[Item], chosen: Mapping[Category, Sequence[Item]]) -> tuple[str, ...]:
    """The benchmarks of `items`, but our own, of which nothing was chosen."""
    asked = {item.benchmark for rows in chosen.values() for item in rows}
    given = dict.fromkeys(item.benchmark for item in items if item.difficulty is None)
    return tuple(name for name in given if name not in asked)


def in_order(items: Iterable[Item], seed: int | str) -> list[Item]:
    """The items by a hash of each and the seed: an order that depends on nothing that they ask."""
    return sorted(
        items,
        key=lambda item: hashlib.sha256(f"{seed} {item.fingerprint}".encode()).digest(),
    )


class _Part(NamedTuple):
    """Questions that are alike in how hard they are."""

    own: bool
    room: float
    rows: list[Item]

    @property
    def fits(self) -> bool:
        return LEAST_ROOM <= self.room <= MOST_ROOM


def _chosen(found: Sequence[_Part]) -> list[Item]:
    if not any(part.own for part in found):
        return [item for part in found for item in part.rows]
    given = [part for part in found if part.fits and not part.own]
    if sum(len(part.rows) for part in given) < SMALLEST_SET:
        given += [part for part in found if part.fits and part.own]
    measurable = [part for part in found if part.room >= LEAST_ROOM]
    best = [max(found, key=lambda part: part.room)]
    return [item for part in given or measurable or best for item in part.rows]


def _room(results: Sequence[ItemResult]) -> float:
    """The base's score, 0 where it is what guessing gives and 1 where all is right."""
    if not results:
        return 0.0
    chance = float(np.mean([row.chance for row in results]))
    score = float(np.mean([row.score for row in results]))
    return (score - chance) / (1 - chance) if chance < 1 else 0.0
