"""Read the header of a safetensors file: names, types, shapes and places, never the weights.

Layout: 8 bytes of little-endian length, that many bytes of JSON, then the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from edgecomp.common.errors import FileCorrupt, FileTruncated, shown
from edgecomp.common.json_text import parsed_json
from edgecomp.models.integer_grid import IntegerGrid

LONGEST_HEADER_BYTES = 100_000_000
ELEMENT_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file; `start` is its first byte in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size_bytes: int
    grid: IntegerGrid | None = None
    """The grid of a quantized linear's weights, where neighbouring columns share a step."""


def read_safetensors_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file, by name.

    Raises FileCorrupt or FileTruncated where the header and the file disagree.
    """
    file_bytes = path.stat().st_size
    if file_bytes == 0:
        raise FileCorrupt(path, "it is empty.")
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise FileTruncated(path, 8, file_bytes)
        (length,) = struct.unpack("<Q", prefix)
        if length > LONGEST_HEADER_BYTES:
            raise FileCorrupt(path, f"its header claims {length:,} bytes; it is no safetensors.")
        if 8 + length > file_bytes:
            raise FileTruncated(path, 8 + length, file_bytes)
        raw = file.read(length)
    try:
        header = parsed_json(raw.decode())
        tensors = [
            _read_row(path, 8 + length, name, row)
            for name, row in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileCorrupt(path, f"its header cannot be read ({error}).") from error
    end = max((tensor.start + tensor.size_bytes for tensor in tensors), default=8 + length)
    if end > file_bytes:
        raise FileTruncated(path, end, file_bytes)
    return {tensor.name: tensor for tensor in tensors}


def _read_row(path: Path, data_start: int, name: str, row: dict[str, object]) -> StoredTensor:
    dtype = str(row["dtype"])
    shape = _counts(row["shape"])
    begin, end = _counts(row["data_offsets"])
    if end < begin:
        raise ValueError(f"tensor {shown(name)} ends before it begins")
    size = math.prod(shape) * ELEMENT_BYTES.get(dtype, 0)
    if dtype in ELEMENT_BYTES and size != end - begin:
        raise ValueError(
            f"tensor {shown(name)} of {dtype} {shown(list(shape))} takes {shown(size)} bytes, not "
            f"{end - begin}"
        )
    return StoredTensor(name, dtype, shape, path, data_start + begin, end - begin)


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and 0 <= n < 2**64 for n in value):
        raise ValueError(f"{shown(value)} is no list of sizes")
    return tuple(value)
