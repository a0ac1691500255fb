"""Peak memory of compressing a large model: one block and the calibration, whatever the depth.

Makes random checkpoints of Qwen2.5-1.5B's and Qwen2.5-3B's shape (bfloat16, so many blocks as
asked), runs GPTQ to Q4_K over each in a fresh process, and prints the peak resident set.

    python benchmarks/compress_memory.py [--blocks 2 6] [--shapes 1.5B 3B]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgecomp.compress.destination import Destination

SHAPES = {
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12},
    "3B": {"hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16},
}
COMMON = {"vocab_size": 151936, "num_key_value_heads": 2, "tie_word_embeddings": True}
SAMPLES, LENGTH = 8, 512


def make(folder: Path, shape: str, blocks: int) -> None:
    """Write a random checkpoint of this shape, shard by shard."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    from edgecomp.compress.checkpoint import write_index, write_shard

    config = Qwen2Config(
        **SHAPES[shape], **COMMON, num_hidden_layers=blocks, architectures=["Qwen2ForCausalLM"]
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shards: dict[str, list[str]] = {}
    size_bytes = 0
    for number, (name, empty) in enumerate(model.named_parameters()):
        spread = torch.randn(empty.shape, dtype=torch.bfloat16).mul_(0.02)
        tensor = torch.ones(empty.shape, dtype=torch.bfloat16) if "norm" in name else spread
        file = f"model-{number:05d}.safetensors"
        write_shard(folder / file, {name: tensor})
        shards[file] = [name]
        size_bytes += tensor.nbytes
    write_index(folder, shards, size_bytes)


def compress(folder: Path) -> None:
    """Runs in a process of its own; prints its figures as JSON."""
    import torch

    from edgecomp.compress.blocks import walk
    from edgecomp.compress.gguf_types import gguf_grid
    from edgecomp.compress.gptq import gptq_method
    from edgecomp.runtimes.process_memory import process_memory

    started = process_memory().resident_bytes
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, COMMON["vocab_size"], (SAMPLES, LENGTH), generator=random)
    begun = time.monotonic()
    walk(
        folder,
        tokens,
        gptq_method(lambda name: gguf_grid("Q4_K")),
        destination=Destination(folder=folder / "out", dtype=torch.float32),
    )
    print(
        json.dumps(
            {
                "started_bytes": started,
                "peak_bytes": process_memory().peak_bytes,
                "seconds": time.monotonic() - begun,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--compress", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compress:
        compress(arguments.compress)
        return
    print(
        "| shape | blocks | before | block as float32 | calibration | peak RSS | seconds a block |"
    )
    print("|---|---|---|---|---|---|---|")
    for shape in arguments.shapes:
        for blocks in arguments.blocks:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                make(folder, shape, blocks)
                command = [sys.executable, __file__, "--compress", str(folder)]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(run.stdout)
            width, inner = SHAPES[shape]["hidden_size"], SHAPES[shape]["intermediate_size"]
            block = 4 * (2 * width * width + 2 * width * 256 + 3 * width * inner)
            calibration = 4 * SAMPLES * LENGTH * width
            print(
                f"| {shape} | {blocks} | {found['started_bytes'] / 1e6:.0f} MB "
                f"| {block / 1e6:.0f} MB | {calibration / 1e6:.0f} MB "
                f"| {found['peak_bytes'] / 1e6:.0f} MB | {found['seconds'] / blocks:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
