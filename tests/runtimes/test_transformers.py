"""transformers as a runtime, held against its own classes on tiny models."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import quantized_checkpoints as made_by
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgecomp.common.errors import ChildDied, RuntimeRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.exporters.huggingface import export
from edgecomp.models.reading import read_model
from edgecomp.processes.child import Child
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Timing, Windows
from edgecomp.runtimes.serving_load import DrawnRequest
from edgecomp.runtimes.transformers import runtime as in_a_child
from edgecomp.runtimes.transformers.__main__ import LIBRARY, notes
from edgecomp.runtimes.transformers.client import TransformersRuntime
from edgecomp.runtimes.transformers.kernels import KERNELS
from edgecomp.runtimes.transformers.loading import loading_of

SETTINGS = RunSettings(context=256, micro_batch=16, outputs=16, threads=1)
PROMPTS = ("Hello world", "The capital of France is", "<|user|>1, 2, 3", "日本")
TEXT = " ".join(f"the quick brown fox number {i} jumps" for i in range(120))
FAMILIES = ["llama", "qwen2", "gemma3", "gpt2"]
"""Rotary positions, biases, sliding layers with a norm of their own, learned positions."""


class InThisProcess(TransformersRuntime):
    """The worker's own answers, without the seconds that a process takes to load torch."""

    def ask(self, request: str, progress: Progress = ignore_progress, **arguments: Any) -> Any:
        handlers = {**LIBRARY.handlers(), "notes": notes}
        sent = json.loads(json.dumps(arguments))
        return json.loads(json.dumps(handlers[request](progress=progress, **sent)))


runtime = InThisProcess()


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tiny_model: Callable[..., Path]) -> Path:
    return tiny_model(request.param)


