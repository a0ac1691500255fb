"""lm-eval's logged samples as results, and what is said where a task cannot run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgecomp.common.errors import TaskUnavailable
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.harness_tasks import HarnessTask, harness_task, results_of_samples, run_task
from edgecomp.formats.exporting import find_exporter
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.models.reading import read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import find_runtime

SETTINGS = RunSettings(context=256, threads=1, sequences=3, outputs=64)
TASK = HarnessTask(
    name="gsm8k", task="gsm8k", category="reasoning", metrics=("exact_match",), chance=0.0
)


def sample(doc: int, metric: str, value: Any, kind: str = "none") -> dict[str, Any]:
    return {"doc_id": doc, "filter": kind, "metrics": [metric], metric: value}


def run(name: str) -> None:
    runtime, artifact = find_runtime("llama.cpp"), Path("no.gguf")
    run_task(
        AskedModel(
            runtime=runtime,
            artifact=artifact,
            settings=SETTINGS,
            template=ChatTemplate(source=None),
        ),
        harness_task(name),
        1,
    )


def test_a_task_read_in_several_ways_is_judged_by_the_lenient_one() -> None:
    rows = [
        sample(0, "exact_match", 0.0, "strict-match"),
        sample(0, "exact_match", 1.0, "flexible-extract"),
        sample(1, "exact_match", 0.0, "flexible-extract"),
    ]
    found = results_of_samples(TASK, {"gsm8k": rows})
    assert [(row.id, row.score, row.binary) for row in found] == [
        ("gsm8k-0", 1.0, True),
        ("gsm8k-1", 0.0, True),
    ]


def test_the_registrys_metric_wins_and_subtasks_keep_their_items_apart() -> None:
    task = harness_task("arc-challenge")
    samples = {
        name: [{"doc_id": 0, "metrics": ["acc", "acc_norm"], "acc": 0.0, "acc_norm": 1.0}]
        for name in ("a", "b")
    }
    found = results_of_samples(task, samples)
    assert [row.score for row in found] == [1.0, 1.0]
    assert {row.id for row in found} == {"a-0", "b-0"} and {row.chance for row in found} == {0.25}


def test_graded_scores_are_marked_as_such() -> None:
    found = results_of_samples(TASK, {"t": [sample(0, "f1", 0.5), sample(1, "f1", 1.0)]})
    assert not any(row.binary for row in found)


@pytest.mark.parametrize("value", [3.7, (1.0, 2.0), None])
def test_a_task_without_a_score_an_item_is_refused(value: Any) -> None:
    with pytest.raises(TaskUnavailable, match="no score between 0 and 1"):
        results_of_samples(TASK, {"wikitext": [sample(0, "word_perplexity", value)]})


def test_code_is_never_run_by_lm_eval() -> None:
    with pytest.raises(TaskUnavailable, match="without a sandbox"):
        run("mbpp")


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks over a local file, in place of the thousands that come with lm-eval."""
    tasks = pytest.importorskip("lm_eval.tasks")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"question": f"{n} plus one is", "choices": ["more", "less"]} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
    }
    choosing = shared | {
        "task": "choosing", "output_type": "multiple_choice", "doc_to_target": 0,
        "doc_to_choice": "{{choices}}", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    writing = shared | {
        "task": "writing", "output_type": "generate_until", "doc_to_target": "more",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    for task in (choosing, writing):
        (tmp_path / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    manager = functools.partial(
        tasks.TaskManager, include_path=str(tmp_path), include_defaults=False
    )
    monkeypatch.setattr("lm_eval.tasks.TaskManager", manager)


@pytest.mark.parametrize(("task", "limit"), [("choosing", 2), ("writing", None)])
def test_a_task_of_lm_eval_runs_on_a_shipped_file_and_gives_a_result_an_item(
    own_tasks: None, tiny_model: Callable[..., Path], tmp_path: Path, task: str, limit: int | None
) -> None:
    path = tmp_path / "tiny.gguf"
    spec = read_model(tiny_model("llama"))
    find_exporter("gguf").export(spec, path, "F16", lambda done, total: None)
    found = run_task(
        AskedModel(
            runtime=find_runtime("llama.cpp"),
            artifact=path,
            settings=SETTINGS,
            template=read_chat_template(path),
        ),
        harness_task(f"{task}:reasoning"),
        limit,
    )
    assert [row.id for row in found] == [f"{task}-{index}" for index in range(limit or 3)]
    assert {row.category for row in found} == {"reasoning"}
    assert all(row.score in (0.0, 1.0) for row in found)


def test_a_task_lm_eval_does_not_have_is_named(own_tasks: None) -> None:
    with pytest.raises(TaskUnavailable, match=r"has no task 'nonsense_task'"):
        run("nonsense_task:reasoning")


@pytest.mark.slow  # lm-eval reads its index of tasks for half a minute
def test_missing_data_are_told_with_their_source_and_the_file_to_give_instead() -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(TaskUnavailable, match=r"openai/grade-school-math.*gsm8k\.jsonl.*--data"):
        run("gsm8k")
