"""What each part of check.py computes, in a process of its own, on the device that torch finds.

    python benchmarks/gpu/work.py PART FOLDER [SHAPE]

prints one JSON object on the last line of its output. CUDA_VISIBLE_DEVICES decides the device.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from edgecomp.compress.awq import awq_method
from edgecomp.compress.blocks import Method, walk
from edgecomp.compress.checkpoint import write_index, write_shard
from edgecomp.compress.destination import Destination
from edgecomp.compress.device import best_device, on_best_device
from edgecomp.compress.distill import Training, distill
from edgecomp.compress.distill_targets import cache_targets
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.importance import compute_importance
from edgecomp.compress.sensitivity import measure_sensitivities
from edgecomp.models.gguf.importance_file import read_importance
from edgecomp.models.reading import read_model
from edgecomp.planning.job_cost import HowMade, estimate_compression
from edgecomp.planning.stage_cost import CALIBRATION_TOKENS, TORCH_BYTES
from edgecomp.recipes.distillation import Distillation
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.transformers.load import load_model

VOCABULARY, LENGTH, SAMPLES = 512, 128, 16
TYPES = ("Q4_K", "Q6_K", "Q8_0")
METHODS: dict[str, Callable[[], Method]] = {
    "gptq": lambda: gptq_method(lambda name: gguf_grid("Q4_K")),
    "awq": lambda: awq_method(lambda name: gguf_grid("Q4_K"), solver="gptq"),
}

SHAPES = {
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
             "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
           "num_key_value_heads": 4},
    "14B": {"hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40,
            "num_key_value_heads": 8},
    "tiny": {"hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8,
             "num_key_value_heads": 2},
}  # fmt: skip
"""Qwen2.5's blocks; `tiny` is for a trial on a processor."""

BLOCKS = 2
TIGHT_SHARE = 1e-3
"""Of the card's memory, in which nothing can be done."""


def tokens(vocabulary: int, samples: int, length: int) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, vocabulary, (samples, length), generator=drawn)


def write_random(config: PreTrainedConfig, folder: Path, seed: int) -> Path:
    """A random checkpoint, tensor by tensor: no model is ever whole in memory."""
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    drawn = torch.Generator().manual_seed(seed)
    shards: dict[str, list[str]] = {}
    size_bytes = 0
    for number, (name, empty) in enumerate(model.named_parameters()):
        spread = torch.randn(empty.shape, generator=drawn).mul_(0.05)
        tensor = torch.ones(empty.shape) if "norm" in name else spread
        file = f"model-{number:05d}.safetensors"
        write_shard(folder / file, {name: tensor.bfloat16()})
        shards[file] = [name]
        size_bytes += 2 * tensor.numel()
    write_index(folder, shards, size_bytes)
    return folder


def small_model(folder: Path, seed: int) -> Path:
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        tie_word_embeddings=True, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    return write_random(config, folder, seed)


def log_likelihoods(folder: Path) -> np.ndarray:
    """Of each token after the first, by the runtime's own loading, on its own device."""
    model: Any = load_model(folder)
    ids = tokens(VOCABULARY, SAMPLES, LENGTH).to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits.float()
    chances = torch.log_softmax(logits[:, :-1], dim=-1)
    return chances.gather(-1, ids[:, 1:, None])[..., 0].cpu().numpy()


def rounded(folder: Path, source: Path, name: str, device: str) -> dict[str, float]:
    """A rounding of all blocks: what it does to the log-likelihoods, and a sum of its weights."""
    destination = folder / name
    walk(
        source, tokens(VOCABULARY, SAMPLES, LENGTH), METHODS[name](),
        destination=Destination(destination, name, torch.float32), device=device,
    )  # fmt: skip
    change = log_likelihoods(destination) - log_likelihoods(source)
    return {"error": float(np.square(change).mean())}


