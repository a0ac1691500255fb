"""llm-compressor's GPTQ on one checkpoint: compress_reference.py runs it, in another environment.

    REFERENCE/bin/python benchmarks/reference_llm_compressor.py CHECKPOINT TOKENS WEIGHTS THREADS

Reads the tokens from an .npy file, quantizes the linears inside the blocks to 4-bit symmetric
groups of 64 by the reference's own defaults (static act-order, 1 % damping, minimum and maximum for
scales) and writes what they stand for, float32, to WEIGHTS. The last line printed is the seconds
that its one call took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

TOKENS_PER_BATCH = 1024
"""As edgecomp's block walker."""


def main(checkpoint: Path, tokens_file: Path, weights_file: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    tokens = np.load(tokens_file)
    samples, length = tokens.shape
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    rows = tokens.tolist()
    calibration = Dataset.from_dict(
        {"input_ids": rows, "attention_mask": np.ones_like(tokens).tolist()}
    )
    weights = {
        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 64,
    }  # fmt: skip
    recipe = GPTQModifier(
        config_groups={"linears": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"]
    )
    begun = time.monotonic()
    oneshot(
        model=model,
        dataset=calibration,
        recipe=recipe,
        num_calibration_samples=samples,
        shuffle_calibration_samples=False,
        max_seq_length=length,
        batch_size=max(1, TOKENS_PER_BATCH // length),
    )
    seconds = time.monotonic() - begun
    state = model.state_dict()
    save_file(
        {f"{name}.weight": state[f"{name}.weight"].float().contiguous() for name in linears},
        weights_file,
    )
    print(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
