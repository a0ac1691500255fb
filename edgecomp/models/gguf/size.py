"""How many bytes a GGUF file takes, from its header and its tensors' types alone.

Layout: GGUF specification, version 3, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
Both `gguf.GGUFWriter` and llama.cpp's quantizer pad the header and every tensor, the last one too,
to the file's alignment.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgecomp.models.gguf.header import DEFAULT_ALIGNMENT, GgufHeader
from edgecomp.models.tensor_types import TENSOR_TYPES

PREAMBLE_BYTES = 24
"""Magic and version (4 bytes each), number of tensors and of metadata entries (8 bytes each)."""


def padded_bytes(size_bytes: int, alignment: int) -> int:
    """`size_bytes` rounded up to a multiple of `alignment`."""
    return -(-size_bytes // alignment) * alignment


def header_size_bytes(header: GgufHeader) -> int:
    """Bytes of a file's header as it stands, before its padding.

    A quantized file made by llama.cpp from a float file of ours has a header of the same size: the
    two entries the quantizer sets (`general.file_type`, `general.quantization_version`) are there.
    """
    fields = sum(field.end - field.start for field in header.fields.values())
    table = sum(_table_row_bytes(row.name, len(row.shape)) for row in header.tensors)
    return PREAMBLE_BYTES + fields + table


def _table_row_bytes(name: str, dimensions: int) -> int:
    """Size of a row of the tensor table: name, shape, type and offset."""
    return 8 + len(name.encode("utf-8")) + 4 + 8 * dimensions + 4 + 8


def gguf_file_bytes(
    header_bytes: int,
    tensors: Iterable[tuple[int, str]],
    alignment: int = DEFAULT_ALIGNMENT,
) -> int:
    """The size of a GGUF file in bytes.

    `header_bytes` counts everything before the weights, without padding; `tensors` are
    (number of elements, type). A type outside `formats.TENSOR_TYPES` raises KeyError.
    """
    data = sum(
        padded_bytes(TENSOR_TYPES[kind].size_bytes(elements), alignment)
        for elements, kind in tensors
    )
    return padded_bytes(header_bytes, alignment) + data
