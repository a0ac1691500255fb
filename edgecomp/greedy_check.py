"""Whether an artifact with float weights writes what its source writes.

The artifact continues a few prompts greedily in its own runtime; the source then reads each
continuation in one pass of transformers (float32, on CPU) and must prefer every token of it. By
induction this is equality of the greedy texts. A token is accepted although the source prefers
another only where the source is undecided: where the two logits lie closer than the artifact's
float type can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.artifact_checks import CONTROL, CheckResult
from edgecomp.events import Progress, ignore_progress
from edgecomp.exporting import FloatType
from edgecomp.gguf_header import read_gguf_header
from edgecomp.runtimes.protocol import Completion, Runtime
from edgecomp.runtimes.settings import RunSettings

GAP_ERRORS: dict[FloatType, float] = {"F32": 0.005, "F16": 0.02, "BF16": 0.16}
"""Largest error of the gap between two leading logits that each type explains, as a share of the
standard deviation of that position's logits.

llama.cpp rounds activations to the weights' type, keeps keys and values in F16 and looks GELU up in
an F16 table, so even F32 weights do not give transformers' logits. Over 600 positions of WikiText-2
on SmolLM2-135M the largest share seen was 0.000014 for F32, 0.012 for F16 and 0.063 for BF16; tiny
random GELU models reach 0.0025 in F32. Each bound is about twice that or more.
"""

PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Question: What is 17 + 25?\nAnswer:",
    "Die Hauptstadt von Deutschland heißt",
    "Water boils at a temperature of",
    "1, 2, 3, 5, 8,",
    "Dear Sir or Madam,\n\nI am writing to",
)
CELLS_STEP = 256

Logits = NDArray[np.float32]


def check_greedy(
    checkpoint: Path,
    artifact: Path,
    float_type: FloatType,
    runtime: Runtime,
    *,
    threads: int,
    prompts: Sequence[str] = PROMPTS,
    tokens: int = 32,
    progress: Progress = ignore_progress,
) -> CheckResult:
    """Compare greedy continuations of `prompts`, `tokens` long, with those of `checkpoint`.

    `checkpoint` is a Hugging Face folder: the source itself, or the float checkpoint made of a
    GGUF source, whose own kernels round. The whole of it is loaded as float32.
    """
    ids = runtime.tokenize(artifact, prompts, add_special=True, parse_special=True)
    longest = max(len(row) for row in ids) + tokens
    settings = RunSettings(
        context=-(-longest // CELLS_STEP) * CELLS_STEP, micro_batch=CELLS_STEP, threads=threads
    )
    answers = runtime.complete(artifact, settings, prompts, [tokens] * len(prompts), progress)
    model = _load(checkpoint)
    control = _control_tokens(artifact)
    undecided: list[float] = []
    compared = 0
    for prompt, row, answer in zip(prompts, ids, answers, strict=True):
        for logits, token in _choices(model, row, answer, control):
            compared += 1
            margin = float(logits.max() - logits[token])
            if margin == 0.0:
                continue
            share = margin / float(logits.std())
            if not share <= GAP_ERRORS[float_type]:
                return CheckResult(
                    name="greedy text",
                    passed=False,
                    detail=f"after {prompt!r} and {compared} tokens compared, the source prefers "
                    f"token {int(logits.argmax())} to the artifact's {token} by {margin:.4g} "
                    f"({share:.3g} standard deviations of the logits; {float_type} explains "
                    f"{GAP_ERRORS[float_type]})",
                )
            undecided.append(share)
    detail = f"{compared} tokens after {len(prompts)} prompts are the source's"
    if undecided:
        detail += (
            f", but for {len(undecided)} where the source is undecided (by at most "
            f"{max(undecided):.2g} standard deviations of the logits; {float_type} explains "
            f"{GAP_ERRORS[float_type]})"
        )
    return CheckResult(name="greedy text", passed=True, detail=detail)


def _load(checkpoint: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # from_pretrained gives the model in evaluation mode.
    return AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )


def _choices(
    model: Any, prompt: Sequence[int], answer: Completion, control: Sequence[int]
) -> list[tuple[Logits, int]]:
    """The source's logits [vocabulary] at each position the artifact chose at, and its choice.

    Where the artifact ended by itself, its choice was one of the control tokens.
    """
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *answer.tokens]])).logits[0].numpy()
    rows = logits[len(prompt) - 1 :]
    chosen = list(answer.tokens)
    if answer.ended and control:
        chosen.append(max(control, key=lambda token: float(rows[len(chosen)][token])))
    return list(zip(rows, chosen, strict=False))


def _control_tokens(artifact: Path) -> list[int]:
    types = read_gguf_header(artifact).get("tokenizer.ggml.token_type")
    if not isinstance(types, list):
        return []
    return [token for token, kind in enumerate(types) if kind == CONTROL]
