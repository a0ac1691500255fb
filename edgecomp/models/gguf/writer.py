"""Write a GGUF file tensor by tensor, from metadata already packed to bytes.

`gguf.GGUFWriter` packs metadata from Python values, so it can neither carry another file's entries
over byte for byte nor say beforehand how large its header will be. Here a metadata entry is bytes,
taken from a file (`copied_fields`) or packed (`packed_fields`), and weights arrive in pieces: the
whole file never is in memory. Layout: GGUF specification, version 3 (little-endian),
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgecomp.common.atomic import replacing
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.models.gguf.header import ARRAY, DEFAULT_ALIGNMENT, MAGIC, SCALARS, STRING, GgufHeader
from edgecomp.models.gguf.size import padded_bytes
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.tensor_types import TENSOR_TYPES

VERSION = 3
UINT32, FLOAT32, BOOL, INT32 = 4, 6, 7, 5


Pieces = Iterable[NDArray[Any]]
"""A tensor's bytes in order, as arrays of any type."""


def packed_field(key: str, value: object, kind: int, element_kind: int | None = None) -> bytes:
    """One metadata entry. `kind` is a GGUF value type; arrays name their elements' type too."""
    return _text(key) + struct.pack("<I", kind) + _value(value, kind, element_kind)


def packed_fields(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Metadata entries collected by a `gguf.GGUFWriter` (its `kv_data`), by key."""
    return {
        key: packed_field(key, entry.value, int(entry.type), _element_kind(entry))
        for key, entry in values.items()
    }


def copied_fields(header: GgufHeader) -> dict[str, bytes]:
    """The metadata entries of a file, by key, as the very bytes that stand in it."""
    with header.path.open("rb") as file:
        entries = {}
        for field in header.fields.values():
            file.seek(field.start)
            entries[field.key] = file.read(field.end - field.start)
    return entries


def header_bytes(
    fields: Mapping[str, bytes], tensors: Sequence[OutputTensor], alignment: int
) -> bytes:
    """Everything before the weights, without its padding."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(fields)), *fields.values()]
    offset = 0
    for tensor in tensors:
        dimensions = tuple(reversed(tensor.shape))
        parts += [
            _text(tensor.name),
            struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions),
            struct.pack("<IQ", TENSOR_TYPES[tensor.type].ggml_id, offset),
        ]
        offset += padded_bytes(tensor.size_bytes, alignment)
    return b"".join(parts)


def write_gguf(
    path: Path,
    fields: Mapping[str, bytes],
    tensors: Sequence[OutputTensor],
    pieces: Callable[[OutputTensor], Pieces],
    alignment: int = DEFAULT_ALIGNMENT,
    progress: Progress = ignore_progress,
) -> int:
    """Write a GGUF file, whole or not at all; returns its size in bytes.

    `pieces` gives the bytes of one tensor; it is asked in the order of `tensors`. `progress` counts
    bytes of weights. Raises DiskFull or NotWritable, and ValueError where a tensor's pieces are
    not as many bytes as its shape and type need.
    """
    total = sum(tensor.size_bytes for tensor in tensors)
    done = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        head = header_bytes(fields, tensors, alignment)
        file.write(head + b"\0" * (padded_bytes(len(head), alignment) - len(head)))
        for tensor in tensors:
            written = 0
            for piece in pieces(tensor):
                written += file.write(piece.tobytes())
                progress(done + written, total)
            if written != tensor.size_bytes:
                raise ValueError(
                    f"{tensor.name} needs {tensor.size_bytes} bytes, {written} were given"
                )
            file.write(b"\0" * (padded_bytes(written, alignment) - written))
            done += written
        size_bytes = file.tell()
    return size_bytes


def _element_kind(entry: Any) -> int | None:
    if int(entry.type) != ARRAY:
        return None
    if entry.sub_type is not None:
        return int(entry.sub_type)
    first = entry.value[0]
    for kind, types in ((BOOL, bool), (INT32, int), (FLOAT32, float), (STRING, (str, bytes))):
        if isinstance(first, types):
            return kind
    raise TypeError(f"an array of {type(first).__name__} is no GGUF value")


def _text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode("utf-8", errors="surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any, kind: int, element_kind: int | None) -> bytes:
    if kind == STRING:
        return _text(value)
    if kind != ARRAY:
        return struct.pack("<" + SCALARS[kind], value)
    assert element_kind is not None
    head = struct.pack("<IQ", element_kind, len(value))
    if element_kind == STRING:
        return head + b"".join(_text(element) for element in value)
    return head + struct.pack(f"<{len(value)}{SCALARS[element_kind]}", *value)
