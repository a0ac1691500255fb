"""Our lm-eval adapter beside lm-eval's own `hf` model, and beside a plain llama-cpp-python loop.

    python benchmarks/harness_agreement.py DATA [ITEMS]

The demo model as a float checkpoint in transformers (float32) and in llama.cpp: as an F16 file, as
it ships, and as an F32 file with an F32 cache and no flash attention, where nothing is rounded on
the way. Compared are log-likelihoods of MMLU's choices, the choices made, the answers to GSM8K and
how they are judged, MMLU's accuracy as lm-eval counts it, and MMLU items a second. DATA is the
evaluation data.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import lm_eval
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.benchmarks import BENCHMARKS
from edgecomp.evaluate.datasets import read_benchmark
from edgecomp.evaluate.evaluate import render
from edgecomp.evaluate.grade import grade
from edgecomp.evaluate.harness import RuntimeModel
from edgecomp.evaluate.items import Answer, ChoiceItem, GenerationItem
from edgecomp.formats.exporting import find_exporter, find_gguf_exporter
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.models.reading import demo_model_path, read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime

DEFAULT_ITEMS, WRITTEN_SHARE, ANSWER_TOKENS, LOOP_ITEMS = 100, 4, 160, 12
Likelihoods = list[tuple[float, bool]]


def main() -> None:
    """Print every comparison."""
    data = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT_ITEMS
    with tempfile.TemporaryDirectory(prefix="edgecomp-agreement-") as name:
        folder = Path(name)
        shipped, exact, theirs = models(folder)
        choices = [i for i in read("mmlu", data, count) if isinstance(i, ChoiceItem)]
        written = [
            i for i in read("gsm8k", data, count // WRITTEN_SHARE) if isinstance(i, GenerationItem)
        ]
        reference = reference_likelihoods(theirs, shipped.template, choices)
        answers = theirs.generate_until(to_write(shipped, written), disable_tqdm=True)
        for title, ours in (("F16 file", shipped), ("F32 file, F32 cache", exact)):
            print(f"{title}:")
            seconds = compare_likelihoods(ours, theirs, choices, reference)
            if ours is shipped:
                plain_loop(ours, choices[:LOOP_ITEMS], len(choices) / seconds)
            compare_numbers(ours, written, answers)
        compare_accuracy(shipped, theirs, data, count, folder)


def read(name: str, data: Path, count: int) -> tuple[Any, ...]:
    return read_benchmark(BENCHMARKS[name], data, limit=count)


def models(folder: Path) -> tuple[RuntimeModel, RuntimeModel, HFLM]:
    """The same weights in llama.cpp, in two ways, and in transformers."""
    source = read_model(demo_model_path(), weights=True)
    find_exporter("huggingface").export(source, folder / "checkpoint", "F32")
    as_shipped = RunSettings(context=8192, sequences=8, outputs=64, threads=physical_cores())
    unrounded = as_shipped.model_copy(update={"kv_type": "F32", "flash_attention": False})
    ours = []
    for kind, settings in (("F16", as_shipped), ("F32", unrounded)):
        base = folder / f"base-{kind}.gguf"
        find_gguf_exporter().export(source, base, kind, lambda done, total: None)
        ours.append(RuntimeModel(runtime, base, settings, read_chat_template(base)))
    theirs = HFLM(
        pretrained=str(folder / "checkpoint"), device="cpu", dtype="float32", batch_size=4
    )
    return ours[0], ours[1], theirs


def to_choose(template: ChatTemplate, items: Sequence[ChoiceItem]) -> list[Instance]:
    return [
        Instance("loglikelihood", {}, (render(item.prompt, template), choice), index)
        for item in items
        for index, choice in enumerate(item.choices)
    ]


def to_write(ours: RuntimeModel, items: Sequence[GenerationItem]) -> list[Instance]:
    options = {"until": ["\n\n\n"], "max_gen_toks": ANSWER_TOKENS, "do_sample": False}
    return [
        Instance("generate_until", {}, (render(item.prompt, ours.template), options), 0)
        for item in items
    ]


def reference_likelihoods(
    theirs: HFLM, template: ChatTemplate, items: Sequence[ChoiceItem]
) -> Likelihoods:
    """transformers' log-likelihoods; prints its speed."""
    began = time.perf_counter()
    found: Likelihoods = theirs.loglikelihood(to_choose(template, items), disable_tqdm=True)
    print(f"transformers: {len(items) / (time.perf_counter() - began):.2f} MMLU items/s")
    return found


