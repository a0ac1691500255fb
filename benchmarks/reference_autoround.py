"""AutoRound's GGUF of one checkpoint: compress_head_to_head.py runs it, in another environment.

    REFERENCE/bin/python benchmarks/reference_autoround.py CHECKPOINT TOKENS OUT FORMAT ITERATIONS

Reads the tokens from an .npy file and writes the file into the folder OUT, in one of its formats
(gguf:q4_k_m and so on), with its own defaults but for the number of iterations: 0 is rounding to
nearest with its search for scales. The last line printed is a JSON object: the file, the seconds
that making it took, and the peak memory in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from auto_round import AutoRound


def main(checkpoint: str, tokens_file: str, out: str, format_name: str, iterations: int) -> None:
    tokens = torch.from_numpy(np.load(tokens_file))
    rows = [
        {"input_ids": row[None], "attention_mask": torch.ones_like(row)[None]} for row in tokens
    ]
    begun = time.monotonic()
    rounding = AutoRound(
        checkpoint,
        scheme=format_name,
        format=format_name,
        iters=iterations,
        dataset=rows,
        nsamples=len(rows),
        seqlen=tokens.shape[1],
        batch_size=1,
        device_map="cpu",
    )
    rounding.quantize_and_save(output_dir=out, format=format_name)
    seconds = time.monotonic() - begun
    (file,) = Path(out).rglob("*.gguf")
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n{json.dumps({'file': str(file), 'seconds': seconds, 'peak_bytes': peak_bytes})}")


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
