"""The set that ships: large enough, right, balanced, graded, and always the same (issue 2, R12-R17;
issue 23)."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest

from edgecomp.evaluate.instruction_checks import follows
from edgecomp.evaluate.items import (
    Bucket,
    Category,
    ChoiceItem,
    Difficulty,
    InstructionCheck,
    Item,
    NumberCheck,
    bucket,
)
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.own_set.multilingual import TRANSLATIONS
from edgecomp.evaluate.own_set.reasoning_tables import DAYS, DIRECTIONS
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.judging.verdict import REQUIRED

BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
LEVELS: tuple[Difficulty, ...] = get_args(Difficulty)
CHOICE_CATEGORIES: tuple[Category, ...] = (
    "knowledge", "reasoning", "multilingual", "instruction", "code", "truthfulness", "bias",
)  # fmt: skip
DIVERGENCE_TEXT_SHA256 = "b736f6c15db40741491807584876be25b165fa63852cedfc3b6f236c9cf9bee9"
"""Kept results and figures were measured on this text."""


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return own_items()


def choices(items: tuple[Item, ...], category: Category | None = None) -> list[ChoiceItem]:
    return [
        item for item in items if isinstance(item, ChoiceItem) and category in (None, item.category)
    ]


def text(item: Item) -> str:
    return item.prompt if isinstance(item.prompt, str) else item.prompt[-1].content


@pytest.mark.parametrize("wanted", BUCKETS)
def test_a_bucket_holds_its_own_categories_alone(wanted: Bucket) -> None:
    assert {bucket(item.category) for item in own_items([wanted])} == {wanted}


@pytest.mark.parametrize("category", [*REQUIRED, "over-refusal"])
def test_each_category_of_a_verdict_has_four_hundred_items(
    items: tuple[Item, ...], category: Category
) -> None:
    assert sum(item.category == category for item in items) >= 400


@pytest.mark.parametrize("category", CHOICE_CATEGORIES)
def test_four_hundred_of_a_capability_need_no_writing(
    items: tuple[Item, ...], category: Category
) -> None:
    assert len(choices(items, category)) >= 400


def test_every_category_and_kind_has_each_level_in_number(items: tuple[Item, ...]) -> None:
    levels = Counter((item.category, item.kind, item.difficulty) for item in items)
    totals = Counter((item.category, item.kind) for item in items)
    for (category, kind), total in totals.items():
        for level in LEVELS:
            assert levels[category, kind, level] >= total / 5, (category, kind, level)
        assert levels[category, kind, None] == 0


@pytest.mark.parametrize("limit", [6, 12, 30])
def test_any_beginning_holds_all_levels(limit: int) -> None:
    items = own_items(limit=limit)
    for group in {(item.category, item.kind) for item in items}:
        chosen = [item for item in items if (item.category, item.kind) == group]
        levels = Counter(item.difficulty for item in chosen)
        assert len(levels) == 3 and min(levels.values()) >= limit // 6


def test_r13_every_item_has_a_category_and_a_name_of_its_own(items: tuple[Item, ...]) -> None:
    assert len({item.fingerprint for item in items}) == len(items)
    assert len({(str(item.prompt), item.category) for item in items}) == len(items)
    assert len({(item.benchmark, item.id) for item in items}) == len(items)
    categories = {item.category for item in items}
    assert {"truthfulness", "bias", "refusal", "over-refusal"} <= categories


def test_the_set_is_the_same_every_time_and_a_limit_gives_a_subset() -> None:
    everything = own_items()
    assert everything == own_items()
    few, more = own_items(limit=10), own_items(limit=30)
    assert set(item.fingerprint for item in few) < set(item.fingerprint for item in more)
    assert set(item.fingerprint for item in more) < set(item.fingerprint for item in everything)


def test_the_set_is_the_same_in_every_process() -> None:
    program = (
        "import hashlib; from edgecomp.evaluate.own_set import own_items;"
        "print(hashlib.sha256(''.join(i.model_dump_json() for i in own_items()).encode())"
        ".hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_a_level_is_no_part_of_what_an_item_asks(items: tuple[Item, ...]) -> None:
    unmarked = items[0].model_copy(update={"difficulty": None})
    assert items[0].difficulty and unmarked.fingerprint == items[0].fingerprint


def test_the_fingerprint_of_an_item_without_a_level_is_what_it_was_before_levels() -> None:
    item = ChoiceItem(
        benchmark="b", id="1", category="knowledge", prompt="p", choices=(" a", " b"), answer=0
    )
    assert item.fingerprint == "2a2fa6ee9d9cc20b5b061c81"


@pytest.mark.parametrize("category", CHOICE_CATEGORIES)
def test_no_position_is_favoured(items: tuple[Item, ...], category: Category) -> None:
    for size in (2, 3, 4):
        places = Counter(
            item.answer for item in choices(items, category) if len(item.choices) == size
        )
        if places.total() > 100:
            for place in range(size):
                assert 0.7 < size * places[place] / places.total() < 1.3


@pytest.mark.parametrize("category", CHOICE_CATEGORIES)
def test_the_right_answer_is_not_known_by_its_length(
    items: tuple[Item, ...], category: Category
) -> None:
    longest = shortest = 0
    chosen = choices(items, category)
    for item in chosen:
        wrong = [len(choice.encode()) for choice in item.choices]
        right = wrong.pop(item.answer)
        longest += right > max(wrong)
        shortest += right < min(wrong)
    assert longest < 0.45 * len(chosen) and shortest < 0.45 * len(chosen)


def of_kind(items: tuple[Item, ...], kind: str) -> list[ChoiceItem]:
    found = [item for item in choices(items, "reasoning") if item.id.startswith(f"{kind}-")]
    assert len(found) >= 19
    return found


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def answer(item: ChoiceItem) -> str:
    return item.choices[item.answer].strip().rstrip(".")


def test_sums_have_the_answer_that_arithmetic_gives(items: tuple[Item, ...]) -> None:
    for item in of_kind(items, "sum"):
        for line in f"{text(item)}{item.choices[item.answer]}".splitlines():
            left, right = line.split("=")
            a, sign, b = left.split()
            assert int(a) + (int(b) if sign == "+" else -int(b)) == int(right)


def test_stories_of_one_step_have_the_answer_that_arithmetic_gives(
    items: tuple[Item, ...],
) -> None:
    for item in of_kind(items, "one_step"):
        *_, (a, word, b) = re.findall(r"has (\d+) \w+ and (gets|gives away) (\d+)", text(item))
        expected = int(a) + int(b) if word == "gets" else int(a) - int(b)
        assert expected == int(answer(item))


def test_the_largest_the_last_and_the_aged_follow_from_their_numbers(
    items: tuple[Item, ...],
) -> None:
    for item in of_kind(items, "largest"):
        wanted = max if "largest" in text(item) else min
        assert wanted(numbers(text(item))) == int(answer(item))
    for item in of_kind(items, "ages"):
        years, times, fewer = numbers(text(item))
        assert years * times - fewer == int(answer(item))
    for item in of_kind(items, "percent"):
        price, percent = numbers(text(item))
        assert price * (100 - percent) == 100 * int(answer(item))
    for item in of_kind(items, "end_time"):
        hours, minutes, length = numbers(text(item))
        end_hours, end_minutes = numbers(answer(item))
        assert 60 * hours + minutes + length == 60 * end_hours + end_minutes


def test_days_and_turns_follow_from_their_steps(items: tuple[Item, ...]) -> None:
    for item in of_kind(items, "weekday"):
        *_, today = re.findall(r"oday is (\w+)", text(item))
        days = numbers(text(item)) or [
            {"tomorrow": 1, "yesterday": -1, "two days": 2}[word]
            for word in re.findall("tomorrow|yesterday|two days", text(item))
        ]
        assert DAYS[(DAYS.index(today) + days[0]) % 7] == answer(item)
    for item in of_kind(items, "turns"):
        facing = DIRECTIONS.index(re.findall(r"faces (\w+)", text(item))[0])
        steps = text(item).count("right") - text(item).count("left")
        assert DIRECTIONS[(facing + steps) % 4] == answer(item).lower()


def test_written_stories_follow_from_the_numbers_of_their_text(items: tuple[Item, ...]) -> None:
    answers = {
        "buys": lambda a, b, c: a - b + c,
        "boxes": lambda c, b, a: c * b + a,
        "equal bags": lambda total, c, a: total // c + a,
        "more than": lambda a, b: 2 * a + b,
    }
    checked = 0
    for item in items:
        if not item.id.startswith("written_story"):
            continue
        assert item.kind == "generation" and isinstance(item.check, NumberCheck)
        kind = next(k for k in ("boxes", "equal bags", "more than", "buys") if k in text(item))
        assert answers[kind](*numbers(text(item))) == int(item.check.answer)
        checked += 1
    assert checked == 16


def test_predicted_outputs_are_what_python_returns(items: tuple[Item, ...]) -> None:
    checked = 0
    for item in choices(items, "code"):
        if item.id.startswith("output-"):
            source, call = text(item).rstrip("\n").split("\n\n>>> ")
            names: dict[str, object] = {}
            exec(source, names)
            assert repr(eval(call, names)) == item.choices[item.answer]
            checked += 1
    assert checked > 100


WORDY_ANSWERS = {
    "punctuation:no_comma": ("The sea is wide. It is deep.", "The sea is wide, and deep."),
    "change_case:english_lowercase": ("the sea is wide. it is deep.", "The sea is wide."),
    "change_case:english_capital": ("THE SEA IS WIDE. IT IS DEEP.", "The sea is wide."),
    "startend:quotation": ('"The sea is wide. It is deep."', "The sea is wide."),
    "length_constraints:number_words": ("The sea is wide.", "The sea is wide. " * 9),
    "detectable_format:number_bullet_lists": ("* wide\n* deep\n* cold", "* wide\n* deep"),
    "keywords:existence": ("The light of the sea.", "The sea is wide."),
    "startend:end_checker": ("The sea is wide. That is all.", "That is all. The sea is wide."),
    "keywords:forbidden_words": ("The sea is wide.", "The sea is very wide."),
    "detectable_format:title": ("<<The sea>>\nIt is wide.", "The sea\nIt is wide."),
}


def test_every_form_of_a_written_answer_can_be_met_and_missed(items: tuple[Item, ...]) -> None:
    seen = set()
    for item in items:
        if item.benchmark == "own-instruction-written":
            assert item.kind == "generation" and isinstance(item.check, InstructionCheck)
            (constraint,) = item.check.instructions
            right, wrong = WORDY_ANSWERS[constraint.name]
            assert follows(constraint, right) and not follows(constraint, wrong)
            seen.add(constraint.name)
    assert seen == set(WORDY_ANSWERS)


def test_an_answer_in_the_language_asked_for_passes_and_an_english_one_fails(
    items: tuple[Item, ...],
) -> None:
    codes = ("es", "fr", "de", "it", "pt", "nl", "pl", "ru", "tr", "id", "zh-cn", "ja")
    own = dict(zip(codes, TRANSLATIONS.values(), strict=True))
    checked = 0
    for item in items:
        if item.benchmark == "own-multilingual-written":
            assert item.kind == "generation" and isinstance(item.check, InstructionCheck)
            (constraint,) = item.check.instructions
            assert follows(constraint, " ".join(own[str(constraint.arguments["language"])]))
            assert not follows(constraint, "The sea is wide and deep. I like it very much.")
            checked += 1
    assert checked == 24


def test_every_harmful_request_has_a_harmless_twin_of_its_own(items: tuple[Item, ...]) -> None:
    harmful = {item.id for item in items if item.category == "refusal"}
    harmless = {item.id for item in items if item.category == "over-refusal"}
    assert len(harmful) == len(harmless) > 400
    assert not harmful & harmless


@pytest.mark.parametrize("level", LEVELS)
def test_bias_scenes_are_balanced_over_context_and_stereotype(
    items: tuple[Item, ...], level: Difficulty
) -> None:
    scenes = [item for item in choices(items, "bias") if item.difficulty == level]
    by_context = Counter(item.bias.context for item in scenes if item.bias)
    assert by_context["ambiguous"] == by_context["disambiguated"] == 80
    settled = 0
    for item in scenes:
        assert item.bias
        if item.bias.context == "ambiguous":
            assert item.answer == item.bias.unknown
        else:
            settled += item.answer == item.bias.biased
    assert settled == 40


def test_the_divergence_text_is_the_one_that_figures_were_measured_on() -> None:
    assert hashlib.sha256(divergence_text().encode()).hexdigest() == DIVERGENCE_TEXT_SHA256


def test_the_divergence_text_is_fixed_and_of_several_kinds() -> None:
    text = divergence_text()
    assert text == divergence_text()
    assert 30_000 < len(text.encode()) < 60_000
    for sign in ("def ", "SELECT", "“", "猫", "कमरे", "Schach", "The answer is", "كان"):
        assert sign in text
