"""llama.cpp's own rounding of a matrix, called in its library, and files made with it."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import gguf
import numpy as np

from edgecomp.models.float_conversion import float32_pieces, raw_pieces
from edgecomp.models.gguf.header import GgufHeader, read_gguf_header
from edgecomp.models.gguf.writer import copied_fields, write_gguf
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.models.tensor_types import TENSOR_TYPES


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None
    library = ctypes.CDLL(str(next((Path(spec.origin).parent / "lib").glob("libggml-base.*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p,
    ]  # fmt: skip
    return library


def ggml_rounded(matrix: np.ndarray, kind: str) -> np.ndarray:
    """The bytes of `matrix` [rows, columns] as the tensor type `kind`: uint8 [rows, row bytes].

    Types that need an importance matrix get one of ones.
    """
    rows, columns = matrix.shape
    row = TENSOR_TYPES[kind]
    weights = np.ascontiguousarray(matrix, np.float32)
    if row.is_float:
        return gguf.quantize(weights, gguf.GGMLQuantizationType[kind]).view(np.uint8)
    packed = np.zeros((rows, row.size_bytes(columns)), np.uint8)
    importance = np.ones(columns, np.float32) if row.needs_importance else None
    _library().ggml_quantize_chunk(
        row.ggml_id, weights.ctypes.data, packed.ctypes.data, 0, rows, columns,
        None if importance is None else importance.ctypes.data,
    )  # fmt: skip
    return packed


def ggml_values(packed: np.ndarray, kind: str) -> np.ndarray:
    """The float32 values of such bytes."""
    return gguf.dequantize(packed, gguf.GGMLQuantizationType[kind])


def stored_values(header: GgufHeader, name: str) -> np.ndarray:
    """A tensor's float32 values."""
    row = next(row for row in header.tensors if row.name == name)
    return np.concatenate(list(float32_pieces(header, row))).reshape(row.shape)


def write_twice(source: Path, destination: Path, embedding: str, head: str) -> Path:
    """A copy of a GGUF file whose embedding has the type `embedding`, and whose head is that
    embedding over again, of the type `head`."""
    header = read_gguf_header(source)
    tensors = {row.name: OutputTensor(row.name, row.shape, row.type.name) for row in header.tensors}
    shape = tensors[EMBEDDING].shape
    tensors[EMBEDDING] = OutputTensor(EMBEDDING, shape, embedding)
    tensors[OUTPUT] = OutputTensor(OUTPUT, shape, head)

    def pieces(tensor: OutputTensor) -> Iterator[np.ndarray]:
        values = stored_values(header, EMBEDDING if tensor.name == OUTPUT else tensor.name)
        yield ggml_rounded(values.reshape(-1, values.shape[-1]), tensor.type)

    write_gguf(destination, copied_fields(header), list(tensors.values()), pieces)
    return destination


def write_typed(source: Path, destination: Path, types: Mapping[str, str]) -> Path:
    """A copy of a GGUF file whose matrices named in `types` have these types."""
    header = read_gguf_header(source)

    def pieces(tensor: OutputTensor) -> Iterator[np.ndarray]:
        values = stored_values(header, tensor.name)
        yield ggml_rounded(values.reshape(-1, values.shape[-1]), tensor.type)

    tensors = [
        OutputTensor(row.name, row.shape, types.get(row.name, row.type.name))
        for row in header.tensors
    ]
    write_gguf(destination, copied_fields(header), tensors, pieces)
    return destination


def stored_bytes(path: Path) -> dict[str, bytes]:
    """The bytes of every tensor of a GGUF file."""
    header = read_gguf_header(path)
    return {
        row.name: b"".join(piece.tobytes() for piece in raw_pieces(header, row))
        for row in header.tensors
    }
