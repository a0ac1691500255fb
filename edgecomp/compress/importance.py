"""The importance matrix: how strongly each input column of each matrix is driven.

For a matrix with inputs x, the importance of column j is the mean of x_j^2 over the calibration
tokens: the diagonal of the layer's second-order error (Optimal Brain Surgeon), and what llama.cpp's
quantizers weigh rounding errors with. Agrees with llama.cpp's `llama-imatrix` up to rounding and to
what BOS token the calibration chunks begin with. Each expert of a mixture has its own, over the
tokens that were routed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.blocks import Block, walk
from edgecomp.models.gguf.importance_file import ColumnSums, write_importance
from edgecomp.models.huggingface.model import expert_number, gguf_names
from edgecomp.models.reading import read_model
from edgecomp.models.spec import OUTPUT


def compute_importance(
    checkpoint: Path,
    tokens: Tensor,
    destination: Path,
    *,
    datasets: Sequence[str] = (),
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> None:
    """Compute the importance matrix of a float checkpoint and write it as an imatrix GGUF file.

    tokens: int64 [samples, length]. `datasets` names the calibration's sources in the file. Covers
    the linears of every block and, where it is a matrix of its own, the output head. Raises what
    `walk` raises.
    """
    name_of = gguf_names(checkpoint)
    totals: dict[str, dict[int, _Total]] = {}

    def gather(block: Block) -> None:
        # Linears that read one tensor share its sums.
        groups = {group[0]: group for group in block.shared_inputs()}
        found = {first: _Total() for first in groups}
        block.observe({first: total.add for first, total in found.items()})
        for first, group in groups.items():
            for weight in map(block.weight_name, group):
                name = name_of(weight)
                if name is not None:
                    totals.setdefault(name, {})[expert_number(weight)] = found[first]

    head = _Total()
    tied = read_model(checkpoint).tied_embeddings
    final: Callable[[Tensor], None] | None = None if tied else head.add
    walk(checkpoint, tokens, gather, final=final, device=device, progress=progress)
    if final is not None:
        totals[OUTPUT] = {0: head}
    write_importance(
        destination,
        {name: _stack_experts(experts) for name, experts in totals.items()},
        chunks=tokens.shape[0],
        chunk_tokens=tokens.shape[1],
        datasets=datasets,
    )


class _Total:
    """A running sum of squares per column, in float64: millions of tokens lose nothing."""

    def __init__(self) -> None:
        self._squares: Tensor | None = None
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        squares = inputs.square().sum(dim=0, dtype=torch.float64)
        self._squares = squares if self._squares is None else self._squares + squares
        self.tokens += len(inputs)

    @property
    def squares(self) -> NDArray[np.float64]:
        assert self._squares is not None
        return self._squares.cpu().numpy()


def _stack_experts(experts: Mapping[int, _Total]) -> ColumnSums:
    """The sums of one GGUF tensor, its experts in order."""
    totals = [experts[number] for number in sorted(experts)]
    return ColumnSums(
        np.stack([total.squares for total in totals]), np.array([total.tokens for total in totals])
    )
