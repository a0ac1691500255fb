"""Which questions are asked, which are left out, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecomp.common.errors import CodeNotAllowed, DataMissing, TaskUnavailable
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.selection import select_suite, select_tasks


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One question of GSM8K, one of HumanEval."""
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}))
    (tmp_path / "humaneval.jsonl").write_text(
        json.dumps(
            {
                "task_id": "HumanEval/0", "prompt": "def one():\n", "entry_point": "one",
                "test": "def check(f):\n    assert f() == 1\n",
            }
        )
    )  # fmt: skip
    return tmp_path


def test_without_data_the_own_set_stands_for_the_suite_and_that_is_said() -> None:
    found = select_suite("quick", None, 2, allow_code=False)
    assert found.items == own_items(limit=2) and not found.harness
    assert "ship with edgecomp" in found.notices[0]


def test_a_suite_asks_what_is_there_and_names_the_rest_with_its_reason(data: Path) -> None:
    found = select_suite("quick", data, None, allow_code=False)
    assert {item.benchmark for item in found.items} == {"gsm8k"} and found.limit == 60
    reasons = {row.name: row.reason for row in found.skipped}
    assert "--allow-code" in reasons["humaneval"]
    assert "mmlu.jsonl" in reasons["mmlu"] and "cais/mmlu" in reasons["mmlu"]
    assert not found.harness
    allowed = select_suite("quick", data, None, allow_code=True)
    assert {item.benchmark for item in allowed.items} == {"gsm8k", "humaneval"}


def test_a_larger_suite_goes_to_lm_eval_for_what_has_no_reader(data: Path) -> None:
    found = select_suite("standard", data, None, allow_code=False)
    assert {"arc-easy", "bbh", "winogrande"} <= {task.name for task in found.harness}
    assert found.limit == 200
    full = select_suite("full", data, None, allow_code=False)
    assert full.limit is None
    assert {"mt-bench", "harmbench"} <= {row.name for row in full.skipped}


def test_named_tasks_are_read_from_data_or_else_asked_through_lm_eval(data: Path) -> None:
    found = select_tasks(["gsm8k", "hellaswag"], data, 1, allow_code=False)
    assert len(found.items) == 1
    assert [(task.task, task.category) for task in found.harness] == [("hellaswag", "commonsense")]
    through = select_tasks(["gsm8k"], None, 1, allow_code=False)
    assert not through.items and through.harness[0].task == "gsm8k"


def test_a_named_benchmark_whose_file_is_missing_is_an_error_with_its_place(data: Path) -> None:
    with pytest.raises(DataMissing, match=r"mmlu\.jsonl.*cais/mmlu"):
        select_tasks(["mmlu"], data, 1, allow_code=False)


def test_code_is_refused_before_any_work_unless_allowed(data: Path) -> None:
    with pytest.raises(CodeNotAllowed, match="--allow-code"):
        select_tasks(["humaneval"], data, 1, allow_code=False)
    assert len(select_tasks(["humaneval"], data, 1, allow_code=True).items) == 1


def test_r13_a_task_outside_the_registry_needs_its_category() -> None:
    with pytest.raises(TaskUnavailable, match="my_task:reasoning"):
        select_tasks(["my_task"], None, 1, allow_code=False)
    found = select_tasks(["my_task:ethics"], None, 1, allow_code=False)
    assert (found.harness[0].task, found.harness[0].category) == ("my_task", "ethics")
