"""Round the output head, which the block walker does not visit, beside a rounded checkpoint.

A tied head is the embedding table as well, so that its rows are inputs too: every weight's error
counts alike, and no error is shifted from one column to another.
"""

from __future__ import annotations

from pathlib import Path

import torch

from edgecomp.compress.checkpoint import read_rows, write_shard
from edgecomp.compress.onnx_grids import ONNX_GRIDS
from edgecomp.compress.packed import FOLDER, write_packed_index
from edgecomp.compress.quantized import pack
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.reading import read_model

ROWS = 8192
"""Rows of the head in memory at a time."""


def round_head(checkpoint: Path, rounded: Path, name: str, kind: str) -> None:
    """Put the codes of the matrix with the GGUF name `name` beside the checkpoint `rounded`."""
    tensor = next(t for t in read_model(checkpoint).tensors if t.name == name)
    stored = stored_tensors(checkpoint)[tensor.source_name]
    grid = ONNX_GRIDS[kind]
    parts = []
    for begin in range(0, tensor.shape[0], ROWS):
        rows = torch.arange(begin, min(begin + ROWS, tensor.shape[0]))
        weight = read_rows(stored, rows).float()
        packed = pack(grid, round_to_nearest(weight, grid, name=tensor.source_name))
        assert packed is not None
        parts.append(packed.rows)
    file = rounded / FOLDER / "head.safetensors"
    write_shard(file, {f"{kind}:{tensor.source_name}": torch.cat(parts)})
    write_packed_index(checkpoint, rounded)