def compare_likelihoods(
    ours: RuntimeModel, theirs: HFLM, items: Sequence[ChoiceItem], reference: Likelihoods
) -> float:
    """Print how near the log-likelihoods are; the seconds that ours took."""
    requests = to_choose(ours.template, items)
    began = time.perf_counter()
    mine = ours.loglikelihood(requests)
    seconds = time.perf_counter() - began
    tokens = [len(theirs.tok_encode(request.args[1])) for request in requests]
    apart = np.abs(np.subtract([a for a, _ in mine], [b for b, _ in reference])) / tokens
    same = sum(
        a == b for a, b in zip(decisions(items, mine), decisions(items, reference), strict=True)
    )
    print(
        f"  MMLU, {len(items)} items, {len(requests)} choices: apart by {apart.mean():.2g} nats a "
        f"token, at most {apart.max():.2g}; {same} of {len(items)} choices are the same; "
        f"{len(items) / seconds:.2f} items/s"
    )
    return seconds


def decisions(items: Sequence[ChoiceItem], likelihoods: Likelihoods) -> list[int]:
    """The most likely choice of each item."""
    values = iter(value for value, _ in likelihoods)
    return [int(np.argmax([next(values) for _ in item.choices])) for item in items]


def plain_loop(ours: RuntimeModel, items: Sequence[ChoiceItem], our_speed: float) -> None:
    """Print the speed of a loop that runs every choice's whole text with all logits kept."""
    model = llama_cpp.Llama(
        str(ours.artifact), n_ctx=2048, n_threads=physical_cores(), logits_all=True, verbose=False
    )
    began = time.perf_counter()
    for item in items:
        prompt = render(item.prompt, ours.template)
        for choice in item.choices:
            model.reset()
            tokens = model.tokenize((prompt + choice).encode(), add_bos=False, special=True)
            model.eval(tokens)
            logits = model.scores[: len(tokens) - 1]
            log_sums = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
            assert np.isfinite(log_sums).all()
    speed = len(items) / (time.perf_counter() - began)
    model.close()
    print(f"  plain logits_all loop {speed:.2f} items/s: ours is {our_speed / speed:.1f} x as fast")


def compare_numbers(
    ours: RuntimeModel, items: Sequence[GenerationItem], reference: Sequence[str]
) -> None:
    """Print how often both greedy answers are judged alike, end in one number, are one text."""
    mine = ours.generate_until(to_write(ours, items))
    pairs = list(zip(mine, reference, strict=True))
    judged = sum(
        right(item, a) == right(item, b) for item, (a, b) in zip(items, pairs, strict=True)
    )
    same = sum(numbers(a)[-1:] == numbers(b)[-1:] for a, b in pairs)
    texts = sum(a.strip() == b.strip() for a, b in pairs)
    print(
        f"  GSM8K, {len(items)} items, {ANSWER_TOKENS} tokens: {judged} are judged alike, {same} "
        f"numbers are the same, {texts} texts to the letter"
    )


def right(item: GenerationItem, text: str) -> bool:
    return grade(item, Answer(item=item.fingerprint, text=text)).score == 1


def numbers(text: str) -> list[str]:
    return re.findall(r"-?\d[\d,]*\.?\d*", text)


def compare_accuracy(
    ours: RuntimeModel, theirs: HFLM, data: Path, count: int, folder: Path
) -> None:
    """Print MMLU's accuracy as lm-eval itself counts it for both."""
    task = {
        "task": "mmlu_local",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data / "mmlu.jsonl")},
            "cache_dir": str(folder / "datasets"),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    for name, model in (("ours", ours), ("hf", theirs)):
        found = lm_eval.evaluate(
            lm=model,
            task_dict={"mmlu_local": ConfigurableTask(config=dict(task))},
            limit=count,
            bootstrap_iters=0,
        )["results"]["mmlu_local"]
        print(
            f"lm-eval, {name}: acc {found['acc,none']:.4f}, acc_norm {found['acc_norm,none']:.4f}"
        )


if __name__ == "__main__":
    main()