def values(folder: Path) -> dict[str, Any]:
    """All that must be the same on the card and on the processor, as numbers."""
    device, ids = best_device(), tokens(VOCABULARY, SAMPLES, LENGTH)
    source, student = small_model(folder / "source", 1), small_model(folder / "student", 2)
    found: dict[str, Any] = {"device": device, "title": title(device), "seconds": {}}

    def timed(name: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        found[name] = work()
        found["seconds"][name] = time.perf_counter() - began

    def importance() -> dict[str, float]:
        compute_importance(source, ids, folder / "importance.gguf", device=device)
        means = read_importance(folder / "importance.gguf")
        return {name: float(row.mean()) for name, row in means.items()}

    def sensitivities() -> dict[str, float]:
        rows = measure_sensitivities(source, ids, TYPES, device=device).tensors
        return {f"{r.name} {kind}": loss for r in rows for kind, loss in r.losses.items()}

    def distilled() -> dict[str, float]:
        targets = cache_targets(source, ids, folder / "targets", device=device)
        wanted = Distillation(steps=6, evaluate_every=3)
        training = Training(student, ids, targets, folder / "taught", wanted)
        return {str(p.step): p.divergence for p in distill(training, device=device).points}

    def evaluated() -> dict[str, float]:
        return {str(n): float(v) for n, v in enumerate(log_likelihoods(source).mean(axis=1))}

    timed("GPTQ", lambda: rounded(folder, source, "gptq", device))
    timed("AWQ and GPTQ", lambda: rounded(folder, source, "awq", device))
    timed("importance", importance)
    timed("sensitivities", sensitivities)
    timed("distillation", distilled)
    timed("evaluation", evaluated)
    return found


def speed(folder: Path, shape: str) -> dict[str, Any]:
    """Seconds a block of GPTQ over the product's own amount of calibration, and the memory that it
    takes beside what torch itself does."""
    device = best_device()
    config = Qwen2Config(
        **SHAPES[shape], vocab_size=VOCABULARY, num_hidden_layers=BLOCKS, tie_word_embeddings=True,
        architectures=["Qwen2ForCausalLM"],
    )  # fmt: skip
    source = write_random(config, folder / "source", 1)
    ids = tokens(VOCABULARY, CALIBRATION_TOKENS // 256, 256)
    written = Destination(folder / "out", "speed", torch.float32)
    moments: list[float] = []

    def seen(done: float, total: float) -> None:
        if done == round(done):
            moments.append(time.perf_counter())

    torch.zeros(1, device=device)  # What a card's driver takes of the process is no plan's matter.
    before = process_memory().resident_bytes
    walk(source, ids, METHODS["gptq"](), destination=written, device=device, progress=seen)
    cost = estimate_compression(read_model(source), "Q4_K_M", 10**8, (), HowMade(rounding="gptq"))
    planned = next(row for row in cost.stages if row.stage == "rounding")
    card = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    return {
        "device": device,
        # The first block warms the card up.
        "seconds_a_block": moments[-1] - moments[-2],
        "card_bytes": card,
        "grown_bytes": process_memory().peak_bytes - before,
        "planned_bytes": planned.peak_memory_bytes - TORCH_BYTES,
    }


def tight(folder: Path) -> dict[str, Any]:
    """GPTQ where the card has next to no memory: the processor is to go on."""
    device = best_device()
    if device == "cpu":
        return {"device": device, "skipped": "there is no card to fill"}
    torch.cuda.set_per_process_memory_fraction(TIGHT_SHARE)
    source, used = small_model(folder / "source", 1), list[str]()

    def work(device: str) -> None:
        used.append(device)
        walk(
            source, tokens(VOCABULARY, SAMPLES, LENGTH), METHODS["gptq"](),
            destination=Destination(folder / "out", "tight", torch.float32), device=device,
        )  # fmt: skip

    on_best_device(work)
    return {"device": device, "used": used, "whole": (folder / "out" / "config.json").is_file()}


def title(device: str) -> str:
    return "processor" if device == "cpu" else torch.cuda.get_device_name(device)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"values": values, "speed": speed, "tight": tight}


def main() -> None:
    part, folder, *rest = sys.argv[1:]
    print(json.dumps(PARTS[part](Path(folder), *rest)))


if __name__ == "__main__":
    main()
