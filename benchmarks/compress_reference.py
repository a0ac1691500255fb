"""Our GPTQ beside llm-compressor's: seconds a block, and what the model loses.

Both quantize the linears inside the blocks to 4-bit symmetric groups of 64, with act-order, on the
very same calibration tokens and number of threads; the reference runs in an environment of its own.
Losses are measured by one function, from the weights that came out.

    python3.11 -m venv REFERENCE && REFERENCE/bin/pip install torch==2.13.0
    REFERENCE/bin/pip install llmcompressor==0.14.0.1
    python benchmarks/compress_off_grid.py DEMO_CHECKPOINT OFF_GRID
    EDGECOMP_DATA=... python benchmarks/compress_reference.py OFF_GRID REFERENCE/bin/python THREADS

The reference's time is that of its `oneshot` on a loaded model. Ours is that of the whole walk,
reading and writing the checkpoint included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from compress_quantization import (
    CALIBRATION_SAMPLES,
    TEST_SAMPLES,
    compare,
    log_probabilities,
    method_called,
    tokens_of,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.compress.blocks import walk
from edgecomp.model import read_model

REFERENCE = Path(__file__).with_name("reference_gptq.py")
BITS, GROUP = 4, 64


def run_reference(python: str, checkpoint: Path, tokens: Tensor, threads: int, out: Path) -> float:
    """Write the checkpoint with the reference's weights to `out`; the seconds it took."""
    with tempfile.TemporaryDirectory() as scratch:
        tokens_file, weights_file = Path(scratch) / "tokens.npy", Path(scratch) / "weights"
        np.save(tokens_file, tokens.numpy())
        command = [python, REFERENCE, checkpoint, tokens_file, weights_file, str(threads)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        weights = load_file(weights_file)
    for name, weight in weights.items():
        check_grid(name, weight)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise SystemExit(f"The reference wrote weights that the model does not have: {unknown}")
    model.save_pretrained(out)
    return float(run.stdout.splitlines()[-1])


def run_ours(checkpoint: Path, tokens: Tensor, out: Path) -> float:
    begun = time.monotonic()
    walk(
        checkpoint,
        tokens,
        method_called(f"gptq-act:{BITS}-bit-g{GROUP}"),
        destination=out,
        dtype=torch.float32,
    )
    return time.monotonic() - begun


def check_grid(name: str, weight: Tensor) -> None:
    """Stop where a group of the first row holds more values than the bits can tell apart."""
    most = max(len(group.unique()) for group in weight[0].split(GROUP))
    if most > 1 << BITS:
        raise SystemExit(f"{name} was not quantized: a group holds {most} values.")


def main(checkpoint: Path, python: str, threads: int) -> None:
    torch.set_num_threads(threads)
    blocks = read_model(checkpoint).layers
    calibration = tokens_of(checkpoint, "calib_wikitext.txt", CALIBRATION_SAMPLES)
    test = tokens_of(checkpoint, "wikitext2_test.txt", TEST_SAMPLES)
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Path(scratch) / "theirs", Path(scratch) / "ours"
        their_seconds = run_reference(python, checkpoint, calibration, threads, theirs)
        our_seconds = run_ours(checkpoint, calibration, ours)
        base = log_probabilities(checkpoint, test)
        print("| GPTQ | seconds a block | KL, nats a token | same first choice | perplexity |")
        print("| --- | ---: | ---: | ---: | ---: |")
        print(f"| float | | {compare(base, base, test)} |")
        for name, folder, seconds in (
            ("llm-compressor", theirs, their_seconds),
            ("edgecomp", ours, our_seconds),
        ):
            loss = compare(base, log_probabilities(folder, test), test)
            print(f"| {name} | {seconds / blocks:.2f} | {loss} |")
    print(
        f"\n{blocks} blocks, {calibration.numel():,} calibration tokens, {threads} threads: "
        f"{their_seconds / our_seconds:.1f} x as fast"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
