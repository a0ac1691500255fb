"""Put what a compression method chose into a quantized GGUF file, losslessly.

llama.cpp's quantizer lays the file out and rounds what no method touched, the embeddings above all;
then the matrices that a method gave codes for take their codes' very bytes, and what the blocks
hold as floats (norms and routers that a method folded scales into, biases), and the norm behind
them, the checkpoint's values.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import ExportRefused
from edgecomp.compress.packed import PackedEntry, read_packed, read_packed_index
from edgecomp.models.architectures import BY_GGUF_NAME, Architecture
from edgecomp.models.gguf.header import GgufHeader, TensorEntry, read_gguf_header
from edgecomp.models.huggingface.model import (
    expert_number,
    gguf_names,
    language_config,
    read_json,
    shared_name,
    stored_tensors,
)
from edgecomp.models.learned_layout import LearnedLayout, RowsOfWeight
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec

from .gguf_tensors import CheckpointTensors, interleave


def insert_codes(file: Path, checkpoint: Path) -> tuple[str, ...]:
    """Overwrite tensors of the GGUF `file` in place with the codes beside `checkpoint`.

    Returns the names of the matrices that now hold a method's codes. Raises ExportRefused where a
    matrix has another type or shape in the file than its codes have.
    """
    model = read_model(checkpoint)
    architecture = BY_GGUF_NAME[model.architecture]
    index = read_packed_index(checkpoint)
    packed = index.tensors if index else {}
    header = read_gguf_header(file)
    config = language_config(read_json(checkpoint / "config.json"))
    weights = CheckpointTensors(model, architecture, stored_tensors(checkpoint), config)
    with file.open("r+b") as opened:
        for tensor in header.tensors:
            if tensor.name in packed:
                entry = packed[tensor.name]
                _require_same(tensor, entry, file)
                codes = read_packed(checkpoint, entry).numpy()
                parts = [_rows(codes, tensor.name, model, architecture)]
            elif _is_block_float(tensor):
                output = OutputTensor(tensor.name, tensor.shape, tensor.type.name)
                parts = list(weights.pieces(output))
            else:
                continue
            _write(opened.fileno(), header, tensor, parts)
        os.fsync(opened.fileno())
    return tuple(packed)


def insert_by_layout(file: Path, checkpoint: Path, layout: LearnedLayout) -> tuple[str, ...]:
    """`insert_codes` for a checkpoint of a family without a row here, whose matrices lie in the
    file as `layout` says; everything else keeps what the file holds."""
    index = read_packed_index(checkpoint)
    packed = index.tensors if index else {}
    header = read_gguf_header(file)
    name_of = gguf_names(checkpoint)
    inserted = layout.solved(packed, name_of)
    with file.open("r+b") as opened:
        for tensor in header.tensors:
            if tensor.name in inserted:
                codes: dict[str, NDArray[np.uint8]] = {}
                parts = []
                for piece in layout.tensors[tensor.name]:
                    name = name_of(piece.weight) or piece.weight
                    # The experts of a layer are one entry, which is read once.
                    if name not in codes:
                        codes[name] = _codes(checkpoint, packed[name], tensor, file)
                    parts.append(_rows_of(codes[name], piece))
                _write(opened.fileno(), header, tensor, parts)
        os.fsync(opened.fileno())
    return inserted


def _codes(
    checkpoint: Path, entry: PackedEntry, tensor: TensorEntry, file: Path
) -> NDArray[np.uint8]:
    """The bytes of one of the checkpoint's weights, or of all experts of a kind."""
    if (tensor.type.name, tensor.shape[-1]) != (entry.type, entry.shape[-1]):
        raise _other_codes(tensor, entry, file)
    codes: NDArray[np.uint8] = read_packed(checkpoint, entry).numpy()
    return codes


def _rows_of(codes: NDArray[np.uint8], part: RowsOfWeight) -> NDArray[np.uint8]:
    """The bytes of some rows of a weight, given its codes or those of all experts of its kind."""
    one = shared_name(part.weight) != part.weight
    # Those of fused experts are one after the other.
    rows: NDArray[np.uint8] = (
        codes[expert_number(part.weight)] if one else codes.reshape(-1, codes.shape[-1])
    )
    return rows if part.rows is None else rows[np.array(part.rows)]


def _is_block_float(tensor: TensorEntry) -> bool:
    return tensor.name.startswith(("blk.", "output_norm.")) and tensor.type.is_float


def _require_same(tensor: TensorEntry, entry: PackedEntry, file: Path) -> None:
    if (tensor.type.name, tensor.shape) != (entry.type, entry.shape):
        raise _other_codes(tensor, entry, file)


def _other_codes(tensor: TensorEntry, entry: PackedEntry, file: Path) -> ExportRefused:
    return ExportRefused(
        f"{tensor.name} in {file} is {tensor.type.name} {list(tensor.shape)}, its codes are "
        f"{entry.type} {list(entry.shape)}. Quantize the file to the types of the codes first."
    )


def _rows(
    raw: NDArray[np.uint8], name: str, model: ModelSpec, architecture: Architecture
) -> NDArray[np.uint8]:
    """Rows of bytes in the order in which the file has rows of weights."""
    if architecture.interleaved_rope and ".attn_q." in name:
        return interleave(raw, model.heads)
    if architecture.interleaved_rope and ".attn_k." in name:
        return interleave(raw, model.kv_heads)
    return raw


def _write(
    descriptor: int, header: GgufHeader, tensor: TensorEntry, parts: list[NDArray[Any]]
) -> None:
    raw = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    if len(raw) != tensor.size_bytes:
        raise ExportRefused(
            f"{tensor.name} takes {tensor.size_bytes:,} bytes in {header.path}, not {len(raw):,}."
        )
    os.pwrite(descriptor, raw, header.data_start + tensor.offset)
