"""Our GPTQ beside llm-compressor's and GPTQModel's: seconds a block, and what the model loses.

All quantize the linears inside the blocks to 4-bit symmetric groups of 64, with act-order, on the
very same calibration tokens and number of threads; each reference runs in an environment of its
own. Losses are measured by one function, from the weights that came out.

    python3.11 -m venv COMPRESSOR && COMPRESSOR/bin/pip install torch==2.13.0
    COMPRESSOR/bin/pip install llmcompressor==0.14.0.1
    python3.11 -m venv GPTQMODEL && GPTQMODEL/bin/pip install torch==2.13.0
    GPTQMODEL/bin/pip install --no-build-isolation gptqmodel==7.6.0
    python benchmarks/compress_off_grid.py DEMO_CHECKPOINT OFF_GRID
    EDGECOMP_DATA=... python benchmarks/compress_reference.py OFF_GRID THREADS \\
        llm_compressor=COMPRESSOR/bin/python gptqmodel=GPTQMODEL/bin/python

A reference's time is that of its one call on a loaded model. Ours is that of the whole walk,
reading and writing the checkpoint included.
"""

from __future__ import annotations

import os
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

from edgecomp.common.events import ignore_progress
from edgecomp.compress.blocks import walk
from edgecomp.compress.destination import Destination
from edgecomp.exporters.huggingface_dequantized import export_dequantized
from edgecomp.models.reading import read_model

BITS, GROUP = 4, 64


def run_reference(
    name: str, python: str, checkpoint: Path, tokens: Tensor, threads: int, out: Path
) -> float:
    """Write the checkpoint with the reference's weights to `out`; the seconds it took."""
    script = Path(__file__).with_name(f"reference_{name}.py")
    with tempfile.TemporaryDirectory() as scratch:
        tokens_file, written = Path(scratch) / "tokens.npy", Path(scratch) / "written"
        np.save(tokens_file, tokens.numpy())
        # A virtual environment's python is a link that must stay one; GPTQModel leaves logs about.
        command = [Path(python).absolute(), script, checkpoint.resolve(), tokens_file, written]
        run = subprocess.run(
            [*command, str(threads)],
            cwd=scratch,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "GPTQMODEL_CPU_WORKERS": str(threads)},
        )
        if written.is_dir():
            export_dequantized(read_model(written), out, "F32", ignore_progress)
        else:
            put_in(load_file(written), checkpoint, out)
    return float(run.stdout.splitlines()[-1])


def put_in(weights: dict[str, Tensor], checkpoint: Path, out: Path) -> None:
    """Write the checkpoint with these weights in place of its own."""
    for name, weight in weights.items():
        check_grid(name, weight)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise SystemExit(f"The reference wrote weights that the model does not have: {unknown}")
    model.save_pretrained(out)


def run_ours(checkpoint: Path, tokens: Tensor, out: Path) -> float:
    begun = time.monotonic()
    walk(
        checkpoint,
        tokens,
        method_called(f"gptq-act:{BITS}-bit-g{GROUP}"),
        destination=Destination(folder=out, dtype=torch.float32),
    )
    return time.monotonic() - begun


def check_grid(name: str, weight: Tensor) -> None:
    """Stop where a group of the first row holds more values than the bits can tell apart."""
    most = max(len(group.unique()) for group in weight[0].split(GROUP))
    if most > 1 << BITS:
        raise SystemExit(f"{name} was not quantized: a group holds {most} values.")


def main(checkpoint: Path, threads: int, references: list[str]) -> None:
    torch.set_num_threads(threads)
    blocks = read_model(checkpoint).layers
    calibration = tokens_of(checkpoint, "calib_wikitext.txt", CALIBRATION_SAMPLES)
    test = tokens_of(checkpoint, "wikitext2_test.txt", TEST_SAMPLES)
    base = log_probabilities(checkpoint, test)
    print("| GPTQ | seconds a block | KL, nats a token | same first choice | perplexity |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(f"| float | | {compare(base, base, test)} |")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "edgecomp"
        ours = run_ours(checkpoint, calibration, out) / blocks
        print(f"| edgecomp | {ours:.2f} | {compare(base, log_probabilities(out, test), test)} |")
        for reference in references:
            name, _, python = reference.partition("=")
            out = Path(scratch) / name
            theirs = run_reference(name, python, checkpoint, calibration, threads, out) / blocks
            loss = compare(base, log_probabilities(out, test), test)
            times = f"{theirs:.2f} ({theirs / ours:.1f} x ours)"
            print(f"| {name} | {times} | {loss} |", flush=True)
    print(f"\n{blocks} blocks, {calibration.numel():,} calibration tokens, {threads} threads")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
