"""The text on which divergence is measured where the user gives none.

Prose, dialogue, letters, mathematics, code, tables and fifteen languages written by us, in turn
with the own set's problems, facts and functions: compression harms these kinds unevenly, and a text
of one kind would hide it.
"""

from __future__ import annotations

import importlib.resources
from itertools import zip_longest
from random import Random

from edgecomp.evaluate.own_set import SEED
from edgecomp.evaluate.own_set.code_tables import COMPLETIONS
from edgecomp.evaluate.own_set.knowledge_tables import FACTS
from edgecomp.evaluate.own_set.multilingual import ENGLISH, TRANSLATIONS
from edgecomp.evaluate.own_set.reasoning import arithmetic_story
from edgecomp.evaluate.own_set.truthfulness_tables import MISCONCEPTIONS

PROBLEMS = 64


def divergence_text() -> str:
    """The text, about 40 kB, always the same. Its kinds alternate, so that any beginning of it
    holds some of each."""
    written = importlib.resources.files(__package__).joinpath("own_text.txt").read_text("utf-8")
    kinds = [_bundles(written.split("\n\n"), 2), *_generated()]
    rounds = zip_longest(*kinds, fillvalue="")
    return "\n\n".join(part for row in rounds for part in row if part) + "\n"


def _generated() -> list[list[str]]:
    random = Random(SEED)
    stories = [arithmetic_story(random) for _ in range(PROBLEMS)]
    problems = [f"{text} {worked} The answer is {answer}." for text, worked, answer, _ in stories]
    facts = [f"{statement} {right}." for statement, right, *_ in _rows(FACTS)]
    beliefs = [f"{question} {right}." for question, right, *_ in _rows(MISCONCEPTIONS)]
    functions = [
        f'def {signature}:\n    """{purpose[0].upper()}{purpose[1:]}."""\n    {right}'
        for purpose, signature, right, *_ in _rows(COMPLETIONS)
    ]
    sentences = [
        "\n".join(f"{source} = {target}" for source, target in zip(ENGLISH, texts, strict=True))
        for texts in TRANSLATIONS.values()
    ]
    return [
        _bundles(problems, 3),
        _bundles(facts + beliefs, 5),
        _bundles(functions, 3),
        sentences,
    ]


def _rows(table: str) -> list[list[str]]:
    return [line.split(" | ") for line in table.splitlines()]


def _bundles(parts: list[str], size: int) -> list[str]:
    return ["\n\n".join(parts[i : i + size]) for i in range(0, len(parts), size)]
