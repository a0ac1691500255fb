"""What a calibration of the task's own kind regains on text of that kind, against WikiText alone.

Each method runs three times on as many tokens: calibrated on WikiText, on the preset mix for
reasoning, and on the one for knowledge. The loss is the KL divergence from the float model on text
that no mix holds: GSM8K's test questions with their solutions in the model's chat template, MMLU
questions in their usual form with the right letter, and WikiText-2's test split.

    python benchmarks/compress_off_grid.py DEMO_CHECKPOINT OFF_GRID
    EDGECOMP_DATA=... python benchmarks/compress_calibration.py OFF_GRID gptq-act:3-bit-g64 \\
        wanda:50% sparsegpt:50%

The share regained is 1 - KL(the task's mix) / KL(WikiText), with a 95 % bootstrap interval over the
windows, the same windows being drawn for both.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from compress_quantization import divergence, log_probabilities, method_called
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer

from edgecomp.calibration.calibration import calibration_texts, pack
from edgecomp.compress.blocks import walk
from edgecomp.compress.destination import Destination
from edgecomp.evaluate.benchmarks import BENCHMARKS
from edgecomp.evaluate.datasets import read_benchmark
from edgecomp.evaluate.items import ChoiceItem
from edgecomp.evaluate.statistics import percentile_interval, resample_indices
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.recipes.calibration_mix import CalibrationMix, preset_mix

CALIBRATION_ROWS, TEST_ROWS, LENGTH = 64, 24, 256
MIXES = {
    "WikiText": CalibrationMix(samples={"text": 128}),
    "reasoning": preset_mix("reasoning"),
    "knowledge": preset_mix("knowledge"),
}
JUDGED_ON = {
    "WikiText": ("GSM8K", "MMLU", "WikiText"),
    "reasoning": ("GSM8K", "WikiText"),
    "knowledge": ("MMLU", "WikiText"),
}

Floats = NDArray[np.float64]


def test_texts(data: Path, template: ChatTemplate) -> dict[str, list[str]]:
    solutions = [
        template.render(
            [
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ],
            add_generation_prompt=False,
        )
        for row in map(json.loads, (data / "gsm8k.jsonl").read_text("utf-8").splitlines())
    ]
    answered = [
        f"{item.prompt}{item.choices[item.answer]}\n\n"
        for item in read_benchmark(BENCHMARKS["mmlu"], data)
        if isinstance(item, ChoiceItem)
    ]
    wikitext = (data / "wikitext2_test.txt").read_text(encoding="utf-8")
    return {"GSM8K": solutions, "MMLU": answered, "WikiText": [wikitext]}


def rows_of(folder: Path, texts: Sequence[str], count: int) -> Tensor:
    """Token ids [count, LENGTH], packed from the beginning of the texts."""
    most = 20 * count * LENGTH
    ids = AutoTokenizer.from_pretrained(folder)([text[:most] for text in texts]).input_ids
    rows = pack(ids, LENGTH)[:count]
    if len(rows) < count:
        raise SystemExit(f"The texts give {len(rows)} rows of {LENGTH} tokens, {count} are needed.")
    return torch.from_numpy(rows)


def losses(base: list[Tensor], folder: Path, tokens: Tensor) -> Floats:
    """The mean KL of each window [windows]."""
    other = log_probabilities(folder, tokens)
    pairs = zip(base, other, strict=True)
    return np.array([float(divergence(p, q).mean()) for p, q in pairs])


def regained(generic: Floats, task: Floats) -> str:
    drawn = resample_indices(len(generic), seed=0)
    interval = percentile_interval(1 - task[drawn].mean(1) / generic[drawn].mean(1))
    share = 1 - task.mean() / generic.mean()
    return f"{share:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def main(folder: Path, methods: list[str]) -> None:
    data, template = Path(os.environ["EDGECOMP_DATA"]), read_chat_template(folder)
    tests = {
        name: rows_of(folder, texts, TEST_ROWS)
        for name, texts in test_texts(data, template).items()
    }
    base = {name: log_probabilities(folder, tokens) for name, tokens in tests.items()}
    calibrations = {
        name: rows_of(folder, calibration_texts(mix, template, data)[0], CALIBRATION_ROWS)
        for name, mix in MIXES.items()
    }
    print("| method | mix | judged on | KL, WikiText | KL, the mix | regained (95 %) |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for method in methods:
        found: dict[tuple[str, str], Floats] = {}
        for mix, calibration in calibrations.items():
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "out"
                walk(
                    folder, calibration, method_called(method), destination=Destination(folder=out)
                )
                for name in JUDGED_ON[mix]:
                    found[mix, name] = losses(base[name], out, tests[name])
        for (mix, name), task in found.items():
            if mix == "WikiText":
                continue
            generic = found["WikiText", name]
            print(
                f"| {method} | {mix} | {name} | {generic.mean():.4f} | {task.mean():.4f} "
                f"| {regained(generic, task)} |",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
