"""The lm-eval adapter over recorded answers, and over the real demo model."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from lm_eval.api.instance import Instance

from edgecomp.common.errors import RuntimeRefused
from edgecomp.evaluate.harness import RuntimeModel, cut_at
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import find_runtime

from .conftest import RecordedRuntime

SETTINGS = RunSettings(context=256, threads=1, sequences=4, outputs=64)


def instance(kind: Any, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def model(runtime: Any) -> RuntimeModel:
    return RuntimeModel(runtime, Path("a.gguf"), SETTINGS, ChatTemplate(source=None))


class CountingBytes:
    """A tokenizer of one token a byte: more tokens than any real one makes."""

    def tokenize(self, artifact: Path, texts: list[str], **how: bool) -> list[list[int]]:
        return [list(text.encode()) for text in texts]


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
    assert recorded.stops == [["Q:", "\n\n"]]
    assert cut_at("abc", ["", "z"]) == "abc"


def test_sampling_is_refused(recorded: RecordedRuntime) -> None:
    request = instance("generate_until", "Q", {"do_sample": True, "temperature": 0.7})
    with pytest.raises(RuntimeRefused, match="greedily"):
        model(recorded).generate_until([request])


@given(text=st.text(alphabet=" \n\tab.é漢😀", max_size=1500))
def test_windows_of_a_long_text_hold_all_of_it_and_fit_the_context(text: str) -> None:
    adapter = model(CountingBytes())
    windows = adapter._windows(text)
    assert "".join(window for _, window in windows) == text
    assert windows[0][0] == ""
    for (_, earlier), (before, window) in pairwise(windows):
        assert before and window and earlier.endswith(before)
    if len(windows) > 1:
        room = SETTINGS.context - 2
        assert all(len((before + window).encode()) <= room for before, window in windows)


def test_a_long_text_is_the_sum_of_its_windows(recorded: RecordedRuntime) -> None:
    recorded.tokenize = CountingBytes().tokenize  # type: ignore[method-assign]
    text = " ".join(f"word{number}" for number in range(100))
    adapter = RuntimeModel(recorded, Path("a.gguf"), SETTINGS, ChatTemplate(source=None, bos="<s>"))
    windows = adapter._windows(text)
    assert len(windows) > 2
    recorded.scores = {before or "<s>": [-1.0 - index] for index, (before, _) in enumerate(windows)}
    request = instance("loglikelihood_rolling", text)
    total = -sum(range(1, len(windows) + 1))
    assert adapter.loglikelihood_rolling([request]) == [pytest.approx(total)]


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
    long = " ".join([capital] * 100)
    (windowed,) = adapter.loglikelihood_rolling([instance("loglikelihood_rolling", long)])
    assert windowed < rolling
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
