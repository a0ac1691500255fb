"""Round the output head, which the block walker does not visit, beside a rounded checkpoint.

GPTQ's feedback runs under H of what the rounded blocks hand the head. A tied head is the embedding
table as well: its rows are inputs too, in which every weight's error counts alike, and so a share
of the identity joins H. For ONNX, what is only looked up in is rounded to nearest, and the head
where no GPTQ is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from edgecomp.compress.checkpoint import read_rows, write_shard
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.gptq import gptq
from edgecomp.compress.grids import Grid
from edgecomp.compress.hessian import HessianSum
from edgecomp.compress.ldl_factor import ldl_factor
from edgecomp.compress.onnx_grids import ONNX_GRIDS
from edgecomp.compress.packed import FOLDER, write_packed_index
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.quantized import Quantized, pack
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.reading import read_model
from edgecomp.models.safetensors_header import StoredTensor
from edgecomp.recipes.compression_limits import WEIGHTS_SOLVED

ROWS = 8192
"""Rows of the head in memory at a time."""

TIED_SHARE = 3.0
"""What an error counts as an input, where the head is the embedding, beside what it counts in the
mean column of the head's own inputs. Gemma 3 270M with an embedding of IQ4_NL, nats from the float
file on 4 windows of other text (2026-11-28): llama.cpp 0.0588; with a share of 0 0.0421, 0.3
0.0414, 3 0.0386, 10 0.0381, 50 0.0408, 1,000 0.0561."""

HEAD_FILE, TABLE_FILE = "head.safetensors", "table.safetensors"


class HeadSolver:
    """Gathers what enters the head, batch by batch, and puts its codes beside the checkpoint
    `rounded` when all is there.

    A walk hands it over before it completes the checkpoint, so that one that is complete has them.
    """

    def __init__(self, checkpoint: Path, rounded: Path, kind: str, tokens: int) -> None:
        """kind: a GGUF type with a grid; tokens: of the whole calibration."""
        self._checkpoint, self._rounded, self._kind = checkpoint, rounded, kind
        self._left, self._sum = tokens, HessianSum(tokens)

    def __call__(self, inputs: Tensor) -> None:
        """inputs float32 [tokens, width]."""
        self._sum.add(inputs)
        self._left -= len(inputs)
        if self._left == 0:
            self._solve(self._sum.mean())

    def _solve(self, hessian: PackedTriangle) -> None:
        model = read_model(self._checkpoint)
        tensor = next(t for t in model.tensors if t.name == model.head_name)
        stored = stored_tensors(self._checkpoint)[tensor.source_name]
        if model.tied_embeddings:
            hessian.add_to_diagonal(TIED_SHARE * hessian.diagonal().mean())
        grid, name = gguf_grid(self._kind), tensor.source_name
        factor = ldl_factor(hessian, name)

        def solve(weight: Tensor) -> Quantized:
            return gptq(weight.to(factor.importance.device), factor, grid, name=name)

        step = max(1, WEIGHTS_SOLVED // tensor.shape[1])
        _write_codes(self._rounded / FOLDER / HEAD_FILE, name, stored, grid, solve, step)


def round_head(checkpoint: Path, rounded: Path, name: str, kind: str) -> None:
    """Put the codes of the matrix with the GGUF name `name` beside the checkpoint `rounded`."""
    model = read_model(checkpoint)
    tensor = next(t for t in model.tensors if t.name == name)
    file = rounded / FOLDER / (HEAD_FILE if name == model.head_name else TABLE_FILE)
    stored = stored_tensors(checkpoint)[tensor.source_name]
    grid = ONNX_GRIDS[kind]
    solve = partial(round_to_nearest, grid=grid, name=tensor.source_name)
    _write_codes(file, tensor.source_name, stored, grid, solve, ROWS)
    write_packed_index(checkpoint, rounded)


def _write_codes(
    file: Path,
    name: str,
    stored: StoredTensor,
    grid: Grid,
    solve: Callable[[Tensor], Quantized],
    step: int,
) -> None:
    """Write the codes of the matrix `stored`, called `name`: what `solve` finds for float32 rows
    [at most `step`, columns]."""
    parts = []
    for begin in range(0, stored.shape[0], step):
        rows = torch.arange(begin, min(begin + step, stored.shape[0]))
        packed = pack(grid, solve(read_rows(stored, rows).float()))
        assert packed is not None
        parts.append(packed.rows.cpu())
    write_shard(file, {f"{grid.name}:{name}": torch.cat(parts)})
