"""Where torch computes: the graphics card with most room, else the processor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def best_device() -> str:
    """The card that has most memory free, of those that CUDA_VISIBLE_DEVICES leaves; "cpu" where
    there is none."""
    cards = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    if len(cards) < 2:
        return "cuda:0" if cards else "cpu"
    free = [torch.cuda.mem_get_info(card)[0] for card in cards]
    return f"cuda:{free.index(max(free))}"


def on_best_device(work: Callable[[str], Result]) -> Result:
    """What `work` returns for the best device; where that one's memory does not suffice, for the
    processor. Walks over blocks go on from the block at which memory ran out."""
    device = best_device()
    try:
        return work(device)
    except torch.OutOfMemoryError as error:
        if device == "cpu":
            raise
        print(f"{device} has too little memory, the processor goes on: {error}", file=sys.stderr)
    # Only here has the failed attempt let go of its tensors.
    torch.cuda.empty_cache()
    return work("cpu")
