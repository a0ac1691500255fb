"""Knowledge: plain facts, to be completed by the right one of four."""

from __future__ import annotations

from random import Random

from edgecomp.evaluate.items import Difficulty, Item
from edgecomp.evaluate.own_set.choice import Label, choice_item
from edgecomp.evaluate.own_set.knowledge_tables import (
    EASY,
    EVENTS,
    FACTS,
    HARD,
    MEDIUM,
    MEDIUM_FACTS,
)


def items(random: Random) -> list[Item]:
    """The facts of all tables, three wrong answers each."""
    made: list[Item] = []
    levels: tuple[tuple[Difficulty, dict[str, str]], ...] = (
        ("easy", EASY), ("medium", MEDIUM), ("hard", HARD),
    )  # fmt: skip
    for difficulty, relations in levels:
        for statement, table in relations.items():
            made += _relation(random, difficulty, statement, table)
    for row, line in enumerate(FACTS.splitlines()):
        statement, right, *wrong = line.split(" | ")
        difficulty = "medium" if row < MEDIUM_FACTS else "hard"
        made.append(_item(random, difficulty, statement, right, wrong))
    for line in EVENTS.splitlines():
        event, year = line.split(": ")
        made.append(_item(random, "hard", f"{event} in", year, _years_near(random, int(year))))
    return made


def _relation(random: Random, difficulty: Difficulty, statement: str, table: str) -> list[Item]:
    pairs = [entry.split(": ") for entry in table.split(", ")]
    answers = list(dict.fromkeys(answer for _, answer in pairs))
    made: list[Item] = []
    for subject, right in pairs:
        others = [answer for answer in answers if answer != right]
        if difficulty == "hard":
            place = answers.index(right)
            others.sort(key=lambda answer: abs(answers.index(answer) - place))
            others = others[:5]
        wrong = random.sample(others, 3)
        made.append(_item(random, difficulty, statement.format(subject), right, wrong))
    return made


def _years_near(random: Random, year: int) -> list[str]:
    """Three other years, on either side of the right one or all on one side."""
    shifts = random.sample((-14, -11, -9, -7, -5, -4, 4, 5, 7, 9, 11, 14), 3)
    return [str(year + shift) for shift in shifts]


def _item(
    random: Random, difficulty: Difficulty, prompt: str, right: str, wrong: list[str]
) -> Item:
    answers = [f" {text}" for text in (right, *wrong)]
    return choice_item(random, Label("knowledge", prompt, difficulty), prompt, answers, "per-byte")
