"""Read stored weights as numpy arrays, and turn them into another float type piece by piece.

numpy has no bfloat16: such weights are 16-bit integers here, and layout changes (rows permuted,
axes exchanged) work on them as on any other type.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import ExportRefused, WeightsNotFinite
from edgecomp.common.safe_text import one_line
from edgecomp.models.gguf.header import GgufHeader, TensorEntry
from edgecomp.models.safetensors_header import StoredTensor

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
PIECE_ELEMENTS = 1 << 22
"""Elements converted at a time: 16 MiB as float32."""

F16_ADVICE = (
    "Save the checkpoint in bfloat16 (transformers: save_pretrained after .to(torch.bfloat16)) and "
    "make a GGUF of it, whose floats are then BF16: --format Q8_0, for instance."
)
PIECE_BYTES = 4 * PIECE_ELEMENTS
LARGEST_F16 = 65_504.0
BF16_EXPONENT = 0x7F80
"""The bits that are all set in NaN and infinity alone."""

F16_OVERFLOW = 65_520.0
"""From here on rounding to F16 gives infinity."""


def stored_array(tensor: StoredTensor) -> NDArray[Any]:
    """A safetensors tensor as a read-only view of its file. Raises ExportRefused unless a float."""
    if tensor.dtype not in NUMPY_TYPES:
        raise ExportRefused(
            f"{tensor.name} in {tensor.file} is stored as {tensor.dtype}, not as floats. "
            "Give the checkpoint from before its quantization."
        )
    return _map_file(tensor.file, tensor.start, NUMPY_TYPES[tensor.dtype], tensor.shape)


def raw_pieces(header: GgufHeader, tensor: TensorEntry) -> Iterator[NDArray[np.uint8]]:
    """A GGUF tensor's bytes as they are stored, in order."""
    start = header.data_start + tensor.offset
    data = _map_file(header.path, start, np.dtype(np.uint8), (tensor.size_bytes,))
    for begin in range(0, tensor.size_bytes, PIECE_BYTES):
        yield data[begin : begin + PIECE_BYTES]


def float32_pieces(header: GgufHeader, tensor: TensorEntry) -> Iterator[NDArray[np.float32]]:
    """A GGUF tensor's values, dequantized, as [rows, columns] pieces in order.

    Raises ExportRefused where its type cannot be dequantized here.
    """
    kind = gguf.GGMLQuantizationType(tensor.type.ggml_id)
    columns = tensor.shape[-1]
    row_bytes = tensor.type.size_bytes(columns)
    rows = tensor.size_bytes // row_bytes
    data = _map_file(
        header.path, header.data_start + tensor.offset, np.dtype(np.uint8), (rows, row_bytes)
    )
    step = max(1, PIECE_ELEMENTS // columns)
    for begin in range(0, rows, step):
        try:
            yield gguf.dequantize(np.ascontiguousarray(data[begin : begin + step]), kind)
        except NotImplementedError as error:
            raise ExportRefused(
                f"{tensor.name} in {header.path} is stored as {tensor.type.name}, which cannot be "
                "turned back into floats here. Give the model in another format."
            ) from error


def convert(array: NDArray[Any], dtype: str, target: str, name: str) -> Iterator[NDArray[Any]]:
    """The values of `array` (stored as `dtype`) as `target`, in pieces of some rows, in order.

    Rounds to nearest, ties to even. Raises WeightsNotFinite for NaN or infinity in tensor `name`,
    ExportRefused where a value is too large for F16.
    """
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    step = max(1, PIECE_ELEMENTS // rows.shape[-1])
    for begin in range(0, len(rows), step):
        piece = np.ascontiguousarray(rows[begin : begin + step])
        require_finite(piece, dtype, name, begin * rows.shape[-1])
        yield piece if dtype == target else round_to_type(to_float32(piece, dtype), target, name)


def to_float32(array: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """The values of a contiguous array stored as `dtype`."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def round_to_type(values: NDArray[np.float32], target: str, name: str) -> NDArray[Any]:
    """float32 values as `target` (F32, F16 or BF16: 16-bit integers).

    Raises WeightsNotFinite for NaN or infinity, ExportRefused for what is too large for F16.
    """
    require_finite(values, "F32", name)
    if target == "F32":
        return values
    if target == "BF16":
        quantized: NDArray[np.uint8] = gguf.quantize(values, gguf.GGMLQuantizationType.BF16)
        return quantized.view(np.uint16)
    largest = float(np.abs(values).max(initial=0.0))
    if largest >= F16_OVERFLOW:
        raise ExportRefused(
            f"{name} holds {largest:g}, and F16 ends at {LARGEST_F16:g}. {F16_ADVICE}"
        )
    return values.astype(np.float16)


def require_finite(array: NDArray[Any], dtype: str, name: str, begin: int = 0) -> None:
    """Raise WeightsNotFinite where an array stored as `dtype` holds NaN or infinity; `begin` is the
    place of its first value in the tensor `name`."""
    if dtype == "BF16":
        exponent = array & np.uint16(BF16_EXPONENT)
        wrong = exponent == BF16_EXPONENT
    else:
        wrong = ~np.isfinite(array)
    if wrong.any():
        raise WeightsNotFinite(one_line(name), begin + int(wrong.argmax()))


def _map_file(path: Path, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