def whole(source: Path) -> tuple[Any, Any]:
    """The folder's model and tokenizer as transformers loads them by itself."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(source)


def test_greedy_text_is_that_of_transformers(source: Path) -> None:
    model, tokenizer = whole(source)
    answers = runtime.complete(source, SETTINGS, PROMPTS, [12] * len(PROMPTS))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        assert list(answer.tokens) == [token for token in written.tolist() if token != 2]


def test_prompts_that_run_together_are_answered_as_one_by_one(source: Path) -> None:
    # They end one after the other, begin alike or not; some are longer than a micro batch, and than
    # a sliding window.
    prompts = [*PROMPTS, "Hello world again", TEXT[:160], TEXT[:170], PROMPTS[0]]
    limits = [3, 12, 1, 7, 9, 2, 12, 5]
    one_by_one = runtime.complete(source, SETTINGS, prompts, limits)
    wide = SETTINGS.model_copy(update={"context": 2048, "sequences": 8})
    seen: list[float] = []
    together = runtime.complete(source, wide, prompts, limits, lambda done, _: seen.append(done))
    assert together == one_by_one
    assert seen[-1] == len(prompts)


def test_an_answer_ends_with_the_token_that_completes_a_stop(source: Path) -> None:
    (answer,) = runtime.complete(source, SETTINGS, [PROMPTS[0]], [12])
    stop = answer.text[len(answer.text) // 2 :][:3]
    asked = [PROMPTS[0], PROMPTS[0]]
    stopped, other = runtime.complete(source, SETTINGS, asked, [12, 12], stops=[["no", stop], []])
    assert other == answer
    assert stopped.tokens == answer.tokens[: len(stopped.tokens)]
    assert stop in stopped.text and stopped.ended


def test_scores_are_the_log_likelihoods_of_transformers(source: Path) -> None:
    model, tokenizer = whole(source)
    shots = "Q: one and one? A: two. Q: two and two? A:"
    questions = [
        (shots, [" four", " five, perhaps", " it is four and not one more"]),
        ("Quite another context", [" four"]),
        (f"{shots} four. Q: three? A:", [" three", " no"]),
    ]
    found = runtime.score(source, SETTINGS, questions)
    for (context, choices), scores in zip(questions, found, strict=True):
        start = len(tokenizer(context).input_ids)
        for choice, score in zip(choices, scores, strict=True):
            ids = tokenizer(context + choice, return_tensors="pt").input_ids
            assert ids[0, :start].tolist() == tokenizer(context).input_ids
            with torch.no_grad():
                rows = model(ids).logits[0].double().log_softmax(-1)
            places = range(start, ids.shape[1])
            wanted = sum(float(rows[i - 1, ids[0, i]]) for i in places)
            assert score.loglikelihood == pytest.approx(wanted, abs=1e-4)
            assert score.greedy == all(rows[i - 1].argmax() == ids[0, i] for i in places)


def test_choices_far_longer_than_others_are_scored_whole(
    tiny_model: Callable[..., Path],
) -> None:
    source = tiny_model("llama-long")
    model, tokenizer = whole(source)
    choices = [f" {TEXT}", " no", f" {TEXT[:1500]}"]
    wide = SETTINGS.model_copy(update={"context": 4096, "micro_batch": 128})
    (scores,) = runtime.score(source, wide, [("Once", choices)])
    for choice, score in zip(choices, scores, strict=True):
        ids = tokenizer("Once" + choice, return_tensors="pt").input_ids
        with torch.no_grad():
            rows = model(ids).logits[0].double().log_softmax(-1)
        begin = len(tokenizer("Once").input_ids)
        wanted = sum(float(rows[i - 1, ids[0, i]]) for i in range(begin, ids.shape[1]))
        assert score.loglikelihood == pytest.approx(wanted, rel=1e-6)


def test_tokens_are_those_of_the_folders_tokenizer(source: Path) -> None:
    _, tokenizer = whole(source)
    texts = ["Hello", "<|user|>a", ""]
    plain = runtime.tokenize(source, texts, add_special=False, parse_special=False)
    special = runtime.tokenize(source, texts, add_special=True, parse_special=True)
    assert special == [tokenizer(text).input_ids for text in texts]
    assert plain[0] == special[0][1:] and len(plain[1]) > len(special[1])


def test_a_model_does_not_diverge_from_itself(source: Path) -> None:
    samples = runtime.compare(source, source, SETTINGS, TEXT, windows=Windows(tokens=64, number=2))
    assert len(samples.kl) == 2
    assert np.max(samples.kl) < 1e-6
    assert np.min(samples.agree) == 1.0


def quantized(source: Path, folder: Path, layout: str) -> Path:
    config, parts_of = LAYOUTS[layout]
    made_by.write_quantized(source, folder, config, parts_of)
    return folder


GROUPS = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
          "symmetric": False, "group_size": 32}}}  # fmt: skip
PACKED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": GROUPS}
GROUPED: dict[str, Any] = PACKED | {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": 32,
            },
        }
    }
}
"""As compressed-tensors itself wants it said."""

LAYOUTS: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 32}, made_by.gptq_parts),
    "gptq v2": (
        {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"},
        partial(made_by.gptq_parts, shift=0),
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, made_by.awq_parts),
    "compressed-tensors": (PACKED, made_by.packed_parts),
}


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where none are installed, whatever this machine has."""
    for name, kernels in KERNELS.items():
        absent = dict.fromkeys(kernels.packages, "no_such_module")
        monkeypatch.setitem(KERNELS, name, kernels._replace(packages=absent))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_quantized_folder_is_what_its_codes_stand_for(
    tiny_model: Callable[..., Path], tmp_path: Path, no_kernels: None, layout: str
) -> None:
    from edgecomp.runtimes.transformers.load import load_model

    folder = quantized(tiny_model("llama"), tmp_path / "quantized", layout)
    record = export(read_model(folder), tmp_path / "float", "F32")
    exact = AutoModelForCausalLM.from_pretrained(record.path, dtype=torch.float32)
    loaded = load_model(folder)
    weights = dict(loaded.named_parameters())
    assert len(weights) == len(dict(exact.named_parameters()))
    for name, wanted in exact.named_parameters():
        assert weights[name].dtype == torch.float32
        assert torch.equal(weights[name], wanted), name


