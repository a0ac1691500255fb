"""The set that ships: large enough, right, balanced, and always the same (issue 2, R12-R17)."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from edgecomp.evaluate.items import Bucket, ChoiceItem, Item, NumberCheck, bucket
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.own_set.code import COMPLETIONS
from edgecomp.evaluate.own_text import divergence_text

BUCKETS: tuple[Bucket, ...] = (
    "knowledge",
    "reasoning",
    "multilingual",
    "instruction",
    "code",
    "safety",
)


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return own_items()


@pytest.mark.parametrize("wanted", BUCKETS)
def test_each_bucket_has_sixty_items_or_more(wanted: Bucket) -> None:
    chosen = own_items([wanted])
    assert len(chosen) >= 60
    assert {bucket(item.category) for item in chosen} == {wanted}


def test_r13_every_item_has_a_category_and_a_name_of_its_own(items: tuple[Item, ...]) -> None:
    assert len({item.fingerprint for item in items}) == len(items)
    assert len({(item.benchmark, item.id) for item in items}) == len(items)
    categories = {item.category for item in items}
    assert {"truthfulness", "bias", "refusal", "over-refusal"} <= categories


def test_the_set_is_the_same_every_time_and_a_limit_gives_a_subset() -> None:
    everything = own_items()
    assert everything == own_items()
    few, more = own_items(limit=10), own_items(limit=30)
    assert set(item.fingerprint for item in few) < set(item.fingerprint for item in more)
    assert set(item.fingerprint for item in more) < set(item.fingerprint for item in everything)


def test_no_position_is_favoured(items: tuple[Item, ...]) -> None:
    places = Counter(
        item.answer for item in items if isinstance(item, ChoiceItem) and len(item.choices) == 4
    )
    total = places.total()
    assert total > 400
    assert all(0.2 < places[place] / total < 0.3 for place in range(4))


def test_sums_and_word_problems_have_the_answer_that_arithmetic_gives(
    items: tuple[Item, ...],
) -> None:
    checked = 0
    for item in items:
        if isinstance(item, ChoiceItem) and item.id.startswith("sum-"):
            assert isinstance(item.prompt, str)
            for line in f"{item.prompt}{item.choices[item.answer]}".splitlines():
                left, right = line.split("=")
                a, sign, b = left.split()
                assert int(a) + (int(b) if sign == "+" else -int(b)) == int(right)
            checked += 1
    assert checked == 20


def test_written_problems_follow_from_the_numbers_of_their_text(items: tuple[Item, ...]) -> None:
    answers = {
        "buys": lambda a, b, c: a - b + c,
        "boxes": lambda c, b, a: c * b + a,
        "equal bags": lambda total, c, a: total // c + a,
        "more than": lambda a, b: 2 * a + b,
    }
    checked = 0
    for item in items:
        if item.benchmark != "own-reasoning-written":
            continue
        assert item.kind == "generation" and isinstance(item.check, NumberCheck)
        text = item.prompt[-1].content if not isinstance(item.prompt, str) else item.prompt
        kind = next(k for k in ("boxes", "equal bags", "more than", "buys") if k in text)
        numbers = [int(n) for n in re.findall(r"\d+", text)]
        assert answers[kind](*numbers) == int(item.check.answer)
        checked += 1
    assert checked == 16


def test_predicted_outputs_are_what_python_returns(items: tuple[Item, ...]) -> None:
    checked = 0
    for item in items:
        if isinstance(item, ChoiceItem) and item.id.startswith("output-"):
            assert isinstance(item.prompt, str)
            source, call = item.prompt.rstrip("\n").split("\n\n>>> ")
            names: dict[str, object] = {}
            exec(source, names)
            assert repr(eval(call, names)) == item.choices[item.answer]
            checked += 1
    assert checked == 66


def test_completions_are_valid_python_in_all_their_choices() -> None:
    for line in COMPLETIONS.splitlines():
        _, signature, *bodies = line.split(" | ")
        for body in bodies:
            compile(f"def {signature}:\n    {body}\n", "completion", "exec")


def test_refusals_and_their_harmless_twins_are_equally_many(items: tuple[Item, ...]) -> None:
    counts = Counter(item.category for item in items)
    assert counts["refusal"] == counts["over-refusal"] == 32


def test_bias_scenes_are_balanced_over_context_and_stereotype(items: tuple[Item, ...]) -> None:
    settled = [
        item
        for item in items
        if isinstance(item, ChoiceItem) and item.bias and item.bias.context == "disambiguated"
    ]
    unsettled = [
        item
        for item in items
        if isinstance(item, ChoiceItem) and item.bias and item.bias.context == "ambiguous"
    ]
    assert len(settled) == len(unsettled) == 20
    assert all(item.bias and item.answer == item.bias.unknown for item in unsettled)
    assert sum(item.answer == item.bias.biased for item in settled if item.bias) == 10


def test_the_divergence_text_is_fixed_and_of_several_kinds() -> None:
    text = divergence_text()
    assert text == divergence_text()
    assert 30_000 < len(text.encode()) < 60_000
    for sign in ("def ", "SELECT", "“", "猫", "कमरे", "Schach", "The answer is", "كان"):
        assert sign in text
