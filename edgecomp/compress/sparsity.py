"""How much to prune, in which pattern, and the mask of the lowest scores in it.

Neither pattern is structured pruning: matrices keep their shapes. Runtimes for GGUF and ONNX have
no kernels for either, so they save neither memory nor time there (the planner says so).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.recipes.sparsity import Sparsity


def check_columns(sparsity: Sparsity, columns: int, name: str) -> None:
    """Raises CompressionSettingsInvalid where the pattern does not divide the columns."""
    if sparsity.of and columns % sparsity.of:
        raise CompressionSettingsInvalid(
            f"{name} has {columns} columns, which {sparsity} does not divide. "
            "Prune it unstructured, or leave it as it is."
        )


def lowest(scores: Tensor, sparsity: Sparsity, within: Literal["row", "matrix"]) -> Tensor:
    """bool [rows, columns]: True at the lowest scores, which are to be pruned.

    The pattern N:M is kept within each M neighbouring columns of a row; without one, the share is
    kept in each row or over the whole matrix.
    """
    if sparsity.of and sparsity.kept:
        groups = scores.reshape(len(scores), -1, sparsity.of)
        return _smallest(groups, sparsity.of - sparsity.kept).view_as(scores)
    if within == "row":
        return _smallest(scores, round(scores.shape[1] * sparsity.ratio))
    flat = scores.reshape(1, -1)
    return _smallest(flat, round(flat.shape[1] * sparsity.ratio)).view_as(scores)


def _smallest(scores: Tensor, count: int) -> Tensor:
    """True at the `count` smallest along the last dimension; exactly so many, also among equals."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    found = scores.topk(count, dim=-1, largest=False, sorted=False).indices
    return mask.scatter_(-1, found, value=True)
