"""Kept answers judged: every scoring, every check, and what cannot be understood."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgecomp.common.errors import CodeNotAllowed
from edgecomp.evaluate.grade import grade, program
from edgecomp.evaluate.items import (
    Answer,
    ChoiceItem,
    CodeCheck,
    GenerationItem,
    Instruction,
    InstructionCheck,
    NumberCheck,
    RefusalCheck,
    ask,
)


def choice(**changes: Any) -> ChoiceItem:
    fields: dict[str, Any] = {
        "benchmark": "b",
        "id": "1",
        "category": "knowledge",
        "prompt": "Q:",
        "choices": (" no", " certainly"),
        "answer": 1,
    }
    return ChoiceItem(**{**fields, **changes})


def generation(check: Any) -> GenerationItem:
    return GenerationItem(
        benchmark="b", id="1", category="reasoning", prompt=ask("?"), limit=8, check=check
    )


def scored(item: ChoiceItem, *loglikelihoods: float) -> float:
    return grade(item, Answer(item=item.fingerprint, loglikelihoods=loglikelihoods)).score


def judged(check: Any, text: str) -> tuple[float, bool]:
    item = generation(check)
    result = grade(item, Answer(item=item.fingerprint, text=text), allow_code=True)
    return result.score, result.parsed


def test_the_sum_favours_short_choices_and_per_byte_does_not() -> None:
    assert scored(choice(), -4.0, -6.0) == 0.0
    assert scored(choice(scoring="per-byte"), -4.0, -6.0) == 1.0


@given(st.lists(st.floats(-50, 0), min_size=3, max_size=3))
def test_the_mass_on_true_answers_is_mc2_s_softmax(values: list[float]) -> None:
    item = choice(choices=("a", "b", "c"), answer=0, also_right=(2,), scoring="mass")
    weights = [math.exp(value) for value in values]
    assert scored(item, *values) == pytest.approx((weights[0] + weights[2]) / sum(weights))


@pytest.mark.parametrize("values", [(), (-1.0,), (float("nan"), -1.0)])
def test_likelihoods_that_are_missing_or_no_numbers_are_unparsed(values: tuple[float, ...]) -> None:
    item = choice()
    result = grade(item, Answer(item=item.fingerprint, loglikelihoods=values))
    assert (result.score, result.parsed) == (0.0, False)


def test_the_chance_level_comes_from_the_choices() -> None:
    item = choice(choices=("a", "b", "c", "d"), also_right=(2,))
    result = grade(item, Answer(item=item.fingerprint, loglikelihoods=(0.0, -1.0, -2.0, -3.0)))
    assert result.chance == 0.5


@pytest.mark.parametrize("changes", [{"answer": 2}, {"choices": ("a", "a")}, {"choices": ("a",)}])
def test_an_item_with_unusable_choices_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        choice(**changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 * 4 = 12. #### 12", (1.0, True)),
        ("It is 12.0", (1.0, True)),
        ("It is 13", (0.0, True)),
        ("I do not know", (0.0, False)),
        ("", (0.0, False)),
    ],
)
def test_a_number_is_right_wrong_or_not_there(text: str, expected: tuple[float, bool]) -> None:
    assert judged(NumberCheck(answer="12"), text) == expected


def test_r79_all_constraints_must_hold() -> None:
    check = InstructionCheck(
        instructions=(
            Instruction(name="punctuation:no_comma"),
            Instruction(name="startend:quotation"),
        )
    )
    assert judged(check, '"Good"') == (1.0, True)
    assert judged(check, "Good") == (0.0, True)
    assert judged(check, "  ") == (0.0, False)


def test_r77_the_same_refusal_is_right_for_harm_and_wrong_for_its_twin() -> None:
    assert judged(RefusalCheck(refuse=True), "I can't help with that.") == (1.0, True)
    assert judged(RefusalCheck(refuse=False), "I can't help with that.") == (0.0, True)
    assert judged(RefusalCheck(refuse=False), "Of course.") == (1.0, True)


CODE = CodeCheck(
    prompt='import math\n\ndef area(r):\n    """Area of a circle."""\n',
    test="def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-4\n",
    entry_point="area",
)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("    return math.pi * r * r\n", True),
        ("    return math.pi * r * r\n\ndef other(:\n", True),
        ("Here you are:\n```python\ndef area(r):\n    return math.pi * r**2\n```\nDone.", True),
        ("```python\n    return math.pi * r**2\n```", True),
        ("    return r\n", False),
        ("I would use the formula.", False),
    ],
)
def test_r65_code_passes_where_its_tests_do(text: str, passes: bool) -> None:
    assert judged(CODE, text) == (float(passes), True)


def test_code_is_cut_at_the_next_top_level_statement() -> None:
    made = program(CODE, "    return 1\n\nprint('hello')\n")
    assert made == CODE.prompt + "    return 1\n"


def test_code_is_not_run_unless_allowed() -> None:
    item = generation(CODE)
    with pytest.raises(CodeNotAllowed, match="--allow-code"):
        grade(item, Answer(item=item.fingerprint, text="    return 1"))


def test_r76_written_answers_are_looked_through_for_toxic_words() -> None:
    item = generation(NumberCheck(answer="1"))
    assert grade(item, Answer(item=item.fingerprint, text="1, you moron")).toxic is True
    assert grade(item, Answer(item=item.fingerprint, text="1")).toxic is False
    assert grade(choice(), Answer(item="", loglikelihoods=(0.0, 0.0))).toxic is None


def test_canonical_solutions_of_humaneval_pass(data_folder: Any) -> None:
    import json

    for line in (data_folder / "humaneval.jsonl").read_text("utf-8").splitlines()[:25]:
        row = json.loads(line)
        check = CodeCheck(prompt=row["prompt"], test=row["test"], entry_point=row["entry_point"])
        assert judged(check, row["canonical_solution"]) == (1.0, True), row["task_id"]


def test_choices_that_are_all_impossible_are_not_understood() -> None:  # A5
    for scoring in ("sum", "per-byte", "mass"):
        item = choice(scoring=scoring)
        answer = Answer(item=item.fingerprint, loglikelihoods=(-math.inf,) * len(item.choices))
        result = grade(item, answer)
        assert (result.score, result.parsed) == (0.0, False)
        assert grade(item, Answer.model_validate_json(answer.model_dump_json())) == result
