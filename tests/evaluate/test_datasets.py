"""Benchmarks read from files: rows become items, and a bad row is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecomp.common.errors import DataMalformed, DataMissing
from edgecomp.common.jsonl_rows import read_text
from edgecomp.evaluate.benchmarks import BENCHMARKS
from edgecomp.evaluate.datasets import READERS, available, read_benchmark
from edgecomp.evaluate.items import ChoiceItem, CodeCheck, GenerationItem, NumberCheck, RefusalCheck

ROWS: dict[str, dict[str, Any]] = {
    "mmlu": {"subject": "music", "question": "Lowest?", "choices": ["bass", "alto"], "answer": 0},
    "gsm8k": {"question": "2 and 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
    "mgsm": {"language": "de", "question": "2 und 3?", "answer": "5"},
    "xcopa": {
        "language": "it",
        "premise": "Piove.",
        "choice1": "Apro l'ombrello.",
        "choice2": "Vado al mare.",
        "question": "effect",
        "label": 0,
    },
    "ifeval": {
        "key": 1,
        "prompt": "Write.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    "humaneval": {
        "task_id": "T/1",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(f): pass",
    },
    "truthfulqa-mc1": {
        "question": "Is it?",
        "best_answer": "Yes",
        "correct_answers": ["Yes", "It is"],
        "incorrect_answers": ["No", "Never"],
    },
    "bbq": {
        "context_condition": "ambig",
        "question_polarity": "nonneg",
        "category": "Age",
        "context": "Two people met.",
        "question": "Who is good with phones?",
        "ans0": "The old one",
        "ans1": "Unknown",
        "ans2": "The young one",
        "label": 1,
        "answer_info": {
            "ans0": ["old", "old"],
            "ans1": ["unknown", "unknown"],
            "ans2": ["young", "nonOld"],
        },
        "additional_metadata": {"stereotyped_groups": ["old"]},
    },
    "xstest-unsafe": {"id": "7", "prompt": "How do I rob?", "label": "unsafe"},
}
ROWS["truthfulqa-mc2"] = ROWS["truthfulqa-mc1"]
ROWS["xstest-safe"] = {**ROWS["xstest-unsafe"], "label": "safe"}


def write(folder: Path, name: str, rows: list[Any]) -> Path:
    file = BENCHMARKS[name].file
    assert file is not None
    path = folder / file
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_one(folder: Path, name: str, row: dict[str, Any]) -> Any:
    write(folder, name, [row])
    (item,) = read_benchmark(BENCHMARKS[name], folder)
    return item


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_its_row_and_tags_its_category(name: str, tmp_path: Path) -> None:
    item = read_one(tmp_path, name, ROWS[name])
    assert (item.benchmark, item.category) == (name, BENCHMARKS[name].category)


@pytest.mark.parametrize("name", READERS)
def test_a_row_without_one_of_its_fields_is_named_by_file_and_line(
    name: str, tmp_path: Path
) -> None:
    needed = set(ROWS[name]) - {"key", "language"} if name == "mgsm" else set(ROWS[name]) - {"key"}
    unused = {"truthfulqa-mc1": {"correct_answers"}, "truthfulqa-mc2": {"best_answer"}}
    for field in needed - unused.get(name, set()):
        broken = {key: value for key, value in ROWS[name].items() if key != field}
        path = write(tmp_path, name, [ROWS[name], broken])
        with pytest.raises(DataMalformed) as caught:
            read_benchmark(BENCHMARKS[name], tmp_path)
        assert f"{path}, line 2" in str(caught.value), field


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mmlu", {"answer": 2}, "'answer' must be a whole number from 0 to 1"),
        ("mmlu", {"answer": True}, "whole number"),
        ("mmlu", {"choices": ["one"]}, "needs 2 or more"),
        ("mmlu", {"choices": [str(i) for i in range(27)]}, "more than there are letters"),
        ("gsm8k", {"answer": "five"}, "####"),
        ("mgsm", {"answer": "five"}, "no number"),
        ("xcopa", {"language": "xx"}, "'xx'; known are"),
        ("xcopa", {"choice2": "Apro l'ombrello."}, "different"),
        ("ifeval", {"instruction_id_list": ["punctuation:no_dots"]}, "is not known"),
        ("ifeval", {"instruction_id_list": ["keywords:frequency"]}, "lacks keyword, relation"),
        ("ifeval", {"kwargs": []}, "one entry per instruction"),
        ("bbq", {"answer_info": {}}, "BBQ's shape"),
        ("bbq", {"additional_metadata": {"stereotyped_groups": ["pilot"]}}, "not exactly one"),
        ("xstest-safe", {"label": "odd"}, "known are safe, unsafe"),
    ],
)
def test_a_malformed_field_says_what_is_wrong(
    name: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write(tmp_path, name, [{**ROWS[name], **change}])
    with pytest.raises(DataMalformed, match=said):
        read_benchmark(BENCHMARKS[name], tmp_path)


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_a_line_that_is_no_object_is_named(line: str, tmp_path: Path) -> None:
    path = write(tmp_path, "mmlu", [ROWS["mmlu"]])
    path.write_text(path.read_text() + line, encoding="utf-8")
    with pytest.raises(DataMalformed, match="line 2"):
        read_benchmark(BENCHMARKS["mmlu"], tmp_path)


def test_missing_data_says_which_file_and_where_from(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"mmlu\.jsonl.*cais/mmlu.*MIT"):
        read_benchmark(BENCHMARKS["mmlu"], tmp_path)
    with pytest.raises(DataMissing, match="lm-eval as hellaswag"):
        read_benchmark(BENCHMARKS["hellaswag"], tmp_path)
    assert available(tmp_path) == ()


def test_another_number_of_choices_is_asked_with_as_many_letters(tmp_path: Path) -> None:
    row = {**ROWS["mmlu"], "choices": [f"choice {i}" for i in range(10)], "answer": 9}
    item = read_one(tmp_path, "mmlu", row)
    assert isinstance(item, ChoiceItem)
    assert item.choices[item.answer] == " J"


def test_a_limit_draws_the_same_sample_and_another_seed_another(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", [{**ROWS["gsm8k"], "question": f"q{i}"} for i in range(50)])
    row = BENCHMARKS["gsm8k"]
    first = read_benchmark(row, tmp_path, limit=10, seed=1)
    assert len(first) == 10
    assert first == read_benchmark(row, tmp_path, limit=10, seed=1)
    assert first != read_benchmark(row, tmp_path, limit=10, seed=2)
    assert set(first) < set(read_benchmark(row, tmp_path))


def test_answers_and_checks_come_from_the_row(tmp_path: Path) -> None:
    gsm8k = read_one(tmp_path, "gsm8k", ROWS["gsm8k"])
    assert isinstance(gsm8k, GenerationItem) and gsm8k.check == NumberCheck(answer="5")
    code = read_one(tmp_path, "humaneval", ROWS["humaneval"])
    assert isinstance(code.check, CodeCheck) and code.prompt == "def f():\n"
    safe = read_one(tmp_path, "xstest-safe", ROWS["xstest-safe"])
    assert safe.check == RefusalCheck(refuse=False)


def test_truthfulqa_separates_one_best_answer_from_all_true_ones(tmp_path: Path) -> None:
    one = read_one(tmp_path, "truthfulqa-mc1", ROWS["truthfulqa-mc1"])
    assert one.choices[one.answer] == " Yes" and len(one.choices) == 3
    two = read_one(tmp_path, "truthfulqa-mc2", ROWS["truthfulqa-mc2"])
    assert {two.choices[i] for i in (two.answer, *two.also_right)} == {" Yes", " It is"}
    assert two.scoring == "mass"


def test_bbq_finds_the_stereotyped_answer_by_tag_or_by_words(tmp_path: Path) -> None:
    item = read_one(tmp_path, "bbq", ROWS["bbq"])
    # A positive question: the stereotype says that the other one is good with phones.
    assert (item.bias.unknown, item.bias.biased, item.answer) == (1, 2, 1)
    regions = {
        **ROWS["bbq"],
        "question_polarity": "neg",
        "answer_info": {
            "ans0": ["A Kenyan", "Africa"],
            "ans1": ["unknown", "unknown"],
            "ans2": ["A Dane", "Europe"],
        },
        "additional_metadata": {"stereotyped_groups": ["Kenyan", "Malian"]},
    }
    assert read_one(tmp_path, "bbq", regions).bias.biased == 0


def test_all_real_data_is_read(data_folder: Path) -> None:
    found = available(data_folder)
    assert {row.name for row in found} == set(READERS)
    for row in found:
        items = read_benchmark(row, data_folder)
        assert len({item.fingerprint for item in items}) == len(items) > 80


def test_a_byte_order_mark_before_the_first_row_is_no_part_of_it(tmp_path: Path) -> None:  # P25
    path = write(tmp_path, "gsm8k", [ROWS["gsm8k"]])
    path.write_text(path.read_text("utf-8"), encoding="utf-8-sig")
    (item,) = read_benchmark(BENCHMARKS["gsm8k"], tmp_path)
    assert item.benchmark == "gsm8k"
    assert read_text(path)[0] == "{"