def test_compressed_tensors_own_reader_gives_what_the_codes_stand_for(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("compressed_tensors", reason="its kernels are not installed here")
    source = tiny_model("llama")
    config = dict(GROUPED, quantization_status="compressed", ignore=["lm_head"])
    folder = tmp_path / "quantized"
    made_by.write_quantized(source, folder, config, made_by.packed_parts, symmetric=True)
    loading = loading_of(folder, None)
    assert (loading.dequantized, loading.dtype, loading.notes) == (False, "float32", ())
    questions = [("The capital of France is", [" Paris", " Berlin, I think"])]
    (by_codes,) = runtime.score(folder, SETTINGS, questions)
    absent = KERNELS["compressed-tensors"]._replace(packages={"none": "no_such_module"})
    monkeypatch.setitem(KERNELS, "compressed-tensors", absent)
    assert loading_of(folder, None).dequantized
    (by_floats,) = runtime.score(folder, SETTINGS, questions)
    for one, other in zip(by_codes, by_floats, strict=True):
        # The same numbers elsewhere in memory are added up in another order.
        assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-5)


def test_divergence_from_kept_predictions_is_that_of_reading_the_base(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    base, windows = tiny_model("llama"), Windows(tokens=64, number=2)
    rounded = quantized(base, tmp_path / "quantized", "gptq")
    direct = runtime.compare(base, rounded, SETTINGS, TEXT, windows=windows)
    folder = tmp_path / "kept"
    assert runtime.keep_predictions(base, SETTINGS, TEXT, windows=windows, folder=folder)
    kept = runtime.compare_kept(folder, rounded, SETTINGS)
    assert np.mean(direct.kl) > 1e-4
    assert np.asarray(kept.kl) == pytest.approx(np.asarray(direct.kl), rel=1e-3, abs=1e-5)
    assert (kept.agree, kept.base_nll) == (direct.agree, direct.base_nll)


def test_a_folder_without_kernels_says_that_it_runs_as_floats(
    tiny_model: Callable[..., Path], tmp_path: Path, no_kernels: None
) -> None:
    folder = quantized(tiny_model("llama"), tmp_path / "quantized", "gptq")
    loading = loading_of(folder, None)
    assert (loading.method, loading.dequantized, loading.dtype) == ("gptq", True, "float32")
    assert "floats that its codes stand for" in loading.notes[0]
    assert "edgecomp[gptq]" in loading.notes[0]
    assert runtime.notes(tiny_model("llama")) == ()


def test_fp8_without_a_card_runs_as_the_floats_it_stands_for(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from edgecomp.runtimes.transformers.load import load_model

    folder = tmp_path / "fp8"
    said: dict[str, object] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    wanted = made_by.write_small_codes(tiny_model("llama"), folder, said, made_by.block_fp8_parts)
    loading = loading_of(folder, None)
    assert loading.dequantized and "no kernels here" in loading.notes[0]
    assert not loading_of(folder, 1 << 40).dequantized
    weights = dict(load_model(folder).named_parameters())
    assert all(torch.equal(weights[name], values) for name, values in wanted.items())


def test_floats_that_no_memory_holds_are_halved_and_that_is_said(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_model("llama")
    needed = 4 * read_model(source).parameters
    monkeypatch.setattr("edgecomp.runtimes.transformers.loading.memory_limit_bytes", lambda: needed)
    loading = loading_of(source, None)
    assert loading.dtype == "bfloat16" and "bfloat16" in loading.notes[0]
    assert loading_of(source, 2 * needed).dtype == "auto"


def test_a_quantization_that_nothing_reads_is_named_with_its_cure(
    tiny_model: Callable[..., Path], tmp_path: Path, no_kernels: None
) -> None:
    folder = tmp_path / "nf4"
    shutil.copytree(tiny_model("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    method = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    with pytest.raises(RuntimeRefused, match=r"bitsandbytes.*pip install bitsandbytes"):
        loading_of(folder, None)


def test_a_method_that_transformers_does_not_know_is_named(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "novel"}})
    )
    with pytest.raises(RuntimeRefused, match=r"quantized by novel.*before its quantization"):
        runtime.complete(folder, SETTINGS, ["Hello"], [2])


def test_a_child_answers_as_this_process_does(tiny_model: Callable[..., Path]) -> None:
    source = tiny_model("llama")
    assert in_a_child.complete(source, SETTINGS, PROMPTS, [5] * 4) == runtime.complete(
        source, SETTINGS, PROMPTS, [5] * 4
    )
    assert in_a_child.notes(source) == ()


def test_a_worker_that_refused_answers_the_next_request_and_a_dead_one_is_replaced(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Child] = []

    class Counted(Child):
        def __init__(self, module: str) -> None:
            super().__init__(module)
            started.append(self)

    monkeypatch.setattr("edgecomp.runtimes.transformers.client.Child", Counted)
    own, source = TransformersRuntime(), tiny_model("llama")
    with pytest.raises(RuntimeRefused):
        own.complete(source, SETTINGS.model_copy(update={"context": 4}), [TEXT], [4])
    assert own.complete(source, SETTINGS, ["Hello"], [2])
    assert len(started) == 1
    os.kill(started[0].process_id, signal.SIGKILL)
    with pytest.raises(ChildDied):
        own.complete(source, SETTINGS, ["Hello"], [2])
    assert own.complete(source, SETTINGS, ["Hello"], [2])
    own.end()
    assert len(started) == 2
    assert not any(psutil.pid_exists(child.process_id) for child in started)


def test_a_folder_that_lacks_a_weight_is_refused(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "less"
    shutil.copytree(tiny_model("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RuntimeRefused, match=r"layers\.1\.mlp\.up_proj\.weight"):
        runtime.complete(folder, SETTINGS, ["Hello"], [2])


def test_a_prompt_longer_than_the_context_is_refused(tiny_model: Callable[..., Path]) -> None:
    small = SETTINGS.model_copy(update={"context": 8})
    with pytest.raises(RuntimeRefused, match="context of 8"):
        runtime.complete(tiny_model("llama"), small, [TEXT], [4])


def test_positions_that_a_model_lacks_are_refused(tiny_model: Callable[..., Path]) -> None:
    wide = SETTINGS.model_copy(update={"context": 4096, "micro_batch": 512})
    with pytest.raises(RuntimeRefused, match="could not run"):
        runtime.complete(tiny_model("gpt2"), wide, [TEXT], [4])


def test_a_measurement_has_every_repeat_of_every_depth(tiny_model: Callable[..., Path]) -> None:
    source = tiny_model("llama")
    raw = runtime.measure(
        source, SETTINGS, TEXT, Timing(depths=(16, 64), decode_tokens=4, repeats=2)
    )
    assert [row.depth for row in raw.depths] == [16, 64]
    assert all(len(row.runs) == 2 for row in raw.depths)
    assert all(len(run.token_seconds) == 4 for row in raw.depths for run in row.runs)
    # Two layers' keys and values of two heads of 16, after 64 + 4 tokens, float32.
    assert raw.buffer_bytes["kv"] == 2 * 2 * 2 * 16 * (64 + 4) * 4
    assert raw.buffer_bytes["weights"] >= 4 * read_model(source).parameters


def test_every_request_of_a_load_writes_what_it_asked_for(tiny_model: Callable[..., Path]) -> None:
    """Eight requests for four sequences: the others wait."""
    requests = [
        DrawnRequest(prompt_tokens=20 + index, output_tokens=1 + 3 * index, arrival_seconds=0.0)
        for index in range(8)
    ]
    settings = SETTINGS.model_copy(update={"context": 256, "sequences": 4, "micro_batch": 64})
    seen: list[float] = []
    found = in_a_child.serve(
        tiny_model("llama-long"),
        settings,
        TEXT,
        requests,
        seconds=None,
        progress=lambda done, _: seen.append(done),
    )
    written = sorted(len(row.token_seconds) for row in found.requests)
    assert written == [request.output_tokens for request in requests]
    assert max(cells for _, cells in found.cells) <= 256
    assert max(row.admitted_seconds - row.arrived_seconds for row in found.requests) > 0
    for row in found.requests:
        assert row.arrived_seconds <= row.admitted_seconds < row.token_seconds[0]
        assert all(first < second for first, second in pairwise(row.token_seconds))
    assert (seen[0], seen[-1]) == (0, 8)
