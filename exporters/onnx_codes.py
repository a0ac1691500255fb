"""Put what a compression method chose into an int4 ONNX export, losslessly.

The builder lays the graph out and rounds every matrix to nearest; then MatMulNBits' codes and
scales are overwritten in place, in the external data. The graph, its size and its speed stay what
they were. The export must be one of the rounded checkpoint itself: its norms and biases, into which
a method may have folded scales, are then right already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import ExportRefused
from edgecomp.compress.onnx_grids import SCALE_BYTES
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.models.onnx_folder import OnnxTensor, external_tensors, load_graph
from edgecomp.models.tensor_types import TENSOR_TYPES

ROLES = {
    "attn_q": "attn.q_proj",
    "attn_k": "attn.k_proj",
    "attn_v": "attn.v_proj",
    "attn_qkv": "attn.qkv_proj",
    "attn_output": "attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FUSED = ("attn_q", "attn_k", "attn_v")
"""Rows of these follow one another in the builder's qkv_proj."""

Rows = NDArray[np.uint8]


def insert_codes(folder: Path, checkpoint: Path) -> tuple[str, ...]:
    """Overwrite matrices of the ONNX `folder` with the codes beside `checkpoint`.

    Returns the GGUF names of the matrices that now hold a method's codes. Raises ExportRefused
    where one has no place in the graph, or another shape or type there.
    """
    index = read_packed_index(checkpoint)
    entries = index.tensors if index else {}
    stored = external_tensors(folder, load_graph(folder))
    for names in _placed_together(entries.keys(), stored):
        parts = [read_packed(checkpoint, entries[name]).numpy() for name in names]
        kinds = {entries[name].type for name in names}
        place = _matrix(names) if len(names) == 1 else _fused_name(names[0])
        if len(kinds) != 1 or f"{place}_Q4" not in stored:
            raise ExportRefused(
                f"The codes of {', '.join(names)} have no place in {folder}: {place} is not there "
                "as 4-bit integers. Export the model as the format the codes were chosen for."
            )
        _write(stored, place, kinds.pop(), np.concatenate(parts), folder)
    return tuple(entries)


def _placed_together(names: Iterable[str], stored: dict[str, OnnxTensor]) -> list[tuple[str, ...]]:
    """The matrices that share one initializer: q, k and v where the builder fused them."""
    groups: list[tuple[str, ...]] = []
    for name in names:
        role = name.split(".")[-2]
        if role in FUSED and f"{_fused_name(name)}_Q4" in stored:
            if role == FUSED[0]:
                groups.append(tuple(name.replace(FUSED[0], other) for other in FUSED))
        else:
            groups.append((name,))
    return groups


def _matrix(names: tuple[str, ...]) -> str:
    """The builder's name of a matrix, less its type."""
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", names[0])
    if match is None:
        return "lm_head.MatMul.weight"
    role = ROLES.get(match.group(2), match.group(2))
    return f"model.layers.{match.group(1)}.{role}.MatMul.weight"


def _fused_name(name: str) -> str:
    return f"model.layers.{name.split('.')[1]}.attn.qkv_proj.MatMul.weight"


def _write(
    stored: dict[str, OnnxTensor], place: str, kind: str, packed: Rows, folder: Path
) -> None:
    row = TENSOR_TYPES[kind]
    blocks = packed.reshape(len(packed), -1, row.block_bytes)
    parts = {
        f"{place}_Q4": np.ascontiguousarray(blocks[..., SCALE_BYTES:]),
        f"{place}_scales": _scales(blocks, stored[f"{place}_scales"]),
    }
    for name, values in parts.items():
        tensor = stored[name]
        if tensor.shape != values.shape or tensor.size_bytes != values.nbytes:
            raise ExportRefused(
                f"{name} in {folder} has the shape {list(tensor.shape)}, its {kind} codes have "
                f"{list(values.shape)}. Export the model as the format the codes were chosen for."
            )
        descriptor = os.open(tensor.file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, values.tobytes(), tensor.offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _scales(blocks: Rows, tensor: OnnxTensor) -> NDArray[np.floating]:
    """Scales [rows, blocks] in the graph's own float type."""
    scales = np.ascontiguousarray(blocks[..., :SCALE_BYTES]).view("<f4")[..., 0]
    return scales if tensor.size_bytes == scales.nbytes else scales.astype("<f2")
