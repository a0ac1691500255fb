"""How the families make their items: the right answer among the wrong, and no question twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, NamedTuple

from edgecomp.evaluate.items import Category, ChoiceItem, Difficulty, Item, Prompt


class Label(NamedTuple):
    """What is known of an item before it is written; the identity is its own in the category."""

    category: Category
    identity: str
    difficulty: Difficulty


Kind = Callable[[Random, Label], Item]
"""Writes an item with random names and numbers, as hard as the label says."""


def choice_item(
    random: Random,
    label: Label,
    prompt: Prompt,
    answers: Sequence[str],
    scoring: Literal["sum", "per-byte"] = "sum",
) -> ChoiceItem:
    """An item of the own set. The first of `answers` is the right one; they are shuffled, so that
    no position is favoured."""
    choices = list(answers)
    random.shuffle(choices)
    return ChoiceItem(
        benchmark=f"own-{label.category}",
        id=label.identity,
        category=label.category,
        difficulty=label.difficulty,
        prompt=prompt,
        choices=tuple(choices),
        answer=choices.index(answers[0]),
        scoring=scoring,
    )


def drawn(
    random: Random, category: Category, difficulty: Difficulty, kinds: Sequence[Kind], each: int
) -> list[Item]:
    """`each` items of every kind, no prompt twice. A kind must be able to write that many."""
    items: list[Item] = []
    for kind in kinds:
        found: dict[Prompt, Item] = {}
        while len(found) < each:
            name = f"{kind.__name__.strip('_')}-{difficulty}-{len(found)}"
            item = kind(random, Label(category, name, difficulty))
            found.setdefault(item.prompt, item)
        items += found.values()
    return items
