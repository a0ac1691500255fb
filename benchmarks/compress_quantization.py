"""What each quantization or pruning method loses, on the demo model moved off its grid.

Every linear inside the blocks is quantized or pruned; embedding and norms stay as they are. The
loss is the KL divergence from the float model on WikiText-2's test split, in transformers, from the
very values that go into the GGUF file. `ggml` is llama.cpp's own quantizer (ggml_quantize_chunk)
with the same importance matrix, measured on the same calibration tokens.

    python benchmarks/compress_off_grid.py DEMO_CHECKPOINT OFF_GRID
    EDGECOMP_DATA=... python benchmarks/compress_quantization.py OFF_GRID ggml:Q4_0 rtn+:Q4_0 \\
        gptq:Q4_0 gptq-act:Q4_0 awq:Q4_0 awq+gptq:Q4_0 rtn:4-bit-g64 gptq-act:3-bit-g64
    EDGECOMP_DATA=... python benchmarks/compress_quantization.py OFF_GRID magnitude:50% wanda:50% \\
        sparsegpt:50% wanda:2:4 sparsegpt:2:4

rtn+ rounds under the importance matrix; N-bit-gM are plain symmetric integers.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgecomp.compress.awq import awq_method
from edgecomp.compress.blocks import Block, Method, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.grids import Grid, integer_grid
from edgecomp.compress.magnitude import magnitude_method
from edgecomp.compress.rtn import mean_squares, rtn
from edgecomp.compress.sparsegpt import sparsegpt_method
from edgecomp.compress.wanda import wanda_method
from edgecomp.recipes.sparsity import parse_sparsity

CALIBRATION_SAMPLES, TEST_SAMPLES, LENGTH = 16, 8, 512
PRUNERS = {
    "magnitude": magnitude_method,
    "wanda": wanda_method,
    "sparsegpt": sparsegpt_method,
}


def grid_called(name: str) -> Grid:
    plain = re.fullmatch(r"(\d)-bit-g(-?\d+)", name)
    return integer_grid(int(plain[1]), int(plain[2]), symmetric=True) if plain else gguf_grid(name)


def ggml_method(kind: str) -> Method:
    """llama.cpp's own rounding to `kind` under the importance matrix."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(next(folder.glob("libggml-base.*"))))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [
        ctypes.c_int,
        *[ctypes.c_void_p] * 2,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]
    number = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[number]

    def method(block: Block) -> None:
        means = mean_squares(block)
        for name, linear in block.linears.items():
            rows, columns = linear.weight.shape
            weight = linear.weight.contiguous().numpy()
            importance = means[name].contiguous().numpy()
            packed = np.zeros((rows, columns // elements * size), np.uint8)
            quantize(
                int(number), weight.ctypes.data, packed.ctypes.data, 0, rows, columns,
                importance.ctypes.data,
            )  # fmt: skip
            linear.weight.copy_(torch.from_numpy(gguf.dequantize(packed, number)))

    return method


def method_called(text: str) -> Method:
    method, _, kind = text.partition(":")
    if method == "ggml":
        return ggml_method(kind)
    if method in PRUNERS:
        return PRUNERS[method](parse_sparsity(kind))
    grid = grid_called(kind)
    return {
        "rtn": lambda: rtn(lambda name: grid, use_importance=False),
        "rtn+": lambda: rtn(lambda name: grid, use_importance=True),
        "gptq": lambda: gptq_method(lambda name: grid),
        "gptq-act": lambda: gptq_method(lambda name: grid, act_order=True),
        "awq": lambda: awq_method(lambda name: grid),
        "awq+gptq": lambda: awq_method(lambda name: grid, solver="gptq"),
    }[method]()


def tokens_of(folder: Path, file: str, samples: int) -> Tensor:
    text = (Path(os.environ["EDGECOMP_DATA"]) / file).read_text(encoding="utf-8")
    ids = AutoTokenizer.from_pretrained(folder)(text[: 20 * samples * LENGTH]).input_ids
    return torch.tensor(ids[: samples * LENGTH]).view(samples, LENGTH)


@torch.no_grad()
def log_probabilities(folder: Path, tokens: Tensor) -> list[Tensor]:
    """Float16 [length, vocabulary] for each sample."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return [model(row[None]).logits[0].log_softmax(-1).half() for row in tokens]


def divergence(base: Tensor, other: Tensor) -> Tensor:
    """KL of each token [length], in nats, of log-probabilities [length, vocabulary]."""
    p, q = base.float(), other.float()
    return (p.exp() * (p - q)).sum(-1)


def compare(base: list[Tensor], other: list[Tensor], tokens: Tensor) -> str:
    kl, agree, nll = [], [], []
    for p, q, row in zip(base, other, tokens, strict=True):
        p, q = p.float(), q.float()
        kl.append(divergence(p, q))
        agree.append((p.argmax(-1) == q.argmax(-1)).float())
        nll.append(-q[:-1].gather(1, row[1:, None]))
    every = torch.cat(kl)
    interval = 1.96 * float(torch.stack([k.mean() for k in kl]).std()) / len(kl) ** 0.5
    return (
        f"{float(every.mean()):.4f} ± {interval:.4f} | {float(torch.cat(agree).mean()):.1%} "
        f"| {float(torch.cat(nll).mean().exp()):.2f}"
    )


def main(folder: Path, rows: list[str]) -> None:
    test = tokens_of(folder, "wikitext2_test.txt", TEST_SAMPLES)
    calibration = tokens_of(folder, "calib_wikitext.txt", CALIBRATION_SAMPLES)
    base = log_probabilities(folder, test)
    print("| method | KL, nats a token | same first choice | perplexity | seconds |")
    print("|---|---|---|---|---|")
    print(f"| float | {compare(base, base, test)} | |", flush=True)
    for row in rows:
        with tempfile.TemporaryDirectory() as scratch:
            out, begun = Path(scratch) / "out", time.monotonic()
            walk(
                folder,
                calibration,
                method_called(row),
                destination=Destination(folder=out, dtype=torch.float32),
            )
            seconds = time.monotonic() - begun
            found = compare(base, log_probabilities(out, test), test)
        print(f"| {row} | {found} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
