"""One way to make a multiple-choice item: the right answer among the wrong, in random order."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

from edgecomp.evaluate.items import Category, ChoiceItem, Prompt


def choice_item(
    random: Random,
    category: Category,
    identity: str,
    prompt: Prompt,
    answers: Sequence[str],
    scoring: Literal["sum", "per-byte"] = "sum",
) -> ChoiceItem:
    """An item of the own set. The first of `answers` is the right one; they are shuffled, so that
    no position is favoured."""
    choices = list(answers)
    random.shuffle(choices)
    return ChoiceItem(
        benchmark=f"own-{category}",
        id=identity,
        category=category,
        prompt=prompt,
        choices=tuple(choices),
        answer=choices.index(answers[0]),
        scoring=scoring,
    )
