"""IFEval's constraints: each followed by one text and broken by another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecomp.evaluate.instruction_checks import CHECKS, NEEDED, follows, sentences
from edgecomp.evaluate.items import Instruction

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["sea", "Sun"]}, "The sun over the sea.", "The sea."),
    (
        "keywords:frequency",
        {"keyword": "so", "relation": "at least", "frequency": 2},
        "So it is, so be it.",
        "So it is.",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["very"]}, "Every day.", "Very good."),
    (
        "keywords:letter_frequency",
        {"letter": "q", "let_relation": "less than", "let_frequency": 2},
        "Quick.",
        "Quick queen.",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.",
        "This is quite an ordinary English sentence about the weather.",
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 2},
        "Dr. Ray came. He left!",
        "Dr. Ray came at 3.30 p.m. today",
    ),
    (
        "length_constraints:number_words",
        {"relation": "less than", "num_words": 4},
        "Only three words.",
        "These are four words.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        'First.\n\n"Then", it rained.',
        "First.\n\nAnd then.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP. S. Bye", "Hi. PS"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x\nP.P.S more", "P.S. x"),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        "* one\n- two",
        "* one\n* two\n* three",
    ),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*one* and **two**",
        "*one* and two",
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', '{"a": }'),
    ("detectable_format:title", {}, "<<On ships>>\nText", "<On ships>\nText"),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "Same.******Same."),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say it again"},
        "Say it again\n\nDone.",
        "Done.",
    ),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So. the END."', "The end. Really."),
    ("startend:quotation", {}, '"All of it."', '"Half" of it.'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "NOW or NEVER",
        "Now or NEVER",
    ),
    (
        "change_case:english_capital",
        {},
        "THIS IS AN ORDINARY ENGLISH SENTENCE ABOUT THE WEATHER.",
        "THIS Is AN ORDINARY SENTENCE.",
    ),
    (
        "change_case:english_lowercase",
        {},
        "this is an ordinary english sentence about the weather.",
        "This is an ordinary english sentence.",
    ),
    ("punctuation:no_comma", {}, "One and two", "One, two"),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES, ids=lambda v: str(v)[:40])
def test_a_constraint_accepts_what_follows_it_and_rejects_what_does_not(
    name: str, arguments: dict[str, Any], good: str, bad: str
) -> None:
    instruction = Instruction(name=name, arguments=arguments)
    assert follows(instruction, good)
    assert not follows(instruction, bad)
    assert not follows(instruction, " \n"), "an empty answer follows nothing"


def test_all_25_constraints_are_tried_and_know_their_arguments() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)
    assert len(CHECKS) == 25
    for name, arguments, _, _ in CASES:
        assert set(arguments) == set(NEEDED.get(name, ()))


def test_sentences_end_at_marks_of_several_scripts() -> None:
    assert sentences("Mr. Fox ran. Did he? Yes! 好的。走吧。 e.g. this one") == [
        "Mr. Fox ran.",
        "Did he?",
        "Yes!",
        "好的。",
        "走吧。",
        "e.g. this one",
    ]


def test_the_real_data_uses_only_known_constraints(data_folder: Path) -> None:
    for line in (data_folder / "ifeval.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            assert set(NEEDED.get(name, ())) <= set(arguments), name
