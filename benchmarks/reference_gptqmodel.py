"""GPTQModel's GPTQ on one checkpoint: compress_reference.py runs it, in another environment.

    REFERENCE/bin/python benchmarks/reference_gptqmodel.py CHECKPOINT TOKENS OUT THREADS

Reads the tokens from an .npy file, quantizes the linears inside the blocks to 4-bit symmetric
groups of 64, with act-order and else the reference's own defaults, and writes its checkpoint to the
folder OUT. The last line printed is the seconds that quantizing took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from gptqmodel import GPTQModel, QuantizeConfig

TOKENS_PER_BATCH = 1024
"""As edgecomp's block walker."""


def main(checkpoint: Path, tokens_file: Path, out: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    tokens = np.load(tokens_file)
    settings = QuantizeConfig(bits=4, group_size=64, desc_act=True, sym=True, device="cpu")
    model = GPTQModel.load(str(checkpoint), settings)
    rows = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in tokens]
    begun = time.monotonic()
    model.quantize(rows, batch_size=max(1, TOKENS_PER_BATCH // tokens.shape[1]))
    seconds = time.monotonic() - begun
    model.save(str(out))
    print(f"\n{seconds}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
