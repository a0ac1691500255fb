"""Distinct question-answer pairs drawn from templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

SEED = 1789

Template = Callable[[Random], tuple[str, str]]


def draw(templates: Sequence[Template], each: int) -> list[tuple[str, str]]:
    """`each` pairs of every template, no question twice; the templates take turns.

    A template must be able to give `each` different questions.
    """
    columns = []
    for template in templates:
        random = Random(f"{SEED}-{template.__name__}")
        drawn: dict[str, str] = {}
        while len(drawn) < each:
            question, answer = template(random)
            drawn.setdefault(question, answer)
        columns.append(drawn.items())
    return [pair for row in zip(*columns, strict=True) for pair in row]
