"""What a change inside the model is worth at its head, in nats of divergence.

Where a part is rounded, the states that come of it are carried on through all later blocks beside
the walk, and their divergence at the head is measured (head_divergence.py). Of a small error it
grows with the error's square, so one measurement a part serves for all types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig

from edgecomp.compress.blocks import Block
from edgecomp.compress.head_divergence import Head, divergences
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.spec import ModelSpec


class PropagatedError:
    """The states of the first `rows` samples, float32 [rows, length, width], with one part rounded,
    by the part's name; and how much was changed, in what measure that part's errors are told."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._states: dict[str, Tensor] = {}
        self._changes: dict[str, float] = {}
        self._unchanged = torch.empty(0)

    def begin(self, part: str, states: Tensor, change: float) -> None:
        """Carry on what the rounded `part` put out."""
        self._states[part], self._changes[part] = states, change

    def advance(self, block: Block) -> None:
        """Pass everything through the block as it stands."""
        self._states = {part: block.run(states) for part, states in self._states.items()}

    def finish(self, block: Block, unchanged: Tensor) -> None:
        """Take everything, and the model's own states, from the last block to the head."""
        self._states = {part: block.final(states) for part, states in self._states.items()}
        self._unchanged = block.final(unchanged[: self.rows])

    def at_the_head(
        self, head: Head, rounded: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Divergence a unit of change, by part; and the divergence itself where the head is
        `rounded`, by type."""
        states = {part: states.flatten(0, 1) for part, states in self._states.items()}
        found = divergences(head, self._unchanged.flatten(0, 1), states, rounded)
        smallest = torch.finfo(torch.float32).tiny
        worths = {p: found[p] / max(change, smallest) for p, change in self._changes.items()}
        return worths, {kind: found[kind] for kind in rounded}

    def mean_squares(self) -> Tensor:
        """Mean square of each column that the head reads, float32 [width]."""
        return self._unchanged.flatten(0, 1).square().mean(dim=0)


def head_of(checkpoint: Path, model: ModelSpec, name: str) -> Head:
    """The output head of a checkpoint, whose GGUF name is `name`."""
    tensor = next(tensor for tensor in model.tensors if tensor.name == name)
    config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(stored_tensors(checkpoint)[tensor.source_name], cap)
