"""The calibration texts that ship: enough of each kind, right, and apart from what is evaluated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import edgecomp.evaluate
from edgecomp.calibration.own import SOURCES, own_pairs, own_passages
from edgecomp.calibration.own.multilingual import by_language
from edgecomp.common.errors import DataMissing
from edgecomp.common.tasks import SourceName
from edgecomp.evaluate.own_set import own_items
from edgecomp.recipes.calibration_mix import MIXES

FEWEST = {
    "math": 256, "general_reasoning": 128, "instructions": 96, "multilingual": 96, "code": 96,
    "knowledge": 64, "safety": 64,
}  # fmt: skip
SHINGLE_WORDS = 12


def questions() -> list[str]:
    return [question for name in SOURCES for question, _ in own_pairs(name)]


def evaluated_prompts() -> list[str]:
    return [
        item.prompt if isinstance(item.prompt, str) else item.prompt[-1].content
        for item in own_items()
    ]


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def shingles(text: str) -> set[str]:
    words = plain(text).split()
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}


@pytest.mark.parametrize(("name", "fewest"), FEWEST.items())
def test_each_source_has_enough_different_questions_with_answers_r31(
    name: SourceName, fewest: int
) -> None:
    pairs = own_pairs(name)
    assert len({question for question, _ in pairs}) == len(pairs) >= fewest
    assert all(question.strip() and answer.strip() for question, answer in pairs)


def test_every_source_ships_and_covers_its_share_of_every_preset_mix_r87() -> None:
    assert {*SOURCES, "text"} == set(get_args(SourceName))
    for samples in MIXES.values():
        for name, count in samples.items():
            if name != "text":
                assert len(own_pairs(name)) >= count


def test_text_is_no_source_of_questions() -> None:
    with pytest.raises(DataMissing, match="text"):
        own_pairs("text")


def test_the_texts_are_the_same_in_every_process() -> None:
    program = (
        "import hashlib, json; from edgecomp.calibration.own import SOURCES, own_pairs;"
        "print(hashlib.sha256(json.dumps([own_pairs(n) for n in SOURCES]).encode()).hexdigest())"
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


@pytest.mark.parametrize("name", ["math", "general_reasoning"])
def test_every_step_of_a_solution_computes_what_it_says_r32(name: SourceName) -> None:
    steps = re.compile(r"(\d[\d +*/().-]*[+*/-] ?\(?[\d +*/().-]*\d\)?) = (\d+)")
    shown = 0
    for question, answer in own_pairs(name):
        found = steps.findall(answer)
        shown += bool(found)
        for expression, result in found:
            assert eval(expression) == int(result), (question, answer)
    assert shown == (len(own_pairs("math")) if name == "math" else 48)


def test_every_mathematical_solution_ends_with_its_answer_r32() -> None:
    for _, solution in own_pairs("math"):
        *steps, last = solution.splitlines()
        assert len(steps) >= 2
        given = re.fullmatch(r"The answer is (\d+(?:[/:]\d+)?)\.", last)
        assert given and (":" in given[1] or given[1] in " ".join(steps))


def test_languages_have_equally_many_questions_in_any_whole_round_r33() -> None:
    languages = by_language()
    assert len(languages) >= 10
    assert len({len(pairs) for pairs in languages.values()}) == 1
    pairs = own_pairs("multilingual")
    for start in range(0, len(pairs), len(languages)):
        for pair, own in zip(pairs[start:], languages.values(), strict=False):
            assert pair in own


def test_instructions_are_diverse_r34() -> None:
    openings = {" ".join(plain(question).split()[:2]) for question, _ in own_pairs("instructions")}
    assert len(openings) > 40


def test_the_shown_tests_of_the_code_pass() -> None:
    written = 0
    for question, answer in own_pairs("code"):
        source = re.search(r"```python\n(.*?)\n```", question, re.S)
        shown = re.search(r"```python\n(def test_\w+)(.*?)\n```", answer, re.S)
        if source and shown:
            names: dict[str, object] = {}
            exec(source[1] + "\n\n" + shown[1] + shown[2], names)
            exec(f"{shown[1].removeprefix('def ')}()", names)
            written += 1
    assert written == len(own_pairs("code")) // 3


def test_half_of_the_safety_pairs_decline_and_half_help() -> None:
    declines = re.compile(r"I can't help|I won't help|I will not assist|No, I can't do that")
    declined = [bool(declines.search(answer)) for _, answer in own_pairs("safety")]
    assert declined == [True, False] * (len(declined) // 2)


def test_the_prose_is_long_enough_and_repeats_nothing() -> None:
    passages = own_passages()
    assert len(passages.encode()) >= 25_000
    paragraphs = [line for line in passages.splitlines() if line]
    assert len(set(paragraphs)) == len(paragraphs)


def test_no_question_is_one_that_is_evaluated() -> None:
    evaluated = {plain(prompt) for prompt in evaluated_prompts()}
    evaluated |= {text.removeprefix("question ").removesuffix(" answer") for text in evaluated}
    assert not evaluated & {plain(question) for question in questions()}


def test_no_passage_is_one_that_is_evaluated() -> None:
    folder = Path(edgecomp.evaluate.__file__).parent
    evaluated = [*evaluated_prompts()]
    evaluated += [path.read_text("utf-8") for path in folder.glob("own_text*") if path.is_file()]
    mine = shingles(own_passages() + " ".join(questions()))
    for text in evaluated:
        assert not mine & shingles(text)


def test_nothing_is_shared_with_the_benchmarks_of_a_data_folder(data_folder: Path) -> None:
    mine = {plain(question) for question in questions()}
    runs = shingles(own_passages() + " ".join(questions()))
    for path in data_folder.glob("*.jsonl"):
        if path.name.startswith("calib_"):
            continue
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            for value in row.values():
                if isinstance(value, str):
                    assert plain(value) not in mine or len(plain(value)) < 10, (path.name, value)
                    assert not runs & shingles(value), (path.name, value)
