"""ONNX Runtime as a runtime, held against transformers on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecomp.common.errors import RuntimeMissing, RuntimeRefused
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.models.reading import read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx.session import Session, require_provider
from edgecomp.runtimes.protocol import Timing, Windows, find_runtime

SETTINGS = RunSettings(context=256, micro_batch=16, outputs=16, threads=1)
PROMPTS = ("Hello world", "The capital of France is", "<|user|>1, 2, 3", "日本")
TEXT = " ".join(f"the quick brown fox number {i} jumps" for i in range(120))


@pytest.fixture(scope="module", params=["llama", "qwen2", "mistral"])
def both(
    request: pytest.FixtureRequest,
    tiny_model: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A source and its float export."""
    source = tiny_model(request.param)
    folder = tmp_path_factory.mktemp("float") / "onnx"
    find_onnx_exporter().export_format(read_model(source), folder, "onnx-fp32")
    return source, folder


def test_greedy_text_is_that_of_transformers(both: tuple[Path, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, folder = both
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    answers = find_runtime("onnx").complete(folder, SETTINGS, PROMPTS, [12] * len(PROMPTS))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        wanted = [token for token in written.tolist() if token != 2]
        assert list(answer.tokens) == wanted


@pytest.mark.parametrize("sequences", [2, 3, 32])
def test_prompts_that_run_together_are_answered_as_one_by_one(
    both: tuple[Path, Path], sequences: int
) -> None:
    runtime, folder = find_runtime("onnx"), both[1]
    # They end one after the other, begin alike or not, and one is longer than a micro batch.
    prompts = [*PROMPTS, "Hello world again", TEXT[:160], TEXT[:170], PROMPTS[0]]
    limits = [3, 12, 1, 7, 9, 2, 12, 5]
    one_by_one = runtime.complete(folder, SETTINGS, prompts, limits)
    wide = SETTINGS.model_copy(update={"context": 1024, "sequences": sequences})
    seen: list[int] = []
    together = runtime.complete(folder, wide, prompts, limits, lambda done, _: seen.append(done))
    assert together == one_by_one
    assert seen == list(range(1, len(prompts) + 1))


def test_an_answer_ends_with_the_token_that_completes_a_stop(both: tuple[Path, Path]) -> None:
    runtime, folder = find_runtime("onnx"), both[1]
    (whole,) = runtime.complete(folder, SETTINGS, [PROMPTS[0]], [12])
    stop = whole.text[len(whole.text) // 2 :][:3]
    asked = [PROMPTS[0], PROMPTS[0]]
    stopped, other = runtime.complete(folder, SETTINGS, asked, [12, 12], stops=[["no", stop], []])
    assert other == whole
    assert stopped.tokens == whole.tokens[: len(stopped.tokens)]
    assert stop in stopped.text
    assert stopped.ended


def test_questions_that_begin_alike_are_scored_as_alone(both: tuple[Path, Path]) -> None:
    runtime, folder = find_runtime("onnx"), both[1]
    shots = "Q: one and one? A: two. Q: two and two? A:"
    questions = [
        (shots, [" four", " five, perhaps"]),
        ("Quite another context", [" four"]),
        (f"{shots} four. Q: three? A:", [" three", " no", " 3 it is"]),
        (shots, [" six"]),
    ]
    alone = [runtime.score(folder, SETTINGS, [question])[0] for question in questions]
    for found, wanted in zip(runtime.score(folder, SETTINGS, questions), alone, strict=True):
        for one, other in zip(found, wanted, strict=True):
            assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-4)
            assert one.greedy == other.greedy


def test_an_empty_prompt_is_refused(both: tuple[Path, Path]) -> None:
    with pytest.raises(RuntimeRefused, match="at least one token"):
        Session(str(both[1]), SETTINGS).prefill([])


def test_scores_are_the_log_likelihoods_of_transformers(both: tuple[Path, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, folder = both
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    context, choices = "The answer is:", [" yes", " no, not at all", " perhaps"]
    found = find_runtime("onnx").score(folder, SETTINGS, [(context, choices)])[0]
    start = len(tokenizer(context).input_ids)
    for choice, score in zip(choices, found, strict=True):
        ids = tokenizer(context + choice, return_tensors="pt").input_ids
        assert ids[0, :start].tolist() == tokenizer(context).input_ids
        with torch.no_grad():
            rows = model(ids).logits[0].double().log_softmax(-1)
        places = range(start, ids.shape[1])
        wanted = sum(float(rows[i - 1, ids[0, i]]) for i in places)
        assert score.loglikelihood == pytest.approx(wanted, abs=1e-3)
        assert score.greedy == all(rows[i - 1].argmax() == ids[0, i] for i in places)


def test_a_model_does_not_diverge_from_itself(both: tuple[Path, Path]) -> None:
    samples = find_runtime("onnx").compare(
        both[1], both[1], SETTINGS, TEXT, windows=Windows(tokens=64, number=3)
    )
    assert len(samples.kl) == 3
    assert np.max(samples.kl) < 1e-6
    assert np.min(samples.agree) == 1.0


def test_kept_predictions_of_the_base_tell_what_reading_it_tells(
    both: tuple[Path, Path], tmp_path: Path
) -> None:
    runtime, windows = find_runtime("onnx"), Windows(tokens=64, number=2)
    source, base = both
    rounded = tmp_path / "rounded"
    find_onnx_exporter().export_format(read_model(source), rounded, "onnx-int4-32")
    direct = runtime.compare(base, rounded, SETTINGS, TEXT, windows=windows)
    folder = tmp_path / "kept"
    assert runtime.keep_predictions(base, SETTINGS, TEXT, windows=windows, folder=folder)
    kept = runtime.compare_kept(folder, rounded, SETTINGS)
    assert np.mean(direct.kl) > 1e-4
    assert np.asarray(kept.kl) == pytest.approx(np.asarray(direct.kl), rel=1e-3, abs=1e-5)
    assert (kept.agree, kept.base_nll) == (direct.agree, direct.base_nll)


def test_a_measurement_has_every_repeat_of_every_depth(both: tuple[Path, Path]) -> None:
    raw = find_runtime("onnx").measure(
        both[1], SETTINGS, TEXT, Timing(depths=(16, 64), decode_tokens=4, repeats=2)
    )
    assert [row.depth for row in raw.depths] == [16, 64]
    assert all(len(row.runs) == 2 for row in raw.depths)
    assert all(len(run.token_seconds) == 4 for row in raw.depths for run in row.runs)
    folder_layers, heads, size = 2, 2, raw.buffer_bytes["kv"] // (2 * 2 * 2 * 256 * 4)
    assert raw.buffer_bytes["kv"] == folder_layers * 2 * heads * 256 * size * 4
    assert raw.peak_memory.peak_bytes >= raw.started_memory.peak_bytes


def test_a_prompt_longer_than_the_context_is_refused(both: tuple[Path, Path]) -> None:
    small = SETTINGS.model_copy(update={"context": 8})
    with pytest.raises(RuntimeRefused, match="context of 8"):
        find_runtime("onnx").complete(both[1], small, [TEXT], [4])


@pytest.mark.parametrize(
    ("provider", "package"),
    [("dml", "onnxruntime-directml"), ("cuda", "onnxruntime-gpu"), ("qnn", "onnxruntime-qnn")],
)
def test_a_provider_that_is_not_in_this_build_is_named_with_its_package(
    provider: str, package: str
) -> None:
    with pytest.raises(RuntimeMissing, match=rf"{provider} is not in this build.*{package}"):
        require_provider(provider)
