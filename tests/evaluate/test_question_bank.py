"""Which questions of a set tell something about the base that is there."""

from __future__ import annotations

from collections import Counter

from edgecomp.evaluate.comparison import SMALLEST_SET
from edgecomp.evaluate.items import ChoiceItem, Difficulty, Item, ItemResult
from edgecomp.evaluate.question_bank import (
    PILOT_ITEMS,
    fill_sets,
    left_out,
    pilot,
    telling,
)


def questions(
    count: int, difficulty: Difficulty | None = None, benchmark: str = "own-code"
) -> list[Item]:
    return [
        ChoiceItem(
            benchmark=benchmark,
            id=f"{difficulty}-{index}",
            category="code",
            prompt=f"{benchmark} {difficulty} {index}?",
            choices=("a", "b", "c", "d"),
            answer=0,
            difficulty=difficulty,
        )
        for index in range(count)
    ]


def answered(items: list[Item], right_of_twelve: int) -> dict[str, ItemResult]:
    return {
        item.fingerprint: ItemResult(
            benchmark=item.benchmark,
            id=item.id,
            category=item.category,
            score=float(index % 12 < right_of_twelve),
            chance=0.25,
        )
        for index, item in enumerate(items)
    }


def test_a_few_of_each_part_are_asked_first_where_there_is_a_choice() -> None:
    parts = [*questions(50, "easy"), *questions(50, "hard"), *questions(5, None, "humaneval")]
    first = pilot(parts)
    assert Counter(item.difficulty for item in first) == {
        "easy": PILOT_ITEMS, "hard": PILOT_ITEMS, None: 5,
    }  # fmt: skip
    assert pilot([*questions(50, None, "humaneval"), *questions(50, None, "mbpp")]) == ()


def test_parts_at_chance_and_at_the_ceiling_are_left_out() -> None:
    easy, medium, hard = (questions(24, level) for level in ("easy", "medium", "hard"))
    known = {**answered(easy, 12), **answered(medium, 8), **answered(hard, 3)}
    chosen = telling([*easy, *medium, *hard], known, seed=0)
    assert set(chosen["code"]) == set(medium)


def test_a_ceiling_is_better_than_chance_and_chance_than_nothing() -> None:
    easy, hard = questions(24, "easy"), questions(24, "hard")
    at_ceiling = telling([*easy, *hard], {**answered(easy, 12), **answered(hard, 3)}, seed=0)
    assert set(at_ceiling["code"]) == set(easy)
    guessing = telling([*easy, *hard], {**answered(easy, 3), **answered(hard, 2)}, seed=0)
    assert set(guessing["code"]) == set(easy)


def test_the_order_is_the_seeds_alone() -> None:
    items = questions(40)
    one, again, other = (telling(items, {}, seed)["code"] for seed in (1, 1, 2))
    assert one == again and one != other and set(one) == set(other)
    assert telling(items[::-1], {}, 1)["code"] == one


def test_given_questions_come_first_and_ours_stand_in_where_they_are_few_or_tell_nothing() -> None:
    own = questions(100, "easy")
    many, few = questions(SMALLEST_SET, None, "humaneval"), questions(60, None, "humaneval")
    for given, right, expected in (
        (many, 8, {"humaneval"}),
        (few, 8, {"humaneval", "own-code"}),
        (many, 3, {"own-code"}),
        (many, 12, {"own-code"}),
    ):
        items = [*given, *own]
        chosen = telling(items, {**answered(given, right), **answered(own, 8)}, 0)
        assert {item.benchmark for item in chosen["code"]} == expected
        assert left_out(items, chosen) == (() if "humaneval" in expected else ("humaneval",))


def test_given_questions_alone_are_asked_whatever_the_base_makes_of_them() -> None:
    given = questions(60, None, "humaneval")
    assert set(telling(given, answered(given, 3), 0)["code"]) == set(given)


def test_own_questions_are_added_once() -> None:
    filled = fill_sets(questions(5, None, "humaneval"), None)
    assert {"knowledge", "reasoning", "code"} <= {item.category for item in filled}
    assert len(fill_sets(filled, None)) == len(filled)
