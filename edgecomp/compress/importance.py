"""The importance matrix: how strongly each input column of each matrix is driven.

For a matrix with inputs x, the importance of column j is the mean of x_j^2 over the calibration
tokens: the diagonal of the layer's second-order error (Optimal Brain Surgeon), and what llama.cpp's
quantizers weigh rounding errors with. Agrees with llama.cpp's `llama-imatrix` up to rounding and to
what BOS token the calibration chunks begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.importance_file import write_importance
from edgecomp.events import Progress, ignore_progress
from edgecomp.model import read_model

Sums = dict[str, NDArray[np.float64]]


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
    model = read_model(checkpoint)
    names = {tensor.source_name: tensor.name for tensor in model.tensors}
    sums: Sums = {}

    def gather(block: Block) -> None:
        # Linears that read one tensor share its sums.
        groups = {group[0]: group for group in block.shared_inputs()}
        totals = {first: _Total() for first in groups}
        block.observe({first: total.add for first, total in totals.items()})
        for first, group in groups.items():
            for linear in group:
                weight = block.weight_name(linear)
                if weight in names:
                    sums[names[weight]] = totals[first].sums

    head = _Total()
    final: Callable[[Tensor], None] | None = None if model.tied_embeddings else head.add
    walk(checkpoint, tokens, gather, final=final, device=device, progress=progress)
    if final is not None:
        sums["output.weight"] = head.sums
    write_importance(
        destination,
        sums,
        tokens.numel(),
        chunks=tokens.shape[0],
        chunk_tokens=tokens.shape[1],
        datasets=datasets,
    )


class _Total:
    """A running sum of squares per column, in float64: millions of tokens lose nothing."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, inputs: Tensor) -> None:
        squares = inputs.square().sum(dim=0, dtype=torch.float64)
        self._sums = squares if self._sums is None else self._sums + squares

    @property
    def sums(self) -> NDArray[np.float64]:
        assert self._sums is not None
        return self._sums.cpu().numpy()
