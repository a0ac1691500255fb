"""The lm-eval adapter over recorded answers, and over the real demo model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from lm_eval.api.instance import Instance

from edgecomp.chat_template import ChatTemplate, read_chat_template
from edgecomp.errors import RuntimeRefused
from edgecomp.evaluate.harness import RuntimeModel, cut_at
from edgecomp.runtimes.protocol import find_runtime
from edgecomp.runtimes.settings import RunSettings

from .conftest import RecordedRuntime

SETTINGS = RunSettings(context=256, threads=1, sequences=4, outputs=64)


def instance(kind: Any, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def model(runtime: Any) -> RuntimeModel:
    return RuntimeModel(runtime, Path("a.gguf"), SETTINGS, ChatTemplate(source=None))


def test_continuations_of_a_context_are_asked_once_and_together(recorded: RecordedRuntime) -> None:
    recorded.scores = {"A": [-1.0, -2.0], "B": [-3.0, -4.0]}
    requests = [
        instance("loglikelihood", context, continuation)
        for context, continuation in (("A", " x"), ("B", " x"), ("A", " y"), ("B", " y"))
    ]
    answers = model(recorded).loglikelihood(requests)
    assert answers == [(-1.0, False), (-3.0, False), (-2.0, False), (-4.0, False)]
    assert recorded.asked == ["A", "B"]


def test_a_text_ends_at_its_first_stop(recorded: RecordedRuntime) -> None:
    recorded.texts = {"Q": "one\n\ntwo Q: three"}
    request = instance("generate_until", "Q", {"until": ["Q:", "\n\n"], "max_gen_toks": 9})
    assert model(recorded).generate_until([request]) == ["one"]
    assert recorded.limits == [9]
    assert cut_at("abc", ["", "z"]) == "abc"


def test_sampling_is_refused(recorded: RecordedRuntime) -> None:
    request = instance("generate_until", "Q", {"do_sample": True, "temperature": 0.7})
    with pytest.raises(RuntimeRefused, match="greedily"):
        model(recorded).generate_until([request])


@pytest.mark.demo
def test_the_demo_model_answers_lm_eval(demo_gguf: Path) -> None:
    template = read_chat_template(demo_gguf)
    adapter = RuntimeModel(find_runtime("llama.cpp"), demo_gguf, SETTINGS, template)
    capital = "The capital of France is"
    right, wrong = adapter.loglikelihood(
        [instance("loglikelihood", capital, text) for text in (" Paris", " Rome")]
    )
    assert right[0] > wrong[0]
    ((likelihood, greedy),) = adapter.loglikelihood([instance("loglikelihood", capital, " Paris")])
    assert likelihood == pytest.approx(right[0], abs=1e-3)
    assert greedy
    (rolling,) = adapter.loglikelihood_rolling([instance("loglikelihood_rolling", capital)])
    assert rolling < 0
    with pytest.raises(RuntimeRefused, match="context of 256"):
        adapter.loglikelihood_rolling([instance("loglikelihood_rolling", capital * 100)])
    turn = [{"role": "user", "content": "Hi"}]
    assert adapter.apply_chat_template(turn).endswith("<|im_start|>assistant\n")


@pytest.mark.demo
def test_lm_eval_runs_a_task_of_its_own_on_the_demo_model(
    demo_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval
    from lm_eval.api.task import ConfigurableTask

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    capitals = (("France", "Paris", "Rome"), ("Italy", "Rome", "Oslo"), ("Japan", "Tokyo", "Lima"))
    rows = [
        {"question": f"The capital of {country} is", "choices": [right, wrong], "answer": 0}
        for country, right, wrong in capitals
    ]
    data = tmp_path / "capitals.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = ConfigurableTask(
        config={
            "task": "capitals",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
    )
    template = read_chat_template(demo_gguf)
    adapter = RuntimeModel(find_runtime("llama.cpp"), demo_gguf, SETTINGS, template)
    found = lm_eval.evaluate(lm=adapter, task_dict={"capitals": task}, bootstrap_iters=0)
    assert found["results"]["capitals"]["acc,none"] == 1.0
